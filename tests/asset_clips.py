"""Finished renditions for tests of packaging: small pictures that say their number, by x264, written as CMAF."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from sound_clips import describe, noise, sound_plan, write_sound

from encoders.audio import AudioResult, encode_audio
from encoders.cmaf import VideoSample, init_segment, media_segment
from encoders.ladder import Rendition
from encoders.media import MediaInfo
from encoders.nal import parameter_sets, sample_of
from encoders.plan import AudioRendition, Grid, Plan

Picture = npt.NDArray[np.uint8]
BITS = 12


def numbered(number: int, width: int, height: int) -> Picture:
    """A moving gradient under a band of black and white blocks that spell the number in binary."""
    y, x = np.mgrid[0:height, 0:width]
    gradient = ((x * 255 // width + y + number * 3) % 256).astype(np.uint8)
    picture = np.stack([gradient, 255 - gradient, gradient // 2], axis=-1)
    for bit in range(BITS):
        picture[: height // 6, bit * width // BITS : (bit + 1) * width // BITS] = 255 if number >> bit & 1 else 0
    return picture


def number_of(picture: Picture) -> int:
    """The number that a picture says."""
    height, width, _ = picture.shape
    band = picture[height // 24 : height // 8]
    blocks = [band[:, (4 * bit + 1) * width // (4 * BITS) : (4 * bit + 3) * width // (4 * BITS)] for bit in range(BITS)]
    return sum(1 << bit for bit, block in enumerate(blocks) if block.mean() > 128)


def encode(
    grid: Grid, width: int, height: int, paint: Callable[[int, int, int], Picture]
) -> tuple[bytes, list[list[VideoSample]]]:
    """(parameter sets in Annex B, GOPs of samples in decode order)."""
    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base, encoder.framerate = 1 / grid.fps, grid.fps
    encoder.thread_count = 1
    keys = f"keyint={grid.gop_frames}:min-keyint={grid.gop_frames}:scenecut=0:open-gop=0:bframes=2"
    encoder.options = {"preset": "superfast", "crf": "23", "x264-params": keys}
    gops: list[list[VideoSample]] = []
    extradata = b""
    packets: list[av.Packet] = []
    for number in range(grid.frames):
        frame = av.VideoFrame.from_ndarray(paint(number, width, height), "rgb24").reformat(
            format="yuv420p", dst_colorspace="ITU709"
        )
        frame.pts, frame.time_base = number, 1 / grid.fps
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    for packet in packets:
        data = bytes(packet)
        extradata = extradata or data
        assert packet.pts is not None
        if packet.is_keyframe:
            gops.append([])
        gops[-1].append(VideoSample(data=sample_of(data), frame=packet.pts))
    return extradata, gops


def write_pictures(
    media: Path, name: str, grid: Grid, width: int, height: int, paint: Callable[[int, int, int], Picture] = numbered
) -> None:
    """The folder of one picture rendition."""
    extradata, gops = encode(grid, width, height, paint)
    folder = media / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "init.mp4").write_bytes(init_segment(parameter_sets(extradata), width, height, grid.fps))
    per_segment = grid.media_segment_frames // grid.gop_frames
    for number, at in enumerate(range(0, len(gops), per_segment), 1):
        data = media_segment(gops[at : at + per_segment], at * grid.gop_frames, at + 1, grid.fps)
        (folder / f"{number:05d}.m4s").write_bytes(data)


def rendition(name: str, width: int, height: int, mp4: bool = False) -> Rendition:
    """A rendition whose rate control does not matter."""
    return Rendition(
        name=name, width=width, height=height, crf=23, maxrate_bps=1_000_000, bufsize_bits=1_000_000, mp4=mp4
    )


def small_asset(
    folder: Path,
    *,
    fps: Fraction = Fraction(25),
    frames: int = 140,
    sizes: tuple[tuple[str, int, int], ...] = (("90p", 160, 90), ("180p", 320, 180)),
    sounds: int = 1,
    paint: Callable[[int, int, int], Picture] = numbered,
) -> tuple[Plan, MediaInfo, list[AudioResult], Path]:
    """(plan, info, sound results, media folder) of an asset whose renditions are finished; the largest gets an MP4."""
    grid = Grid(fps=fps, frames=frames, origin_s=Fraction(0), gop_frames=25, media_segment_frames=50)
    renditions = tuple(rendition(*size, mp4=size == sizes[-1]) for size in sizes)
    media = folder / "media"
    for each in renditions:
        write_pictures(media, each.name, grid, each.width, each.height, paint)
    source = write_sound(folder / "sound.mkv", noise(float(grid.duration_s)))
    info = describe(source)
    names = ["audio", "audio-2", "audio-3"][:sounds]
    tracks = tuple(
        AudioRendition(name=name, stream=0, language=language, label=label, default=name == "audio")
        for name, language, label in zip(names, ("en", "de", None), ("English", "German", "Sound"), strict=False)
    )
    plan = replace(sound_plan(grid.duration_s, grid=grid), renditions=renditions, audio=tracks)
    results = [encode_audio(source, info, plan, track, media) for track in tracks]
    return plan, info, results, media
