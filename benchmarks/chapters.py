"""`python -m benchmarks chapters DIR`: scene boundaries found while encoding, against those that people marked.

Every file is encoded as a worker does it, the lowest rung only, in the segments that a farm of two slots would make;
what packaging would find is compared with the marks below. A boundary is right within half a second.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click

from encoders.backends import registry
from encoders.backends.base import BackendName
from encoders.chapters import choose_chapters
from encoders.confine import Confiner, Limits
from encoders.plan import plan_asset
from encoders.probe import probe_source
from encoders.profiles.load import load_profile
from encoders.scenes import find_boundaries
from encoders.segment import encode_segment

TOLERANCE_S = 0.5
SLOTS = 2
LIMITS = Limits(memory_bytes=2 << 30, wall_s=600.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """What a person saw in a film, as frame numbers.

    Attributes:
        cuts: hard cuts, and pictures that come out of black (or go to black by a cut): what is to be found.
        gradual: middles of dissolves from picture to picture, which are known not to be found.
        either: titles on black and the like: one may take them for scenes or not.
    """

    cuts: tuple[int, ...]
    gradual: tuple[int, ...] = ()
    either: tuple[int, ...] = ()


MARKS = {
    "cuts_testvideo_720p2997_24s.mp4": Marks(cuts=(30, 180, 394), gradual=(545,), either=(211, 691)),
    "film_sintel_trailer_720p24_52s.mp4": Marks(
        cuts=(15, 286, 334, 396, 404, 420, 525, 571, 621, 658, 672, 771, 1163),
        gradual=(123, 850),
        either=(222, 436, 679, 1013, 1130, 1220),
    ),
    "film_agent327_1080p24_a_fmp4.mp4": Marks(cuts=(54, 131, 184, 253, 427, 575, 639, 700)),
    "copy_agent327_240p_a_fmp4.mp4": Marks(cuts=(54, 131, 184, 253, 427, 575, 639, 700)),
    "natural_coffee_720p2997.mp4": Marks(cuts=()),
    "natural_traffic_540p5994_12s.mp4": Marks(cuts=()),
    "natural_night_1080p20_26s_fmp4.mp4": Marks(cuts=()),
    "sport_juggle_720p24_10s.mp4": Marks(cuts=()),
    "cid_pattern_small_logo.mp4": Marks(cuts=()),
    "vp9_opus_560x320.webm": Marks(cuts=()),
}
"""Marked by looking at the frames around every candidate of three detectors, and at one picture a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What was found in a file: frames of boundaries, starts of chapters, frames a second."""

    boundaries: tuple[int, ...]
    chapters: tuple[float, ...]
    fps: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Marked boundaries found (within the tolerance), missed, and found ones that nobody marked; offsets in seconds."""

    hits: int
    missed: tuple[int, ...]
    invented: tuple[int, ...]
    largest_offset_s: float


def find_in(path: Path, scratch: Path) -> Found:
    """Runs in a confined child: encode the lowest rung of a file, segment by segment, and look for boundaries."""
    profile = load_profile("default")
    lowest = replace(profile, rungs=profile.rungs[:1], video=replace(profile.video, preset="ultrafast"))
    info = probe_source(path, "0" * 64)
    plan = plan_asset(info, lowest, SLOTS, registry.encoder_id_of(BackendName.CPU, lowest.video.preset))
    grid = plan.grid
    if grid is None:
        return Found(boundaries=(), chapters=(), fps=1.0)
    plan = replace(plan, renditions=plan.renditions[:1])
    results = [encode_segment(path, info, plan, each, scratch / str(each.index)) for each in plan.segments]
    boundaries = find_boundaries([each.motion for each in results if each.motion is not None], grid.fps)
    chapters = choose_chapters(boundaries, grid.fps, plan.duration_s, profile.chapters)
    return Found(
        boundaries=tuple(each.frame for each in boundaries),
        chapters=tuple(float(each.start_s) for each in chapters),
        fps=float(grid.fps),
    )


def score(found: Sequence[int], marks: Marks, fps: float) -> Score:
    """Compare; each mark is met by the nearest boundary that no other mark has, the nearest pairs first."""
    near = TOLERANCE_S * fps
    pairs = sorted((abs(mark - frame), mark, frame) for mark in marks.cuts for frame in found)
    taken: dict[int, int] = {}
    for distance, mark, frame in pairs:
        if distance <= near and mark not in taken and frame not in taken.values():
            taken[mark] = frame
    known = (*marks.cuts, *marks.gradual, *marks.either)
    invented = [frame for frame in found if all(abs(frame - mark) > near for mark in known)]
    return Score(
        hits=len(taken),
        missed=tuple(mark for mark in marks.cuts if mark not in taken),
        invented=tuple(invented),
        largest_offset_s=max((abs(mark - frame) / fps for mark, frame in taken.items()), default=0.0),
    )


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
def command(folder: Path) -> None:
    """Score, print; 1 when a chapter starts where nothing was marked or a file's recall is below nine tenths."""
    totals = [0, 0, 0, 0]
    bad, largest_s = False, 0.0
    print(f"{'file':38} {'marked':>6} {'found':>5} {'missed':>6} {'invented':>8} {'offset s':>8}  chapters at s")
    with Confiner() as confiner:
        for name, marks in MARKS.items():
            path = folder / name
            if not path.exists():
                print(f"{name:38} is not there")
                continue
            with tempfile.TemporaryDirectory() as scratch:
                args = (path, Path(scratch))
                found = confiner.run(find_in, *args, limits=LIMITS, readable=[path], writable=[Path(scratch)])
            it = score(found.boundaries, marks, found.fps)
            starts = ", ".join(f"{each:.2f}" for each in found.chapters[1:]) or "-"
            counts = len(marks.cuts), it.hits, len(it.missed), len(it.invented)
            totals = [total + count for total, count in zip(totals, counts, strict=True)]
            largest_s = max(largest_s, it.largest_offset_s)
            columns = f"{counts[0]:6} {counts[1]:5} {counts[2]:6} {counts[3]:8} {it.largest_offset_s:8.3f}"
            print(f"{name:38} {columns}  {starts}")
            for frame in it.missed:
                print(f"    missed: frame {frame} ({frame / found.fps:.2f} s)")
            for frame in it.invented:
                print(f"    invented: frame {frame} ({frame / found.fps:.2f} s)")
            bad |= bool(it.invented) or it.hits < 0.9 * len(marks.cuts)
    marked, hits, _, invented = totals
    print(
        f"precision {hits / max(1, hits + invented):.3f}, recall {hits / max(1, marked):.3f} of {marked} marks, "
        f"largest offset {largest_s:.3f} s"
    )
    sys.exit(1 if bad else 0)
