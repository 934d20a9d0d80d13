"""Clips for tests whose frames say which frame they are, and readers of what comes out again."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from encoders.ladder import Profile, Rung, VideoSettings
from encoders.media import MediaInfo
from encoders.probe import probe_source

WIDTH, HEIGHT, BITS = 320, 180, 12
Planes = npt.NDArray[np.uint8]

PROFILE = Profile(
    name="test",
    description="two rungs, a GOP of half a second, media segments of one second",
    rungs=(
        Rung(name="90p", short_side=90, crf=20, maxrate_bps=1_000_000, bufsize_bits=1_000_000),
        Rung(name="180p", short_side=180, crf=20, maxrate_bps=2_000_000, bufsize_bits=2_000_000, mp4=True),
    ),
    video=VideoSettings(preset="ultrafast", gop_s=0.5, media_segment_s=1.0, segment_s=1.0),
)


def picture(number: int, width: int = WIDTH, height: int = HEIGHT) -> Planes:
    """RGB of a frame: its number as blocks in the top band, bit by bit, over a gradient that drifts."""
    y, x = np.mgrid[0:height, 0:width]
    ramp = ((x + 2 * y + 5 * number) % 160 + 48).astype(np.uint8)
    rgb = np.stack([ramp, 255 - ramp, ramp // 2 + 64], -1)
    band, block = height // 6, width // BITS
    for bit in range(BITS):
        rgb[:band, bit * block : (bit + 1) * block] = 235 if number >> bit & 1 else 16
    return rgb


def read_number(luma: Planes) -> int:
    """The number in a decoded frame of any size."""
    height, width = luma.shape
    band, block = height / 6, width / BITS
    rows = luma[int(band * 0.25) : max(int(band * 0.75), int(band * 0.25) + 1)]
    return sum(
        1 << bit for bit in range(BITS) if rows[:, int((bit + 0.25) * block) : int((bit + 0.75) * block)].mean() > 126
    )


def write_clip(
    path: Path,
    times: Sequence[Fraction],
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    pixel_format: str = "yuv420p",
    size: tuple[int, int] = (WIDTH, HEIGHT),
    pictures: Iterable[Planes] | None = None,
    rate: Fraction = Fraction(30),
    tags: dict[str, int | Fraction] | None = None,
) -> Path:
    """Encode numbered frames at these times, in whole ticks of 1/90000 s.

    Args:
        pictures: RGB frames in place of the numbered ones.
        tags: attributes of the codec context to set, as in {"colorspace": 1}.
    """
    shown = pictures if pictures is not None else (picture(number, *size) for number in range(len(times)))
    scaler = VideoReformatter()
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height, stream.pix_fmt = *size, pixel_format
        stream.codec_context.time_base = Fraction(1, 90_000)
        for name, value in (tags or {}).items():
            setattr(stream.codec_context, name, value)
        for time, rgb in zip(times, shown, strict=True):
            frame = scaler.reformat(VideoFrame.from_ndarray(rgb, "rgb24"), format=pixel_format)
            frame.pts, frame.time_base = round(time * 90_000), Fraction(1, 90_000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def even_times(frames: int, fps: Fraction = Fraction(30), start: Fraction = Fraction(0)) -> list[Fraction]:
    """Times of a constant rate."""
    return [start + number / fps for number in range(frames)]


def probed(path: Path) -> MediaInfo:
    """What the probe says of a clip."""
    return probe_source(path, hashlib.sha256(path.read_bytes()).hexdigest())


def decoded(stream: bytes, form: str = "mp4") -> Iterator[tuple[int | None, Planes]]:
    """(presentation time in ticks, luma) of each frame of an encoded stream."""
    with av.open(io.BytesIO(stream), "r", format=form) as container:
        for frame in container.decode(video=0):
            yield frame.pts, luma_of(frame)


def luma_of(frame: VideoFrame) -> Planes:
    """The first plane without its padding."""
    plane = frame.planes[0]
    return np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width].copy()
