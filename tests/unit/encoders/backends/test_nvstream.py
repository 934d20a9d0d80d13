"""Parameter sets and pictures of three codecs, of streams that FFmpeg's encoders make."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
import pytest
from av.packet import Packet

from encoders.backends import probe_clip
from encoders.backends.nverrors import DeviceFault
from encoders.backends.nvparams import NvCodec
from encoders.backends.nvstream import strip_parameter_sets, tag_parameter_sets
from encoders.backends.shared_cores import shared_cores

FRAMES = 6
ENCODERS: dict[NvCodec, tuple[str, dict[str, str]]] = {
    NvCodec.H264: ("libx264", {"preset": "ultrafast", "x264-params": "annexb=1:repeat-headers=1"}),
    NvCodec.HEVC: ("libx265", {"preset": "ultrafast", "x265-params": "log-level=none:pools=none:repeat-headers=1"}),
    NvCodec.AV1: ("libsvtav1", {"preset": "12", "svtav1-params": "pred-struct=1:lp=1"}),
}


def stream_of(codec: NvCodec) -> list[bytes]:
    """A short stream with its parameter sets in band, as NVENC gives it."""
    name, options = ENCODERS[codec]
    encoder: Any = av.CodecContext.create(name, "w")
    encoder.width, encoder.height, encoder.pix_fmt = 192, 128, "yuv420p"
    encoder.time_base, encoder.gop_size, encoder.thread_count, encoder.max_b_frames = Fraction(1, 25), 50, 1, 0
    encoder.options = options
    with shared_cores():
        encoder.open()
    packets: list[Any] = []
    for number in range(FRAMES):
        packets += encoder.encode(probe_clip.moving_picture(number, 192, 128))
    packets += encoder.encode(None)
    return [bytes(packet) for packet in packets]


@pytest.fixture(params=list(NvCodec), scope="module")
def stream(request: pytest.FixtureRequest) -> tuple[NvCodec, list[bytes]]:
    return request.param, stream_of(request.param)


def test_pictures_without_their_sets_decode_behind_tagged_ones(stream: tuple[NvCodec, list[bytes]]) -> None:
    codec, packets = stream
    sets = tag_parameter_sets(codec, packets[0])
    stripped = [strip_parameter_sets(codec, packet) for packet in packets]
    assert [starts for _, starts in stripped] == [True] + [False] * (FRAMES - 1)
    fed = [Packet(sets + data if number == 0 else data) for number, (data, _) in enumerate(stripped)]
    frames = list(probe_clip.decode(codec.value, fed))
    assert len(frames) == FRAMES
    for frame in frames:
        assert (int(frame.colorspace), int(frame.color_primaries), int(frame.color_trc)) == (1, 1, 1)
        assert int(frame.color_range) == 1


def test_tagging_twice_changes_nothing_and_a_picture_without_sets_keeps_its_bytes(
    stream: tuple[NvCodec, list[bytes]],
) -> None:
    codec, packets = stream
    sets = tag_parameter_sets(codec, packets[0])
    assert tag_parameter_sets(codec, sets) == sets
    bare, _ = strip_parameter_sets(codec, packets[1])
    assert strip_parameter_sets(codec, bare) == (bare, False)


@pytest.mark.parametrize("codec", [NvCodec.H264, NvCodec.HEVC])
def test_sets_that_are_missing_are_a_fault_of_the_device(codec: NvCodec) -> None:
    bare, _ = strip_parameter_sets(codec, stream_of(codec)[1])
    with pytest.raises(DeviceFault, match="parameter sets"):
        tag_parameter_sets(codec, bare)
