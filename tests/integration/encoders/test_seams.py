"""No seam: what segments show is what one pass over the same frames shows, picture for picture in quality."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from media_clips import PROFILE, decoded, even_times, probed, write_clip

from encoders.ladder import Codec
from encoders.plan import Segment, plan_asset
from encoders.segment import encode_segment

FRAMES = 90


def drifting(number: int) -> npt.NDArray[np.uint8]:
    """Texture that moves a little each frame, so that prediction, lookahead and rate control all have work to do."""
    y, x = np.mgrid[0:180, 0:320]
    phase = number / 3
    wave = np.sin((x + 2 * phase) / 7) * np.cos((y - phase) / 5) + np.sin((x * y) / 900 + phase / 4)
    noise = np.random.default_rng(number).normal(0, 4, (180, 320))
    luma = np.clip(128 + 45 * wave + noise, 0, 255).astype(np.uint8)
    return np.stack([luma, np.roll(luma, 3, 1), 255 - luma], -1)


@pytest.mark.parametrize(
    ("preset", "codec"),
    [("veryfast", Codec.H264), ("quick", Codec.H264), ("standard", Codec.H264), ("veryfast", Codec.HEVC)],
)
def test_quality_does_not_drop_where_segments_meet(preset: str, codec: Codec, tmp_path: Path) -> None:
    pictures = (drifting(number) for number in range(FRAMES))
    path = write_clip(tmp_path / "clip.mkv", even_times(FRAMES), options={"crf": "8", "g": "30"}, pictures=pictures)
    info = probed(path)
    settings = replace(PROFILE.video, preset=preset)
    rungs = (replace(PROFILE.rungs[1], crf=26, codec=codec),)
    plan = plan_asset(info, replace(PROFILE, video=settings, rungs=rungs), 1, "x264")
    assert plan.grid is not None
    shown = [luma.astype(float) for _, luma in decoded(path.read_bytes(), "matroska")]
    whole = (Segment(index=0, start=0, end=FRAMES, first_media=0),)
    psnr, size_bytes = {}, {}
    for name, segments in (("whole", whole), ("cut", plan.segments)):
        out = tmp_path / name
        for segment in segments:
            encode_segment(path, info, plan, segment, out)
        media = sorted((out / "180p").glob("*.m4s"))
        stream = (out / "180p" / "init.mp4").read_bytes() + b"".join(file.read_bytes() for file in media)
        size_bytes[name] = len(stream)
        errors = [np.mean((luma - want) ** 2) for (_, luma), want in zip(decoded(stream), shown, strict=True)]
        psnr[name] = 10 * np.log10(255**2 / np.array(errors))
    assert len(plan.segments) == 3
    assert abs(size_bytes["cut"] / size_bytes["whole"] - 1) < 0.01
    assert abs(psnr["cut"].mean() - psnr["whole"].mean()) < 0.05
    for segment in plan.segments[1:]:
        around = slice(segment.start - 4, segment.start + 4)
        assert (psnr["cut"] - psnr["whole"])[around].mean() > -0.1
        assert (psnr["cut"] - psnr["whole"])[segment.start] > -0.3
