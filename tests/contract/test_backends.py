"""What every backend promises: exact frames, one IDR grid, the same parameter sets from any process.

A backend that this host cannot run is skipped with the reason; with REELMILL_REQUIRE_GPU=1 that is a failure. The GPU
lanes run on a fake device besides (tests/fakes/gpu.py), whose decoder, scaler and encoder are real ones of the CPU. The
CPU lane runs in each codec.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from fakes.gpu import proven_fake
from media_clips import PROFILE, decoded, even_times, probed, read_number, write_clip

from encoders.backends.base import Backend, BackendName, EncodedPicture, SegmentRequest
from encoders.backends.cpu import CpuBackend
from encoders.backends.registry import capability_of, open_backend
from encoders.bitstream import BITSTREAMS
from encoders.errors import InputError
from encoders.ladder import Codec
from encoders.media import MediaInfo
from encoders.plan import Grid, Plan, plan_asset

BT709 = {"colorspace": 1}
"""With it a source of this size needs no conversion, so that GPU lanes decode it on the device, else on the CPU."""
CLIPS = {
    "plain": {"options": {"g": "30", "bf": "0"}},
    "B-frames": {"options": {"g": "40", "bf": "3", "preset": "medium"}, "tags": BT709},
    "open GOPs": {
        "options": {"g": "25", "bf": "3", "preset": "medium", "x264-params": "open-gop=1:scenecut=0"},
        "tags": BT709,
    },
    "one key frame": {"options": {"g": "9999", "bf": "2", "x264-params": "scenecut=0"}, "tags": BT709},
    "starts late": {"start": Fraction(10, 3)},
    "23.976": {"fps": Fraction(24000, 1001), "options": {"g": "48", "bf": "2"}},
}
FRAMES = 75


@dataclass
class Encoded:
    """Everything that came out of a segment, per rendition."""

    pictures: dict[str, list[EncodedPicture]] = field(default_factory=lambda: defaultdict(list))
    extradata: dict[str, bytes] = field(default_factory=dict)
    tapped: list[tuple[int, int, tuple[int, ...]]] = field(default_factory=list)
    warnings: tuple[str, ...] = ()
    damaged_frames: int = 0
    codec: Codec = Codec.H264


class CpuInHevc(CpuBackend):
    codec = Codec.HEVC


class CpuInAv1(CpuBackend):
    codec = Codec.AV1


FAKES = (f"fake {BackendName.NVENC}", f"fake {BackendName.HYBRID}")
IN_CODEC = {"cpu hevc": CpuInHevc, "cpu av1": CpuInAv1}
DEMUXERS = {Codec.H264: "h264", Codec.HEVC: "hevc", Codec.AV1: "obu"}


@pytest.fixture(params=[*BackendName, *FAKES, *IN_CODEC], scope="module")
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    if request.param in IN_CODEC:
        yield IN_CODEC[request.param]()
        return
    if request.param in FAKES:
        with proven_fake():
            yield open_backend(request.param.removeprefix("fake "))
        return
    capability = capability_of(request.param)
    if not capability.available:
        if os.environ.get("REELMILL_REQUIRE_GPU") == "1":
            pytest.fail(f"{request.param}: {capability.reason}")
        pytest.skip(f"{request.param}: {capability.reason}")
    yield open_backend(request.param)


@pytest.fixture(autouse=True)
def one_clip_for_other_codecs(request: pytest.FixtureRequest) -> None:
    """How a source decodes does not depend on the codec that it becomes."""
    params = request.node.callspec.params
    if params["backend"] in IN_CODEC and params.get("clip", "plain") != "plain":
        pytest.skip("sources of all kinds are decoded in H.264's turn")


@pytest.fixture(params=list(CLIPS), scope="module")
def clip(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, MediaInfo]:
    """A source whose frames say which frame they are."""
    settings = dict(CLIPS[request.param])
    fps = settings.pop("fps", Fraction(30))
    times = even_times(FRAMES, fps, settings.pop("start", Fraction(0)))
    path = write_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", times, rate=fps, **settings)
    return path, probed(path)


def encode(backend: Backend, path: Path, info: MediaInfo, plan: Plan, index: int, threads: int = 1) -> Encoded:
    assert info.video is not None
    out = Encoded(codec=plan.renditions[0].codec)

    def tap(number: int, luma: np.ndarray) -> None:
        out.tapped.append((number, read_number(luma), luma.shape))

    request = SegmentRequest(
        source=path, video=info.video, plan=plan, segment=plan.segments[index], threads=threads, tap=tap
    )
    for picture in backend.encode(request):
        out.pictures[picture.rendition].append(picture)
    out.extradata = {rendition.name: backend.extradata(rendition.name) for rendition in plan.renditions}
    out.warnings = backend.warnings()
    out.damaged_frames = request.damage.frames
    return out


def planned(backend: Backend, info: MediaInfo) -> tuple[Plan, Grid]:
    codec = getattr(backend, "codec", Codec.H264)
    profile = replace(PROFILE, rungs=tuple(replace(rung, codec=codec) for rung in PROFILE.rungs))
    plan = plan_asset(info, profile, 1, backend.encoder_id(profile.video.preset, profile.codecs))
    assert {rendition.codec for rendition in plan.renditions} == {codec}
    assert plan.grid is not None
    return plan, plan.grid


def shown_numbers(encoded: Encoded, rendition: str) -> Iterator[int]:
    stream = b"".join(picture.data for picture in encoded.pictures[rendition])
    if encoded.codec is not Codec.AV1:  # whose key frames bring their sequence header
        stream = encoded.extradata[rendition] + stream
    for _, luma in decoded(stream, DEMUXERS[encoded.codec]):
        yield read_number(luma)


def test_every_output_frame_is_the_right_source_frame_in_every_segment(
    backend: Backend, clip: tuple[Path, MediaInfo]
) -> None:
    path, info = clip
    plan, grid = planned(backend, info)
    assert grid.frames == FRAMES
    assert len(plan.segments) >= 3
    seen: dict[str, list[int]] = defaultdict(list)
    for segment in plan.segments:
        encoded = encode(backend, path, info, plan, segment.index)
        for rendition in plan.renditions:
            seen[rendition.name] += shown_numbers(encoded, rendition.name)
    assert seen == {rendition.name: list(range(FRAMES)) for rendition in plan.renditions}


def test_pictures_are_complete_and_idr_pictures_lie_on_the_grid(backend: Backend, clip: tuple[Path, MediaInfo]) -> None:
    path, info = clip
    plan, grid = planned(backend, info)
    segment = plan.segments[1]
    encoded = encode(backend, path, info, plan, segment.index)
    assert set(encoded.pictures) == {rendition.name for rendition in plan.renditions}
    for pictures in encoded.pictures.values():
        assert sorted(picture.pts for picture in pictures) == list(range(segment.start, segment.end))
        assert all(before.dts < after.dts for before, after in pairwise(pictures))
        assert all(picture.dts <= picture.pts for picture in pictures)
        idr = [picture.pts for picture in pictures if picture.idr]
        assert idr == list(range(segment.start, segment.end, grid.gop_frames))
        # Closed GOPs: what follows an IDR picture in decode order is shown after it.
        latest = -1
        for picture in pictures:
            latest = picture.pts if picture.idr else latest
            assert picture.pts >= latest


def test_parameter_sets_are_the_same_for_every_segment_and_a_new_backend(
    backend: Backend, clip: tuple[Path, MediaInfo]
) -> None:
    path, info = clip
    plan, _ = planned(backend, info)
    first = encode(backend, path, info, plan, 0)
    last = encode(open_backend(backend.name), path, info, plan, len(plan.segments) - 1, threads=2)
    assert first.extradata == last.extradata
    form = BITSTREAMS[first.codec]
    for name, extradata in first.extradata.items():
        units = form.configuration(extradata).units
        for picture in (*first.pictures[name], *last.pictures[name]):
            sample = form.sample_of(picture.data)
            assert form.starts_with_key(sample) is picture.idr
            assert set(form.repeated(sample)) <= set(units)


def test_the_tap_sees_each_output_frame_of_the_smallest_rendition(
    backend: Backend, clip: tuple[Path, MediaInfo]
) -> None:
    path, info = clip
    plan, _ = planned(backend, info)
    segment = plan.segments[2]
    encoded = encode(backend, path, info, plan, 2)
    smallest = plan.renditions[0]
    assert encoded.tapped == [
        (number, number, (smallest.height, smallest.width)) for number in range(segment.start, segment.end)
    ]


def test_a_sound_source_gives_no_warning(backend: Backend, clip: tuple[Path, MediaInfo]) -> None:
    path, info = clip
    plan, _ = planned(backend, info)
    encoded = encode(backend, path, info, plan, 1)
    assert (encoded.warnings, encoded.damaged_frames) == ((), 0)


def test_a_variable_rate_is_laid_on_the_grid(backend: Backend, tmp_path: Path) -> None:
    gaps = [1, 1, 2, 1, 5, 1, 1, 1, 3, 1, 1, 30, 1, 1, 2, 2, 1, 1, 1, 1] * 2
    positions = [sum(gaps[:index]) for index in range(len(gaps))]
    jitter = [Fraction((7 * index) % 5 - 2, 300) for index in range(len(gaps))]
    times = [max(Fraction(0), Fraction(position, 30) + late) for position, late in zip(positions, jitter, strict=True)]
    path = write_clip(tmp_path / "clip.mp4", times, options={"g": "12", "bf": "2"})
    info = probed(path)
    assert info.video is not None
    plan, grid = planned(backend, replace(info, video=replace(info.video, typical_rate=Fraction(30))))
    assert grid.fps == 30
    seen: list[int] = []
    for segment in plan.segments:
        seen += shown_numbers(encode(backend, path, info, plan, segment.index), "180p")
    assert len(seen) == grid.frames
    for number, shown in enumerate(seen):
        # On screen within half a step of the frame's time.
        assert times[shown] <= Fraction(number, 30) + Fraction(1, 60) + Fraction(1, 1000)
        if shown + 1 < len(times):
            assert times[shown + 1] >= Fraction(number, 30) + Fraction(1, 60) - Fraction(1, 1000)


def test_a_late_picture_is_led_in_by_its_first_frame(backend: Backend, tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mkv", even_times(60, start=Fraction(1, 2)), options={"g": "30"})
    info = probed(path)
    plan, grid = planned(backend, info)
    assert grid.origin_s == Fraction(1, 2)
    early = replace(grid, origin_s=Fraction(0), frames=75)
    plan = replace(plan, grid=early, segments=(replace(plan.segments[0], end=30),))
    seen = list(shown_numbers(encode(backend, path, info, plan, 0), "180p"))
    assert seen == [0] * 15 + list(range(15))


def test_a_source_of_which_nothing_decodes_is_refused(backend: Backend, tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", even_times(40))
    info = probed(path)
    plan, _ = planned(backend, info)
    data = bytearray(path.read_bytes())
    begin = data.find(b"mdat") + 4
    end = data.find(b"moov") - 4
    data[begin:end] = bytes(end - begin)
    path.write_bytes(bytes(data))
    with pytest.raises(InputError):
        encode(backend, path, info, plan, 0)


def test_holes_in_the_source_are_held_and_said(backend: Backend, tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", even_times(90), options={"g": "15", "bf": "0"}, tags=BT709)
    info = probed(path)
    plan, grid = planned(backend, info)
    data = bytearray(path.read_bytes())
    begin = data.find(b"mdat") + 4
    end = data.find(b"moov") - 4
    middle = (begin + end) // 2
    data[middle - 3000 : middle + 3000] = bytes(6000)
    path.write_bytes(bytes(data))
    warnings: list[str] = []
    frames = damaged = 0
    for segment in plan.segments:
        encoded = encode(backend, path, info, plan, segment.index)
        warnings += encoded.warnings
        damaged += encoded.damaged_frames
        frames += len(encoded.pictures["180p"])
    assert frames == grid.frames == 90
    assert warnings
    assert 0 < damaged < 60
