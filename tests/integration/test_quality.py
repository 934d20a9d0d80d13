"""Quality, measured for real on a tiny clip: libvmaf answers, and segments are as good as one pass."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from media_clips import PROFILE, even_times, write_clip

from benchmarks.quality import ClipQuality, measure_clip
from benchmarks.quality_media import encode_whole, open_clip
from benchmarks.quality_scores import score
from encoders.backends.x264 import Tuning
from encoders.confine import Confiner

FRAMES = 75


def test_segments_are_as_good_as_one_pass(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "clip.mkv", even_times(FRAMES), options={"crf": "8", "preset": "ultrafast"})
    profile = replace(PROFILE, video=replace(PROFILE.video, preset="veryfast"), rungs=PROFILE.rungs[:1])
    with Confiner() as confiner:
        clip = open_clip(confiner, source, profile, tmp_path / "made", length_s=2.0)
        assert clip.grid.frames == 60
        *_, quality = measure_clip(confiner, clip, (0.0, 8.0), 10, 30, tmp_path / "made")
    assert isinstance(quality, ClipQuality)
    (rung,) = quality.rungs
    assert set(rung.cut) == set(rung.whole) == {0.0, 8.0}
    assert rung.cut[0.0].bps > rung.cut[8.0].bps
    assert rung.cut[0.0].vmaf > rung.cut[8.0].vmaf
    assert rung.cut[0.0].psnr_db == pytest.approx(rung.whole[0.0].psnr_db, abs=0.05)
    assert rung.cut[0.0].bps == pytest.approx(rung.whole[0.0].bps, rel=0.02)
    assert rung.seam is not None
    assert rung.seam.joints == len(clip.plan.segments) - 1 >= 1
    assert abs(rung.seam.below_whole_db) < 0.3
    assert rung.bd_psnr_percent is not None
    assert abs(rung.bd_psnr_percent) < 2
    # The measure itself: equal pictures score full, and worse ones do not.
    pictures = clip.pictures("90p")
    same = score(pictures, pictures, step=10, neg=True)
    assert same.psnr_db.min() == 60
    assert len(same.psnr_db) == 60
    assert len(same.vmaf) == len(same.neg) == 6
    poor = encode_whole(clip, replace(clip.plan.renditions[0], crf=45), Tuning(base="ultrafast"), tmp_path / "poor.mp4")
    assert score(poor.path, pictures, step=10).vmaf.mean() < same.vmaf.mean() - 5
