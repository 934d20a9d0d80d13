"""Test pictures and clips that the GPU probe makes for itself: no media file is bundled, FFmpeg is the reference.

A clip is encoded by a CPU encoder in memory and decoded by FFmpeg; a device must give the same pictures to the bit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import av.error
import numpy as np
import numpy.typing as npt
from av.packet import Packet

from encoders.backends.shared_cores import shared_cores

CPU_ENCODERS = {
    "h264/8/420": ("libx264", "yuv420p", {"preset": "veryfast", "crf": "28", "bf": "3"}),
    "hevc/8/420": ("libx265", "yuv420p", {"preset": "ultrafast", "crf": "30", "x265-params": "log-level=none:pools=1"}),
    "hevc/10/420": (
        "libx265",
        "yuv420p10le",
        {"preset": "ultrafast", "crf": "30", "x265-params": "log-level=none:pools=1"},
    ),
    "vp9/8/420": ("libvpx-vp9", "yuv420p", {"deadline": "realtime", "cpu-used": "8", "crf": "40", "b": "0"}),
    "av1/8/420": ("libsvtav1", "yuv420p", {"preset": "12", "crf": "45", "svtav1-params": "lp=1:pred-struct=1"}),
}
"""What is proven, as "codec/bit depth/chroma", and how a clip of it is made."""
CPU_DECODERS = {"av1": "libdav1d"}
"""FFmpeg's decoder of a codec where it does not go by the codec's name: its own "av1" needs a device."""
FPS = 25


@dataclass(frozen=True, slots=True)
class Clip:
    """A short encoded clip.

    Attributes:
        codec: as FFmpeg names it.
        packets: elementary stream, with pts in frames.
        digests: of each picture, in order, as NV12 or P010 (`picture_digest`).
    """

    codec: str
    packets: list[Packet[Any]]
    digests: list[str]


def moving_picture(number: int, width: int, height: int) -> av.VideoFrame:
    """Frame `number` of an endless pattern: gradients, edges that move, and grain; NV12-able 4:2:0."""
    y, x = np.mgrid[0:height, 0:width]
    luma = 128 + 70 * np.sin((x + 3 * number) / 19) * np.cos((y - 2 * number) / 23) + 20 * (((x + number) // 16) % 2)
    luma += np.random.default_rng(number).normal(0, 3, (height, width))
    u = 128 + 60 * np.sin((x[::2, ::2] + y[::2, ::2] + number) / 40)
    v = 128 + 60 * np.cos((x[::2, ::2] - y[::2, ::2] - number) / 31)
    planes = [np.clip(plane, 16, 235).astype(np.uint8) for plane in (luma, u, v)]
    packed = np.concatenate([plane.reshape(-1) for plane in planes]).reshape(height * 3 // 2, width)
    frame = av.VideoFrame.from_ndarray(packed, format="yuv420p")
    frame.pts = number
    return frame


def make_clip(kind: str, width: int = 320, height: int = 240, frames: int = 12) -> Clip | None:
    """A clip of a kind in CPU_ENCODERS; None when this build of FFmpeg has no encoder for it."""
    name, pixel_format, options = CPU_ENCODERS[kind]
    try:
        encoder = av.CodecContext.create(name, "w")
    except (av.error.FFmpegError, ValueError):
        return None
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = width, height, pixel_format
    encoder.time_base, encoder.framerate = Fraction(1, FPS), Fraction(FPS)
    encoder.gop_size = frames
    encoder.thread_count = 1
    encoder.options = options
    with shared_cores():
        encoder.open()
    packets: list[Packet[Any]] = []
    for number in range(frames):
        packets += encoder.encode(moving_picture(number, width, height).reformat(format=pixel_format))
    packets += encoder.encode(None)
    codec = kind.split("/")[0]
    return Clip(codec, packets, [picture_digest(frame) for frame in decode(codec, packets)])


def decode(codec: str, packets: Iterable[Packet[Any]]) -> Iterator[av.VideoFrame]:
    """FFmpeg's own decoder, on copies of the packets."""
    decoder = av.CodecContext.create(CPU_DECODERS.get(codec, codec), "r")
    assert isinstance(decoder, av.VideoCodecContext)
    decoder.thread_count = 1
    for packet in packets:
        copy = Packet(bytes(packet))
        copy.pts, copy.dts = packet.pts, packet.dts
        yield from decoder.decode(copy)
    yield from decoder.decode(None)


def picture_digest(frame: av.VideoFrame) -> str:
    """Identity of a picture as the device holds it: NV12, or P010 for more than 8 bits; rows tight."""
    luma, chroma = native_planes(frame)
    return surface_digest(luma, chroma)


def native_planes(frame: av.VideoFrame) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Luma and interleaved chroma rows, tight, as bytes."""
    deep = "10" in frame.format.name
    native = frame.reformat(format="p010le" if deep else "nv12")
    rows = [
        np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size) for plane in native.planes
    ]
    bytes_per_row = frame.width * (2 if deep else 1)
    return rows[0][:, :bytes_per_row], rows[1][:, :bytes_per_row]


def surface_digest(luma: npt.NDArray[np.uint8], chroma: npt.NDArray[np.uint8]) -> str:
    """Identity of two planes of bytes."""
    digest = hashlib.sha256(luma.tobytes())
    digest.update(chroma.tobytes())
    return digest.hexdigest()


def psnr_db(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]) -> float:
    """Peak signal to noise ratio of 8-bit planes; 100 when they are the same."""
    error = float(np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2))
    return min(100.0, 10 * float(np.log10(255**2 / error))) if error else 100.0


def swscale(frame: av.VideoFrame, width: int, height: int) -> av.VideoFrame:
    """A picture as FFmpeg's scaler makes it at its most exact, in yuv420p: what the kernel must equal."""
    graph = av.filter.Graph()
    chain = [
        graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, FPS)),
        graph.add("scale", f"{width}:{height}:flags=bicubic+accurate_rnd+bitexact"),
        graph.add("format", "yuv420p"),
        graph.add("buffersink"),
    ]
    graph.link_nodes(*chain).configure()
    graph.push(frame)
    scaled = graph.pull()
    assert isinstance(scaled, av.VideoFrame)
    return scaled


def planes_of(frame: av.VideoFrame) -> list[npt.NDArray[np.uint8]]:
    """Y, U and V of a planar picture, without padding."""
    return [
        np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
        for plane in frame.planes
    ]
