"""Segments of one source in every codec: each joins, starts with what its init segment says, and is checked."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from media_clips import PROFILE, decoded, even_times, probed, read_number, write_clip

from encoders.av1 import sequence_headers
from encoders.backends.registry import encoder_id_of
from encoders.backends.svtav1 import open_svtav1
from encoders.errors import VerificationFailed
from encoders.ladder import Codec
from encoders.look import Look
from encoders.pictures import Rendered
from encoders.plan import Plan, plan_asset
from encoders.segment import encode_segment
from encoders.tracks import read_track
from encoders.verify import verify_segment

FRAMES = 75
STEP = PROFILE.rungs[0]
EVERY = replace(PROFILE, rungs=tuple(replace(STEP, name=f"90p-{codec}", codec=codec) for codec in Codec))


@pytest.fixture(scope="module")
def asset(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Path]:
    folder = tmp_path_factory.mktemp("codecs")
    source = write_clip(folder / "clip.mp4", even_times(FRAMES))
    info = probed(source)
    plan = plan_asset(info, EVERY, 1, encoder_id_of("cpu", "ultrafast", EVERY.codecs))
    inits = set()
    for segment in reversed(plan.segments):
        result = encode_segment(source, info, plan, segment, folder)
        inits.add(tuple(each.init_sha256 for each in result.renditions))
    assert len(plan.segments) == 3
    assert len(inits) == 1, "one init segment for the whole rendition"
    return plan, folder


@pytest.mark.parametrize(
    ("codec", "begins"), [(Codec.H264, "avc1."), (Codec.HEVC, "hvc1.1.6.L"), (Codec.AV1, "av01.0.00M.08")]
)
def test_joined_segments_show_every_frame_once(asset: tuple[Plan, Path], codec: Codec, begins: str) -> None:
    folder = asset[1] / f"90p-{codec}"
    media = (folder / "init.mp4").read_bytes() + b"".join(each.read_bytes() for each in sorted(folder.glob("*.m4s")))
    assert [read_number(luma) for _, luma in decoded(media)] == list(range(FRAMES))
    track = read_track(folder, folder.name)
    assert track.codec.startswith(begins)
    assert (track.frames, len(track.iframes)) == (FRAMES, 5)
    assert Rendered(folder, track).iframe(track.iframes[2]).height == 90


def test_a_sequence_header_that_the_init_segment_has_not_is_refused(asset: tuple[Plan, Path]) -> None:
    plan, folder = asset
    file = folder / "90p-av1" / "00001.m4s"
    before = file.read_bytes()
    init = (folder / "90p-av1" / "init.mp4").read_bytes()
    header = sequence_headers(init[init.index(b"av1C") + 8 :][:16])[0]
    file.write_bytes(before.replace(header, header[:-1] + bytes([header[-1] ^ 0x40]), 1))
    try:
        with pytest.raises(VerificationFailed, match=r"90p-av1.*parameter sets"):
            verify_segment(plan, plan.segments[0], folder, _look(folder, plan))
    finally:
        file.write_bytes(before)


def _look(folder: Path, plan: Plan) -> Look:
    look, first = Look(), folder / plan.renditions[0].name
    small = decoded((first / "init.mp4").read_bytes() + (first / "00001.m4s").read_bytes())
    for number, (_, luma) in enumerate(small):
        look.take(number, luma)
    return look


def test_an_encoder_leaves_the_cores_to_others(asset: tuple[Plan, Path]) -> None:
    """SVT-AV1 takes real-time priority where it may, as root may."""
    context = open_svtav1(asset[0].renditions[-1], asset[0].grid, "ultrafast") if asset[0].grid else None
    policies = {os.sched_getscheduler(int(thread.name)) for thread in Path("/proc/self/task").iterdir()}
    assert context is not None
    assert policies <= {os.SCHED_OTHER, os.SCHED_BATCH, os.SCHED_IDLE}
