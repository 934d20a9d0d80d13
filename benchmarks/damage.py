"""`python -m benchmarks damage`: how much of damage is owned up to, codec by codec, and what is cried wolf at.

Clips are made in every codec that FFmpeg here writes; then bytes of them are changed, a place a trial, and the pictures
that come out of the product's reader are compared with those of the whole file. Files of one's own can be given too:
they are looked at as they are, where nothing should be found, and then damaged as well.

A picture is visibly wrong when any block of 16x16 pixels is off by more than 10 codes of luma on average.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import click
import numpy as np
import numpy.typing as npt

from encoders.backends.frames import FrameReader
from encoders.errors import FarmError
from encoders.media import VideoTrack
from encoders.probe import probe_source

SIZE, FRAMES, GOP, RATE = (352, 288), 72, 24, 25
BLOCK, VISIBLE_CODES = 16, 10.0
SPARED_BYTES = 4096
"""At the file's beginning: headers, whose damage is another matter. The last twelfth is spared too: indexes."""
Luma = npt.NDArray[np.uint8]

KINDS: tuple[tuple[str, str, str, str, dict[str, str]], ...] = (
    ("h264", "mp4", "libx264", "yuv420p", {"preset": "veryfast"}),
    ("h264 in ts", "mpegts", "libx264", "yuv420p", {"preset": "veryfast"}),
    ("hevc", "mp4", "libx265", "yuv420p", {"preset": "veryfast", "x265-params": "log-level=none"}),
    ("hevc in ts", "mpegts", "libx265", "yuv420p", {"preset": "veryfast", "x265-params": "log-level=none"}),
    ("hevc with hashes", "mp4", "libx265", "yuv420p", {"preset": "veryfast", "x265-params": "log-level=none:hash=1"}),
    ("vp8", "webm", "libvpx", "yuv420p", {"b": "800k", "deadline": "realtime", "cpu-used": "5"}),
    ("vp9", "webm", "libvpx-vp9", "yuv420p", {"b": "600k", "deadline": "realtime", "cpu-used": "6"}),
    ("av1", "mp4", "libsvtav1", "yuv420p", {"preset": "10", "crf": "35"}),
    ("mpeg1", "mpeg", "mpeg1video", "yuv420p", {"b": "1500k", "bf": "2"}),
    ("mpeg2", "mpeg", "mpeg2video", "yuv420p", {"b": "1500k", "bf": "2"}),
    ("mpeg2 in ts", "mpegts", "mpeg2video", "yuv420p", {"b": "1500k", "bf": "2"}),
    ("mpeg4", "avi", "mpeg4", "yuv420p", {"b": "1000k"}),
    ("h263", "3gp", "h263", "yuv420p", {"b": "1000k"}),
    ("flv1", "flv", "flv", "yuv420p", {"b": "1000k"}),
    ("wmv2", "asf", "wmv2", "yuv420p", {"b": "1000k"}),
    ("msmpeg4v3", "avi", "msmpeg4", "yuv420p", {"b": "1000k"}),
    ("mjpeg", "avi", "mjpeg", "yuv420p", {"strict": "unofficial"}),
    ("prores", "mov", "prores_ks", "yuv422p10le", {}),
    ("dnxhr", "mov", "dnxhd", "yuv422p", {"profile": "dnxhr_sq"}),
    ("ffv1", "matroska", "ffv1", "yuv420p", {"level": "3", "slices": "4", "slicecrc": "1"}),
    ("ffv1 without crc", "avi", "ffv1", "yuv420p", {"level": "3", "slices": "4", "slicecrc": "0"}),
    ("utvideo", "avi", "utvideo", "yuv420p", {}),
    ("huffyuv", "avi", "huffyuv", "yuv422p", {}),
    ("cinepak", "avi", "cinepak", "rgb24", {}),
    ("svq1", "mov", "svq1", "yuv410p", {}),
)
"""Name, container, encoder, pixel format and options; those that this FFmpeg lacks are passed over."""


@dataclass(slots=True)
class Seen:
    """What one pass of the reader gave: pictures by time, and what it says of them."""

    pictures: dict[int, Luma] = field(default_factory=dict)
    lost: set[int | None] = field(default_factory=set)
    damaged: set[int] = field(default_factory=set)
    followers: set[int] = field(default_factory=set)

    @property
    def told(self) -> set[int | None]:
        """Times of all pictures that are owned up to."""
        return self.lost | self.damaged | self.followers


@dataclass(slots=True)
class Score:
    """Sums over the trials of one clip.

    Attributes:
        trials: in which something came out visibly wrong, or not at all.
        noticed: of these, how many were owned up to at all.
        wrong, told: pictures that are visibly wrong or missing; of these, how many were owned up to.
        said, said_wrong: pictures owned up to that came out; of these, how many are visibly wrong.
        followed, followed_wrong: the same of those that only refer to damaged ones.
        cries: pictures owned up to in the undamaged file.
    """

    trials: int = 0
    noticed: int = 0
    wrong: int = 0
    told: int = 0
    said: int = 0
    said_wrong: int = 0
    followed: int = 0
    followed_wrong: int = 0
    cries: int = 0

    def add(self, whole: Seen, broken: Seen) -> None:
        """Take one trial in."""
        wrong: set[int | None] = {pts for pts in whole.pictures if pts not in broken.pictures}
        for pts in whole.pictures.keys() & broken.pictures.keys():
            if is_wrong(broken.pictures[pts], whole.pictures[pts]):
                wrong.add(pts)
        told = broken.told
        self.trials += bool(wrong)
        self.noticed += bool(wrong and told)
        self.wrong += len(wrong)
        self.told += len(wrong & told)
        said = (broken.damaged | broken.followers) & set(whole.pictures)
        self.said += len(said)
        self.said_wrong += len(said & wrong)
        self.followed += len(broken.followers & said)
        self.followed_wrong += len(broken.followers & said & wrong)


def scenes(frames: int) -> Iterator[Luma]:
    """RGB pictures of a textured landscape that pans behind three textured discs; the same every time."""
    dice = np.random.default_rng(7)
    width, height = SIZE
    land: npt.NDArray[Any] = np.zeros((height * 2, width * 2, 3), np.float32)
    for cell, weight in ((64, 70), (16, 40), (4, 18)):
        rough = dice.normal(0, weight, (height * 2 // cell + 1, width * 2 // cell + 1, 3)).astype(np.float32)
        land += np.kron(rough, np.ones((cell, cell, 1), np.float32))[: height * 2, : width * 2]
    land = (land + np.roll(land, 1, 0) + np.roll(land, 1, 1) + np.roll(land, (1, 1), (0, 1))) / 4 + 120
    y, x = np.mgrid[0:height, 0:width]
    for number in range(frames):
        left, top = 2 * number % width, number % height
        picture = land[top : top + height, left : left + width].copy()
        for disc in range(3):
            at_x, at_y = (
                (60 + 90 * disc + 5 * number) % width,
                height * (disc + 1) // 4 + round(20 * np.sin(number / 7)),
            )
            inside = (x - at_x) ** 2 + (y - at_y) ** 2 < (20 + 8 * disc) ** 2
            picture[inside] = land[-height:, -width:][inside] * 0.6 + 40 * disc
        yield np.clip(picture + dice.normal(0, 1.5, picture.shape), 0, 255).astype(np.uint8)


def write_clip(path: Path, container: str, encoder: str, pixel_format: str, options: dict[str, str]) -> bool:
    """A clip of `FRAMES` pictures; False where this FFmpeg cannot write it."""
    try:
        with av.open(str(path), "w", format=container) as output:
            stream = output.add_stream(encoder, rate=RATE, options={"g": str(GOP), **options})
            assert isinstance(stream, av.VideoStream)
            stream.width, stream.height, stream.pix_fmt = *SIZE, pixel_format
            stream.codec_context.thread_count = 1
            for number, rgb in enumerate(scenes(FRAMES)):
                frame = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(format=pixel_format)
                frame.pts, frame.time_base = number, Fraction(1, RATE)
                output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
    except (av.FFmpegError, ValueError):
        return False
    return True


def look(path: Path, video: VideoTrack, frames: int) -> Seen:
    """Read a file's pictures from its start, as a segment is read."""
    seen = Seen()
    with FrameReader(path, video, 1) as reader:
        for frame in islice(reader.frames(None), frames):
            if frame.pts is not None:
                seen.pictures[frame.pts] = frame.reformat(format="gray").to_ndarray().astype(np.uint8)
        if (witness := reader.witness) is not None:
            seen.lost, seen.damaged, seen.followers = set(witness.lost), set(witness.damaged), set(witness.followers)
    return seen


def is_wrong(luma: Luma, other: Luma) -> bool:
    """Whether a block differs visibly, or the size does."""
    if luma.shape != other.shape:
        return True
    off = np.abs(luma.astype(np.int16) - other)
    rows, columns = off.shape[0] // BLOCK, off.shape[1] // BLOCK
    if not rows or not columns:
        return bool(off.mean() > VISIBLE_CODES)
    blocks = off[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK)
    return bool(blocks.mean((1, 3)).max() > VISIBLE_CODES)


def damaged(data: bytes, dice: random.Random) -> bytes:
    """A file with one place changed: a bit turned over, 16 bytes of noise, or 188 zeros."""
    broken, at = bytearray(data), dice.randrange(min(SPARED_BYTES, len(data) // 4), len(data) * 11 // 12)
    kind = dice.randrange(3)
    if kind == 0:
        broken[at] ^= 1 << dice.randrange(8)
    else:
        patch = dice.randbytes(16) if kind == 1 else bytes(188)
        broken[at : at + len(patch)] = patch
    return bytes(broken[: len(data)])


def measure(path: Path, trials: int, seed: int, frames: int, scratch: Path) -> Score:
    """Look at a file as it is, and then `trials` times damaged.

    Raises:
        FarmError: the file itself is refused.
    """
    video = probe_source(path, "0" * 64).video
    score = Score()
    if video is None:
        return score
    whole = look(path, video, frames)
    score.cries = len(whole.told)
    data, dice, broken = path.read_bytes(), random.Random(f"{seed}/{path.name}"), scratch / "broken"
    for _ in range(trials):
        broken.write_bytes(damaged(data, dice))
        try:
            found = probe_source(broken, "0" * 64).video
            if found is not None:
                score.add(whole, look(broken, found, frames))
        except FarmError:
            continue  # refused, which is one way of owning up
    return score


def _share(part: int, whole: int) -> str:
    return f"{part / whole:4.0%}" if whole else "   -"


def row(name: str, score: Score) -> str:
    """One line of the table."""
    return (
        f"{name[:28]:28} {score.noticed:4}/{score.trials:<4} {score.wrong:6} {_share(score.told, score.wrong)}"
        f"  {_share(score.said_wrong, score.said)}  {_share(score.followed_wrong, score.followed)} {score.cries:6}"
    )


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        yield from sorted(each for each in path.iterdir() if each.is_file()) if path.is_dir() else [path]


@click.command(help=__doc__)
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path, exists=True))
@click.option("--trials", default=40, show_default=True, help="Damaged copies of each clip or file; 0 for none.")
@click.option("--seed", default=1, show_default=True, help="Another one damages other places.")
@click.option("--frames", default=150, show_default=True, help="Pictures of a file that are looked at.")
@click.option("--clips/--no-clips", default=True, help="Make clips in every codec.")
@click.option("--only", help="Names of clips that have this in them.")
def command(paths: tuple[Path, ...], trials: int, seed: int, frames: int, clips: bool, only: str | None) -> None:
    """Print a line for each clip and file; exit with 1 if an undamaged clip is said to be damaged."""
    print(f"{'':28} {'noticed':9} {'wrong':>6} told  right right*  cried")
    cried = 0
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        for name, container, encoder, pixel_format, options in KINDS if clips else ():
            path = scratch / name.replace(" ", "-")
            if (only is None or only in name) and write_clip(path, container, encoder, pixel_format, options):
                score = measure(path, trials, seed, FRAMES, scratch)
                cried += score.cries
                print(row(name, score), flush=True)
        for path in _files(paths):
            try:
                score = measure(path, trials, seed, frames, scratch)
            except FarmError as error:
                print(f"{path.name[:28]:28} refused: {error.code}", flush=True)
                continue
            print(row(path.name, score), flush=True)
    print(
        "noticed: trials with wrong pictures in which damage was owned up to; wrong: pictures visibly wrong or missing;"
    )
    print("told: share of them owned up to; right: share of the shown pictures owned up to that are visibly wrong,")
    print("right*: of those that only refer to damaged ones; cried: pictures of the undamaged file said to be damaged")
    if cried:
        raise SystemExit(1)
