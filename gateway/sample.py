"""A clip to try the farm with: moving fine detail, a burnt-in clock and frame number, scene cuts, a beep each second.

Everything is drawn from a few arrays, so that thirty seconds of 1080p take a few seconds to make on two cores.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.uint8]

SAMPLE_RATE = 48_000
SCENE_S = 10
"""The background changes every ten seconds, so that there is something to cut chapters at."""
PAN_PIXELS = 4
"""How far the background moves in a frame; even, so that the chroma planes move by whole pixels."""
GLYPHS = {
    "0": "111101101101111",
    "1": "010110010010111",
    "2": "111001111100111",
    "3": "111001111001111",
    "4": "101101111001001",
    "5": "111100111001111",
    "6": "111100111101111",
    "7": "111001010010010",
    "8": "111101111101111",
    "9": "111101111001111",
    ":": "000010000010000",
    " ": "000000000000000",
}
"""Digits of 3 x 5 pixels, row by row."""


def write_sample(
    path: Path, *, seconds: int = 30, width: int = 1920, height: int = 1080, rate: Fraction = Fraction(30)
) -> None:
    """Write an MP4 with H.264 video and stereo AAC sound.

    Args:
        path: is replaced.
        seconds: whole seconds, at least 1.
        width, height: even numbers of pixels.
        rate: frames per second.
    """
    frames = round(seconds * rate)
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as output:
        # The quickest preset, at a quality where the detail stays crisp for the farm to encode.
        video = output.add_stream("libx264", rate=rate, options={"preset": "ultrafast", "crf": "26", "g": "120"})
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.codec_context.thread_count = 0
        audio = output.add_stream("aac", rate=SAMPLE_RATE, options={"b": "128k"})
        audio.layout = "stereo"
        sound = _sound(seconds)
        for number, picture in enumerate(_pictures(frames, width, height, rate)):
            frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
            frame.pts = number
            frame.time_base = 1 / rate
            output.mux(video.encode(frame))
            if number % round(rate) == 0:
                for block in _blocks(sound, int(number / rate)):
                    output.mux(audio.encode(block))
        output.mux(video.encode(None))
        output.mux(audio.encode(None))


def _pictures(frames: int, width: int, height: int, rate: Fraction) -> Iterator[Plane]:
    """Pictures as PyAV takes yuv420p: rows of luma, then both chroma planes; one array, drawn anew for each."""
    scene_frames = round(SCENE_S * rate)
    picture = np.empty((height * 3 // 2, width), np.uint8)
    chroma = picture[height:].reshape(2, height // 2, width // 2)
    unit = max(1, height // 90)
    for number in range(frames):
        scene, step = divmod(number, scene_frames)
        if step == 0:
            background, tint = _background(scene, width + PAN_PIXELS * scene_frames, height)
        pan = PAN_PIXELS * step
        picture[:height] = background[:, pan : pan + width]
        chroma[:] = tint[:, :, pan // 2 : pan // 2 + width // 2]
        _draw_ball(picture, chroma, number, rate, height)
        second, frame_of_second = divmod(number, round(rate))
        clock = f"{second // 60:02}:{second % 60:02}:{frame_of_second:02}"
        _draw_text(picture, chroma, clock, unit, unit, unit)
        _draw_text(picture, chroma, f"{number:06}", unit, height - 8 * unit, unit)
        yield picture


def _background(scene: int, width: int, height: int) -> tuple[Plane, Plane]:
    """Luma with structure at every scale up to single pixels, and slow colour; another one for each scene."""
    random = np.random.default_rng(scene)
    luma = np.zeros((height, width), np.float32)
    for scale, strength in ((64, 60.0), (16, 36.0), (4, 14.0), (1, 4.0)):
        noise = random.standard_normal((-(-height // scale), -(-width // scale)), dtype=np.float32)
        luma += strength * np.kron(noise, np.ones((scale, scale), np.float32))[:height, :width]
    colour = random.integers(96, 160, (2, -(-height // 128), -(-width // 128)))
    tint = np.kron(colour, np.ones((1, 64, 64), np.int64))[:, : height // 2, : width // 2]
    return np.clip(luma + 118, 24, 220).astype(np.uint8), tint.astype(np.uint8)


def _draw_ball(picture: Plane, chroma: Plane, number: int, rate: Fraction, height: int) -> None:
    """A bright disc with rings that crosses the picture against the background's movement."""
    width = picture.shape[1]
    radius = height // 8 // 2 * 2
    rows, columns = np.ogrid[-radius:radius, -radius:radius]
    distance = np.sqrt(rows * rows + columns * columns)
    rings = np.where(distance % 8 < 4, 235, 60).astype(np.uint8)
    time_s = float(number / rate)
    left = int((width - 2 * radius) * (0.5 - 0.5 * np.cos(time_s * 0.9))) // 2 * 2
    top = int((height - 2 * radius) * abs(np.sin(time_s * 1.7))) // 2 * 2
    place = picture[top : top + 2 * radius, left : left + 2 * radius]
    np.copyto(place, rings, where=distance < radius)
    half = chroma[:, top // 2 : top // 2 + radius, left // 2 : left // 2 + radius]
    np.copyto(half, np.array([90, 200], np.uint8)[:, None, None], where=(distance < radius)[::2, ::2])


def _draw_text(picture: Plane, chroma: Plane, text: str, left: int, top: int, unit: int) -> None:
    """White digits on black; `unit` is the size of one glyph pixel."""
    rows = np.zeros((7, 4 * len(text) + 1), np.uint8)
    for index, character in enumerate(text):
        rows[1:6, 4 * index + 1 : 4 * index + 4] = np.array([*GLYPHS[character]], np.uint8).reshape(5, 3)
    pixels = np.kron(rows * 219 + 16, np.ones((unit, unit), np.uint8))
    area = picture[top : top + pixels.shape[0], left : left + pixels.shape[1]]
    area[:] = pixels[: area.shape[0], : area.shape[1]]
    chroma[:, top // 2 : (top + pixels.shape[0]) // 2, left // 2 : (left + pixels.shape[1]) // 2] = 128


def _sound(seconds: int) -> npt.NDArray[np.float32]:
    """Mono samples, shape (seconds, samples of a second): a quiet chord, and 0.1 s of 1 kHz at each second's start."""
    time_s = np.arange(seconds * SAMPLE_RATE, dtype=np.float64) / SAMPLE_RATE
    samples = 0.04 * (np.sin(2 * np.pi * 220 * time_s) + np.sin(2 * np.pi * 277.2 * time_s))
    beep = 0.4 * np.sin(2 * np.pi * 1000 * time_s) * (time_s % 1 < 0.1)
    return (samples + beep).astype(np.float32).reshape(seconds, SAMPLE_RATE)


def _blocks(sound: npt.NDArray[np.float32], second: int) -> Iterator[av.AudioFrame]:
    """One second of sound, in frames of a hundredth of it."""
    size = SAMPLE_RATE // 100
    for index in range(100) if second < len(sound) else ():
        block = sound[second, index * size : (index + 1) * size]
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(np.stack([block, block])), "fltp", "stereo")
        frame.sample_rate = SAMPLE_RATE
        frame.pts = second * SAMPLE_RATE + index * size
        frame.time_base = Fraction(1, SAMPLE_RATE)
        yield frame
