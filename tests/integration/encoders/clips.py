"""Tiny clips of every kind, made on the spot."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

RATE_HZ = 48_000


def picture(number: int, width: int, height: int) -> av.VideoFrame:
    """A frame whose bright square moves with its number."""
    pixels = np.full((height, width, 3), 40, np.uint8)
    at = number * 6 % max(1, width - 24)
    pixels[height // 4 : height // 4 + 24, at : at + 24] = (230, 200, 30)
    return av.VideoFrame.from_ndarray(pixels, format="rgb24")


def write_clip(
    path: Path,
    *,
    times: Sequence[int] = range(48),
    time_base: Fraction = Fraction(1, 24),
    rate: Fraction = Fraction(24),
    size: tuple[int, int] = (160, 96),
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    container: str | None = None,
    codec_options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    sound_start_s: Fraction | None = None,
    sound_s: Fraction = Fraction(2),
    sound_codec: str = "aac",
    **stream: Any,
) -> Path:
    """Write frames at these ticks, and sound of 440 Hz from `sound_start_s` on unless that is None."""
    codec_options = {"preset": "ultrafast", "g": "12"} if codec_options is None else codec_options
    with av.open(str(path), "w", format=container, options=container_options or {}) as output:
        video = output.add_stream(codec, rate=rate, options=codec_options)
        video.width, video.height, video.pix_fmt = *size, pixel_format
        video.codec_context.time_base = time_base
        for name, value in stream.items():
            setattr(video if name == "metadata" else video.codec_context, name, value)
        sound = None
        if sound_start_s is not None:
            sound = output.add_stream(sound_codec, rate=RATE_HZ)
            sound.layout = "stereo"
        for number, time in enumerate(times):
            frame = picture(number, *size).reformat(format=pixel_format)
            frame.pts, frame.time_base = time, time_base
            output.mux(video.encode(frame))
        output.mux(video.encode())
        if sound is not None and sound_start_s is not None:
            for block in tone(sound_start_s, sound_s):
                output.mux(sound.encode(block))
            output.mux(sound.encode())
    return path


def tone(start_s: Fraction, length_s: Fraction) -> list[av.AudioFrame]:
    """Blocks of 1024 samples of a stereo tone."""
    samples = 0.3 * np.sin(2 * np.pi * 440 / RATE_HZ * np.arange(int(length_s * RATE_HZ)))
    blocks = []
    for at in range(0, len(samples), 1024):
        part = samples[at : at + 1024].astype(np.float32)
        block = av.AudioFrame.from_ndarray(np.stack([part, part]), format="fltp", layout="stereo")
        block.sample_rate, block.time_base = RATE_HZ, Fraction(1, RATE_HZ)
        block.pts = int(start_s * RATE_HZ) + at
        blocks.append(block)
    return blocks
