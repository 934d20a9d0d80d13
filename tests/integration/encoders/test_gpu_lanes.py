"""The GPU lanes on a fake device: what goes wrong, what is kept, and how near the lanes' pictures are to each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from fakes.gpu import PROOF, Gpu, proven_fake
from media_clips import PROFILE, decoded, even_times, probed, read_number, write_clip

from encoders.backends.base import Backend, SegmentRequest
from encoders.backends.cpu import CpuBackend
from encoders.backends.hybrid import HybridBackend
from encoders.backends.nvenc import NvencBackend
from encoders.backends.nverrors import BadConfiguration, DeviceFault, NoDevice, SessionsExhausted, Unsupported
from encoders.backends.nvsession import BACK_OFF_S
from encoders.backends.proof import DeviceProof, GpuProbe
from encoders.bitstream import BITSTREAMS
from encoders.ladder import Codec
from encoders.media import ColourRange, MediaInfo
from encoders.nal import parameter_sets
from encoders.plan import plan_asset

FRAMES = 45


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, MediaInfo]:
    path = tmp_path_factory.mktemp("gpu") / "clip.mp4"
    write_clip(path, even_times(FRAMES), options={"g": "15", "bf": "2"}, tags={"colorspace": 1}, size=(640, 360))
    return path, probed(path)


@pytest.fixture
def gpu() -> Iterator[Gpu]:
    with proven_fake() as plugged:
        yield plugged


class Clock:
    """Remembers how long it was asked to wait."""

    def __init__(self) -> None:
        self.waited: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.waited.append(seconds)


def request_of(clip: tuple[Path, MediaInfo], backend: Backend, index: int = 0, **changed: Any) -> SegmentRequest:
    path, info = clip
    plan = plan_asset(info, PROFILE, 1, backend.encoder_id("ultrafast"))
    assert info.video is not None
    return SegmentRequest(
        source=path, video=replace(info.video, **changed), plan=plan, segment=plan.segments[index], threads=1
    )


def pictures_of(backend: Backend, request: SegmentRequest, rendition: str = "180p") -> list[Any]:
    """Decoded luma planes of a segment's rendition."""
    encoded = list(backend.encode(request))
    stream = backend.extradata(rendition) + b"".join(p.data for p in encoded if p.rendition == rendition)
    return [luma for _, luma in decoded(stream, "h264")]


def psnr(a: Any, b: Any) -> float:
    error = float(np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2))
    return 10 * float(np.log10(255**2 / max(error, 1e-10)))


def test_frames_stay_on_the_device_and_sessions_are_one_for_each_rendition(
    gpu: Gpu, clip: tuple[Path, MediaInfo]
) -> None:
    backend = NvencBackend()
    request = request_of(clip, backend)

    list(backend.encode(request))

    assert len(gpu.called("CreateDecoder")) == 1
    assert len(gpu.called("CreateEncoder")) == len(request.plan.renditions)
    assert not [call for call in gpu.called("memcpyAsync") if call["kind"] == 2], "pictures went to the host"
    streams = {call["cudastream"] for name in ("CreateDecoder", "CreateEncoder") for call in gpu.called(name)}
    assert len(streams) == 1


def test_the_rate_cap_is_restored_after_constant_quality_zeroed_it(gpu: Gpu, clip: tuple[Path, MediaInfo]) -> None:
    backend = NvencBackend()
    request = request_of(clip, backend)

    list(backend.encode(request))

    wanted = [{"max_bps": each.maxrate_bps, "vbv_bits": each.bufsize_bits} for each in request.plan.renditions]
    assert gpu.called("Reconfigure") == wanted


def test_sessions_are_kept_between_segments_where_that_was_proven_exact(gpu: Gpu, clip: tuple[Path, MediaInfo]) -> None:
    backend = NvencBackend()
    first = pictures_of(backend, request_of(clip, backend, 0))
    again = pictures_of(backend, request_of(clip, backend, 0))

    assert len(gpu.called("CreateEncoder")) == 2
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))


def test_sessions_are_opened_anew_where_it_was_not(clip: tuple[Path, MediaInfo]) -> None:
    forgetful = replace(PROOF, devices=(replace(PROOF.devices[0], reuse_exact=False),))
    with proven_fake(Gpu(forgetful=True), forgetful) as gpu:
        backend = NvencBackend()
        first = pictures_of(backend, request_of(clip, backend, 0))
        again = pictures_of(backend, request_of(clip, backend, 0))

        assert len(gpu.called("CreateEncoder")) == 4
        assert gpu.open_sessions == 0, "what is not used again is given back"
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))


def test_a_segment_that_was_left_in_the_middle_leaves_nothing_to_the_next(
    gpu: Gpu, clip: tuple[Path, MediaInfo]
) -> None:
    backend = NvencBackend()
    whole = pictures_of(backend, request_of(clip, backend, 0))
    left = backend.encode(request_of(clip, backend, 0))
    for _ in range(5):
        next(left)
    left.close()  # type: ignore[attr-defined]

    assert gpu.open_sessions == 0
    again = pictures_of(backend, request_of(clip, backend, 0))
    assert all(np.array_equal(a, b) for a, b in zip(whole, again, strict=True))


@pytest.mark.parametrize("code", [21, 10])
def test_exhausted_sessions_are_waited_for(clip: tuple[Path, MediaInfo], code: int) -> None:
    clock = Clock()
    with proven_fake(Gpu(fails={"CreateEncoder": [code, code, 0, code]})):
        backend = NvencBackend(sleep=clock.sleep)

        assert len(pictures_of(backend, request_of(clip, backend))) == 30

    assert clock.waited == [BACK_OFF_S[0], BACK_OFF_S[1], BACK_OFF_S[0]]


def test_sessions_that_stay_exhausted_are_said_and_nothing_is_left_open(clip: tuple[Path, MediaInfo]) -> None:
    clock = Clock()
    with proven_fake(Gpu(sessions=1)) as gpu:
        backend = NvencBackend(sleep=clock.sleep)
        with pytest.raises(SessionsExhausted):
            list(backend.encode(request_of(clip, backend)))
        del backend

        assert gpu.open_sessions == 0
    assert tuple(clock.waited) == BACK_OFF_S


def test_a_refused_configuration_is_believed_the_third_time(clip: tuple[Path, MediaInfo]) -> None:
    with proven_fake(Gpu(fails={"CreateEncoder": [8, 8]})):
        backend = NvencBackend()
        assert len(pictures_of(backend, request_of(clip, backend))) == 30
    with proven_fake(Gpu(fails={"CreateEncoder": [8, 8, 8]})):
        backend = NvencBackend()
        with pytest.raises(BadConfiguration):
            list(backend.encode(request_of(clip, backend)))


@pytest.mark.parametrize(
    "fails", [{"Encode": [0] * 10 + [20]}, {"Decode": [0] * 6 + [700]}, {"scale_ladder": [0, 700]}]
)
@pytest.mark.parametrize("lane", [NvencBackend, HybridBackend])
def test_a_device_that_fails_in_the_middle_is_a_device_fault(
    clip: tuple[Path, MediaInfo], lane: type[NvencBackend] | type[HybridBackend], fails: dict[str, list[int]]
) -> None:
    if lane is HybridBackend and "Encode" in fails:
        pytest.skip("hybrid has no encode session")
    with proven_fake(Gpu(fails={call: list(codes) for call, codes in fails.items()})):
        backend = lane()
        with pytest.raises(DeviceFault):
            list(backend.encode(request_of(clip, backend)))


@pytest.mark.parametrize("lane", [NvencBackend, HybridBackend])
def test_ffmpeg_goes_on_where_nvdec_leaves_a_picture_out(
    clip: tuple[Path, MediaInfo], lane: type[NvencBackend] | type[HybridBackend]
) -> None:
    with proven_fake(Gpu(drops_picture=12)):
        backend = lane()
        shown = [read_number(luma) for luma in pictures_of(backend, request_of(clip, backend))]

    assert shown == list(range(30))
    assert any("decoded on the CPU from output frame" in text for text in backend.warnings())


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"interlaced": True}, "deinterlaced"),
        ({"rotation": 90}, "upright"),
        ({"mirrored": True}, "upright"),
        ({"codec": "prores"}, "prores"),
        ({"pixel_format": "yuv422p"}, "yuv422p"),
        ({"bit_depth": 10, "pixel_format": "yuv420p10le"}, "10 bits"),
        ({"width": 641}, "odd size"),
    ],
)
def test_nvdec_is_not_given_what_the_cpu_does_otherwise(
    gpu: Gpu, clip: tuple[Path, MediaInfo], changed: dict[str, Any], reason: str
) -> None:
    video = clip[1].video
    assert video is not None
    assert NvencBackend().accepts(video) == ""
    assert reason in NvencBackend().accepts(replace(video, **changed))


@pytest.mark.parametrize(
    ("colour", "reason"),
    [({"transfer": 16}, "HDR"), ({"range": ColourRange.FULL}, "range"), ({"matrix": 6}, "matrix 6")],
)
def test_colour_that_needs_converting_is_converted_on_the_cpu(
    gpu: Gpu, clip: tuple[Path, MediaInfo], colour: dict[str, Any], reason: str
) -> None:
    video = clip[1].video
    assert video is not None
    assert reason in HybridBackend().accepts(replace(video, colour=replace(video.colour, **colour)))


def test_a_track_for_the_cpu_is_decoded_there_and_encoded_on_the_device(gpu: Gpu, clip: tuple[Path, MediaInfo]) -> None:
    backend = NvencBackend()
    request = request_of(clip, backend, interlaced=False, mirrored=True)

    pictures = pictures_of(backend, request)

    assert len(pictures) == 30
    assert gpu.called("Encode")
    assert not gpu.called("CreateDecoder")


def test_hybrid_s_pictures_are_the_cpu_s_to_60_db_before_encoding(gpu: Gpu, clip: tuple[Path, MediaInfo]) -> None:
    seen: dict[str, list[Any]] = {"cpu": [], "hybrid": []}
    for backend in (CpuBackend(), HybridBackend()):
        taken = seen[backend.name]
        request = replace(request_of(clip, backend), tap=lambda number, luma, taken=taken: taken.append(np.array(luma)))
        list(backend.encode(request))

    assert len(seen["cpu"]) == len(seen["hybrid"]) == 30
    assert min(psnr(a, b) for a, b in zip(seen["cpu"], seen["hybrid"], strict=True)) >= 60


def test_hybrid_and_cpu_are_one_encoder_with_the_same_parameter_sets(gpu: Gpu, clip: tuple[Path, MediaInfo]) -> None:
    cpu, hybrid = CpuBackend(), HybridBackend()

    assert cpu.encoder_id("veryfast") == hybrid.encoder_id("veryfast")
    list(cpu.encode(request_of(clip, cpu)))
    list(hybrid.encode(request_of(clip, hybrid)))
    assert cpu.extradata("180p") == hybrid.extradata("180p")


def test_nvenc_s_parameter_sets_are_tagged_bt709_limited(gpu: Gpu, clip: tuple[Path, MediaInfo]) -> None:
    backend = NvencBackend()
    list(backend.encode(request_of(clip, backend)))
    stream = backend.extradata("180p")

    parameter_sets(stream)
    decoder = av.CodecContext.create("h264", "r")
    for data in (p.data for p in backend.encode(request_of(clip, backend)) if p.rendition == "180p"):
        for frame in decoder.decode(av.Packet(stream + data)):
            assert (int(frame.colorspace), int(frame.color_primaries), int(frame.color_trc)) == (1, 1, 1)
            assert int(frame.color_range) == 1
            return


def test_the_encoder_s_identity_tells_driver_generation_and_settings_apart() -> None:
    def identity(preset: str = "veryfast", driver: str = "580.1", **device: Any) -> str:
        probe = replace(PROOF, driver=driver, devices=(replace(PROOF.devices[0], **device),))
        return NvencBackend(probe).encoder_id(preset)

    identities = [
        identity(),
        identity(preset="medium"),
        identity(driver="590.2"),
        identity(architecture="12.0"),
        identity(max_b_frames=0),
    ]
    assert len(set(identities)) == len(identities)
    assert identity() == identity(uuid="GPU-1", sessions=3), "two cards of a kind are one encoder"


@pytest.mark.parametrize("lane", [NvencBackend, HybridBackend])
def test_a_host_without_a_device_says_why(
    clip: tuple[Path, MediaInfo], lane: type[NvencBackend] | type[HybridBackend]
) -> None:
    backend = lane(GpuProbe(reason="no driver here"))
    request = request_of(clip, CpuBackend())

    with pytest.raises(NoDevice, match="no driver here"):
        list(backend.encode(request))


def test_a_gpu_without_nvenc_is_refused_by_nvenc_with_its_reason(clip: tuple[Path, MediaInfo]) -> None:
    h200 = DeviceProof(
        index=0,
        uuid="GPU-2",
        name="H200",
        architecture="9.0",
        memory_bytes=141 << 30,
        decodes=("h264/8/420",),
        encode_reason="error 2",
    )
    with pytest.raises(NoDevice, match=r"H200: error 2"):
        NvencBackend(GpuProbe(driver="580.1", devices=(h200,))).encoder_id("veryfast")


def test_deep_sources_are_decoded_on_the_device(tmp_path: Path) -> None:
    path = write_clip(
        tmp_path / "deep.mp4",
        even_times(20, Fraction(25)),
        codec="libx265",
        options={"preset": "ultrafast", "x265-params": "log-level=none:pools=1:keyint=20"},
        pixel_format="yuv420p10le",
        rate=Fraction(25),
        tags={"colorspace": 1},
    )
    clip = (path, probed(path))
    with proven_fake() as gpu:
        backend = HybridBackend()
        shown = [read_number(luma) for luma in pictures_of(backend, request_of(clip, backend))]

        assert gpu.called("CreateDecoder")
    assert shown == list(range(20))
    assert backend.warnings() == ()


def test_hybrid_s_segments_are_the_cpu_s_to_the_last_picture(gpu: Gpu, clip: tuple[Path, MediaInfo]) -> None:
    """x264 looks past a segment's end in both: else the last pictures would be 1 to 2 dB worse in one of them."""
    cpu, hybrid = CpuBackend(), HybridBackend()
    both = [pictures_of(lane, request_of(clip, lane), "180p") for lane in (cpu, hybrid)]
    assert len(both[0]) == len(both[1]) == 30
    assert min(psnr(a, b) for a, b in zip(*both, strict=True)) >= 40
    sizes = [sum(len(p.data) for p in lane.encode(request_of(clip, lane)) if p.pts >= 25) for lane in (cpu, hybrid)]
    assert abs(sizes[0] - sizes[1]) <= 0.05 * sizes[0]


@pytest.mark.parametrize(
    ("changed", "colour"),
    [({"interlaced": True}, {}), ({"mirrored": True}, {}), ({}, {"transfer": 16, "primaries": 9, "matrix": 9})],
    ids=["interlaced", "mirrored", "HDR"],
)
def test_what_nvdec_may_not_have_reaches_nvenc_as_the_cpu_lane_shows_it(
    gpu: Gpu, clip: tuple[Path, MediaInfo], changed: dict[str, Any], colour: dict[str, Any]
) -> None:
    video = clip[1].video
    assert video is not None
    changed = {**changed, "colour": replace(video.colour, **colour)}
    seen: dict[str, list[Any]] = {"cpu": [], "nvenc": []}
    for backend in (CpuBackend(), NvencBackend()):
        taken = seen[backend.name]
        request = request_of(clip, backend, 1, **changed)
        list(backend.encode(replace(request, tap=lambda number, luma, taken=taken: taken.append(np.array(luma)))))

    assert not gpu.called("CreateDecoder")
    assert len(gpu.called("Encode")) == 15 * 2, "both renditions by the device"
    assert len(seen["cpu"]) == len(seen["nvenc"]) == 15
    assert min(psnr(a, b) for a, b in zip(seen["cpu"], seen["nvenc"], strict=True)) >= 60


def test_a_device_of_another_generation_adds_nothing_to_a_rendition(gpu: Gpu, clip: tuple[Path, MediaInfo]) -> None:
    """Its parameter sets may differ: the segment goes to a device whose encoder the plan names."""
    begun, other = NvencBackend(), NvencBackend(replace(PROOF, driver="590.2"))
    request = request_of(clip, begun)
    with pytest.raises(Unsupported, match=r"590\.2"):
        list(other.encode(request))
    switched = replace(request.plan, encoder=f"{CpuBackend().encoder_id('ultrafast')} -> nvenc")
    assert list(other.encode(replace(request, plan=switched))), "a plan that was switched names no version"


def test_nvenc_makes_hevc_where_that_was_proven_and_refuses_it_where_not(clip: tuple[Path, MediaInfo]) -> None:
    rungs = tuple(replace(rung, codec=Codec.HEVC) if rung.name == "180p" else rung for rung in PROFILE.rungs)
    profile = replace(PROFILE, rungs=rungs)
    able = replace(PROOF, devices=(replace(PROOF.devices[0], encodes=("h264", "hevc")),))
    path, info = clip
    assert info.video is not None
    with proven_fake(Gpu(encodes=("h264", "hevc")), able) as gpu:
        backend = NvencBackend()
        plan = plan_asset(info, profile, 1, backend.encoder_id("ultrafast", profile.codecs))
        request = SegmentRequest(source=path, video=info.video, plan=plan, segment=plan.segments[0], threads=1)
        (name,) = [each.name for each in plan.renditions if each.codec is Codec.HEVC]
        pictures = [each for each in backend.encode(request) if each.rendition == name]

        assert {str(call["codec"]) for call in gpu.called("CreateEncoder")} == {"h264", "hevc"}
        stream = backend.extradata(name) + b"".join(each.data for each in pictures)
        assert [read_number(luma) for _, luma in decoded(stream, "hevc")] == list(range(30))
        assert [each.pts for each in pictures if each.idr] == [0, 15]
        BITSTREAMS[Codec.HEVC].configuration(backend.extradata(name))
    with proven_fake(), pytest.raises(Unsupported, match="hevc"):
        NvencBackend().encoder_id("ultrafast", profile.codecs)
