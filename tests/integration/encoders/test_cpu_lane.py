"""The CPU lane on sources that are hard to cut: what a segment shows must not depend on where it begins."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from media_clips import HEIGHT, PROFILE, WIDTH, even_times, picture, probed, read_number, write_clip

from encoders.backends.base import SegmentRequest
from encoders.backends.cpu import CpuBackend
from encoders.media import MediaInfo
from encoders.plan import Plan, Segment, plan_asset


def weaved(number: int) -> npt.NDArray[np.uint8]:
    """A frame of two fields, half a frame apart in time."""
    frame = picture(number)
    later = picture(number).copy()
    later[HEIGHT // 3 :] = np.roll(later[HEIGHT // 3 :], 6, axis=1)
    frame[1::2] = later[1::2]
    return frame


def interlaced(path: Path, frames: int) -> Path:
    options = {"g": "12", "bf": "2", "flags": "+ildct+ilme", "x264-params": "tff=1"}
    return write_clip(path, even_times(frames, Fraction(25)), rate=Fraction(25), options=options,
                      pictures=(weaved(number) for number in range(frames)))  # fmt: skip


def looks(path: Path, info: MediaInfo, plan: Plan, segments: tuple[Segment, ...]) -> dict[int, tuple[int, str]]:
    """For each output frame: the number it shows, and a digest of its picture before it is encoded."""
    seen: dict[int, tuple[int, str]] = {}

    def tap(number: int, luma: npt.NDArray[np.uint8]) -> None:
        assert number not in seen
        seen[number] = read_number(luma), hashlib.sha256(np.ascontiguousarray(luma)).hexdigest()

    assert info.video is not None
    for segment in segments:
        request = SegmentRequest(source=path, video=info.video, plan=plan, segment=segment, tap=tap)
        for _ in CpuBackend().encode(request):
            pass
    return seen


@pytest.mark.parametrize("kind", ["interlaced", "open GOPs", "one key frame", "transport stream", "VP9", "MPEG-2"])
def test_segments_show_what_one_pass_shows(kind: str, tmp_path: Path) -> None:
    frames = 80
    match kind:
        case "interlaced":
            path = interlaced(tmp_path / "clip.mp4", frames)
        case "open GOPs":
            options = {"g": "20", "bf": "3", "preset": "medium", "x264-params": "open-gop=1:scenecut=0"}
            path = write_clip(tmp_path / "clip.mp4", even_times(frames), options=options)
        case "one key frame":
            path = write_clip(tmp_path / "clip.mkv", even_times(frames), options={"g": "999", "bf": "2"})
        case "transport stream":
            path = write_clip(tmp_path / "clip.ts", even_times(frames), options={"g": "15", "bf": "2"})
        case "VP9":
            options = {"g": "24", "deadline": "realtime", "cpu-used": "8"}
            path = write_clip(tmp_path / "clip.webm", even_times(frames), "libvpx-vp9", options)
        case _:
            options, tags = {"g": "12", "bf": "2", "b": "4M"}, {"time_base": Fraction(1, 30)}
            path = write_clip(tmp_path / "clip.ts", even_times(frames), "mpeg2video", options, tags=tags)
    info = probed(path)
    if kind == "interlaced":
        assert info.video is not None
        info = replace(info, video=replace(info.video, interlaced=True))
    plan = plan_asset(info, PROFILE, 1, "x264")
    assert plan.grid is not None
    assert plan.grid.frames == frames
    whole = looks(path, info, plan, (Segment(index=0, start=0, end=frames, first_media=0),))
    parts = looks(path, info, plan, plan.segments)
    assert len(plan.segments) > 2
    assert [number for number, _ in whole.values()] == list(range(frames))
    assert parts == whole


def test_deinterlacing_removes_the_comb(tmp_path: Path) -> None:
    path = interlaced(tmp_path / "clip.mp4", 30)
    info = probed(path)
    assert info.video is not None
    plan = plan_asset(info, replace(PROFILE, rungs=PROFILE.rungs[1:]), 1, "x264")
    combs = {}
    for flag in (False, True):
        rows: list[float] = []

        def tap(number: int, luma: npt.NDArray[np.uint8], rows: list[float] = rows) -> None:
            lines = luma[HEIGHT // 2 :].astype(int)
            rows.append(float(np.abs(2 * lines[1:-1] - lines[:-2] - lines[2:]).mean()))

        video = replace(info.video, interlaced=flag)
        request = SegmentRequest(source=path, video=video, plan=plan, segment=plan.segments[0], tap=tap)
        for _ in CpuBackend().encode(request):
            pass
        combs[flag] = float(np.mean(rows))
    assert combs[True] < 0.5 * combs[False]


def test_a_change_of_size_is_scaled_to_the_first(tmp_path: Path) -> None:
    small = write_clip(
        tmp_path / "small.ts", even_times(30), options={"g": "30", "bf": "0"}, size=(WIDTH // 2, HEIGHT // 2)
    )
    large = write_clip(
        tmp_path / "large.ts",
        even_times(30, start=Fraction(1)),
        options={"g": "30", "bf": "0"},
        pictures=(picture(number) for number in range(30, 60)),
    )
    path = tmp_path / "both.ts"
    path.write_bytes(small.read_bytes() + large.read_bytes())
    info = probed(path)
    plan = plan_asset(info, PROFILE, 1, "x264")
    assert plan.grid is not None
    seen = looks(path, info, plan, plan.segments)
    assert [number for number, _ in seen.values()] == list(range(60))
    assert len(seen) == plan.grid.frames
