"""`python -m benchmarks quality CLIP…`: what the farm's encodes look like, against one ffmpeg process in one pass.

Both encode the same pictures of every rung at the same x264 settings, IDR grid and rate caps; the farm's are cut in
segments, the other's are not. Measured: rate, VMAF and PSNR of luma, at the rung's own size against the pictures that
were encoded; the rung scaled up to the largest against the largest's pictures, as a viewer sees it full-screen; the
frames at the joints of segments; and, from encodes at several qualities around the ladder's, BD-rate between the two.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.environment import write_results
from benchmarks.quality_curves import Point, bd_rate_percent
from benchmarks.quality_media import Clip, encode_cut, encode_whole, open_clip
from benchmarks.quality_plot import plot_curves
from benchmarks.quality_scores import Scores, Values, score
from encoders.confine import Confiner
from encoders.ladder import Rendition
from encoders.profiles.load import load_profile
from encoders.tuning import tuning_of

AROUND_FRAMES = 4
"""Frames on each side of a joint that count as being at it: more than B-frames reach over."""
SEAM_GOAL_DB, BD_GOAL_PERCENT = 0.3, 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One encode of a rung: mean scores over its frames, at the rung's own size."""

    bps: float
    vmaf: float
    psnr_db: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Seam:
    """Frames at the joints of segments.

    Attributes:
        below_elsewhere_db: mean PSNR of the farm's other frames, less that of those at joints. What the clip shows
            there is in it: compare with `whole_below_elsewhere_db`, the same of the encode that has no joints.
        below_whole_db, below_whole_vmaf: what the same frames have in the encode without joints, less what they have.
    """

    joints: int
    below_elsewhere_db: float
    whole_below_elsewhere_db: float
    below_whole_db: float
    below_whole_vmaf: float | None


@dataclass(slots=True, kw_only=True)
class RungQuality:
    """All that was measured of a rung of a clip.

    Attributes:
        cut, whole: by distance from the ladder's crf.
        full_screen_vmaf: of the farm's encode at the ladder's crf.
        seam: None when the clip is one segment.
        bd_vmaf_percent, bd_psnr_percent: rate that the farm needs beyond one pass for the same quality.
    """

    name: str
    width: int
    height: int
    crf: float
    cut: dict[float, Measured] = field(default_factory=dict)
    whole: dict[float, Measured] = field(default_factory=dict)
    full_screen_vmaf: float | None = None
    seam: Seam | None = None
    bd_vmaf_percent: float | None = None
    bd_psnr_percent: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipQuality:
    """One clip."""

    clip: str
    frames: int
    fps: float
    preset: str
    rungs: list[RungQuality]


def seam_of(joints: Sequence[int], cut: Scores, whole: Scores) -> Seam | None:
    """Compare the frames at joints; None without joints.

    Args:
        joints: numbers of the first frames after each.
    """
    if not joints:
        return None
    at = np.zeros(len(cut.psnr_db), bool)
    for joint in joints:
        at[max(0, joint - AROUND_FRAMES) : joint + AROUND_FRAMES] = True
    looked_at = at[:: cut.step][: len(cut.vmaf)]

    def below(values: Values) -> float:
        return float(values[~at].mean() - values[at].mean())

    vmaf = (whole.vmaf - cut.vmaf)[looked_at]
    return Seam(
        joints=len(joints),
        below_elsewhere_db=below(cut.psnr_db),
        whole_below_elsewhere_db=below(whole.psnr_db),
        below_whole_db=float((whole.psnr_db - cut.psnr_db)[at].mean()),
        below_whole_vmaf=float(vmaf.mean()) if len(vmaf) else None,
    )


def measure_clip(
    confiner: Confiner, clip: Clip, offsets: Sequence[float], step: int, screen_step: int, folder: Path
) -> Iterator[str | ClipQuality]:
    """Encode and score one clip at the ladder's crf and at `offsets` from it.

    Yields what it is doing, and after each quality all that is measured so far.

    Args:
        step: VMAF of every step-th frame; PSNR is measured of all.
        screen_step: the same for the scaled-up rungs.
    """
    rungs = {
        each.name: RungQuality(name=each.name, width=each.width, height=each.height, crf=each.crf)
        for each in clip.plan.renditions
    }
    for offset in offsets:
        asked = [replace(each, crf=each.crf + offset) for each in clip.plan.renditions]
        yield f"{clip.source.name}: crf {offset:+g}, {len(clip.plan.segments)} segments"
        cut = encode_cut(confiner, clip, asked, folder / f"cut{offset:+g}")
        for rendition in asked:
            whole = encode_whole(
                clip,
                rendition,
                tuning_of(clip.plan.preset, rendition.width, rendition.height),
                folder / f"{rendition.name}{offset:+g}.mp4",
            )
            scores = [
                score(path, clip.pictures(rendition.name), step=step) for path in (cut[rendition.name].path, whole.path)
            ]
            rung = rungs[rendition.name]
            rung.cut[offset] = _measured(cut[rendition.name].bps, scores[0])
            rung.whole[offset] = _measured(whole.bps, scores[1])
            if offset == 0:
                rung.seam = seam_of([segment.start for segment in clip.plan.segments[1:]], *scores)
                rung.full_screen_vmaf = _full_screen(clip, rendition, cut[rendition.name].path, screen_step)
        for rung in rungs.values():
            rung.bd_vmaf_percent = _bd_percent(rung, "vmaf")
            rung.bd_psnr_percent = _bd_percent(rung, "psnr_db")
        yield ClipQuality(
            clip=clip.source.name,
            frames=clip.grid.frames,
            fps=float(clip.grid.fps),
            preset=clip.plan.preset,
            rungs=list(rungs.values()),
        )


def _measured(bps: float, scores: Scores) -> Measured:
    return Measured(bps=bps, vmaf=float(scores.vmaf.mean()), psnr_db=float(scores.psnr_db.mean()))


def _full_screen(clip: Clip, rendition: Rendition, encoded: Path, step: int) -> float:
    largest = clip.plan.renditions[-1]
    return float(score(encoded, clip.pictures(largest.name), step=step).vmaf.mean())


def _bd_percent(rung: RungQuality, measure: str) -> float | None:
    curves = [
        [Point(bps=each.bps, quality=getattr(each, measure)) for each in side.values()]
        for side in (rung.whole, rung.cut)
    ]
    return bd_rate_percent(curves[0], curves[1])


def print_clip(console: Console, quality: ClipQuality) -> None:
    """One clip's table; of two figures the second is one pass."""
    table = Table(
        "rung", "kbit/s", "VMAF", "full screen", "PSNR dB", "joints below elsewhere", "below one pass", "BD-rate"
    )
    for rung in quality.rungs:
        cut, whole = rung.cut[0], rung.whole[0]
        seam = ["", ""]
        if rung.seam:
            vmaf = "" if rung.seam.below_whole_vmaf is None else f", {rung.seam.below_whole_vmaf:+.2f} VMAF"
            seam = [
                f"{rung.seam.below_elsewhere_db:+.2f} | {rung.seam.whole_below_elsewhere_db:+.2f} dB",
                f"{rung.seam.below_whole_db:+.2f} dB{vmaf}",
            ]
        table.add_row(
            rung.name,
            f"{cut.bps / 1000:.0f} | {whole.bps / 1000:.0f}",
            f"{cut.vmaf:.2f} | {whole.vmaf:.2f}",
            "" if rung.full_screen_vmaf is None else f"{rung.full_screen_vmaf:.1f}",
            f"{cut.psnr_db:.2f} | {whole.psnr_db:.2f}",
            *seam,
            f"{_percent(rung.bd_vmaf_percent)} VMAF, {_percent(rung.bd_psnr_percent)} PSNR",
        )
    console.print(f"{quality.clip}: {quality.frames} frames at {quality.fps:.2f}, preset {quality.preset}")
    console.print(table)


def _percent(value: float | None) -> str:
    return "none" if value is None else f"{value:+.2f} %"


def print_goals(console: Console, clips: Sequence[ClipQuality]) -> bool:
    """Both goals over all rungs of all clips; whether they hold."""
    rungs = [rung for clip in clips for rung in clip.rungs]
    seams = [rung.seam.below_whole_db for rung in rungs if rung.seam]
    deltas = [value for rung in rungs for value in (rung.bd_vmaf_percent, rung.bd_psnr_percent) if value is not None]
    seam, delta = max(seams, default=0.0), max(deltas, default=0.0)
    held = [bool(seams) and seam < SEAM_GOAL_DB, bool(deltas) and delta <= BD_GOAL_PERCENT]
    for name, worst, unit, goal, good in (
        ("seam drop against one pass, worst rung", seam, "dB", SEAM_GOAL_DB, held[0]),
        ("BD-rate against one pass, worst rung and measure", delta, "%", BD_GOAL_PERCENT, held[1]),
    ):
        console.print(f"{'PASS' if good else 'FAIL'}  {name}: {worst:+.3f} {unit} (goal {goal:g})")
    return all(held)


@click.command(help=__doc__)
@click.argument("clips", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--profile", default="default", show_default=True)
@click.option("--length-s", type=float, help="Measure the beginning of each clip only.")
@click.option("--largest", type=int, help="Leave out rungs of a longer short side than this, in pixels.")
@click.option(
    "--offset",
    "offsets",
    multiple=True,
    type=float,
    default=(-4.0, 4.0, 8.0),
    show_default=True,
    help="Distances from the ladder's crf that are encoded beside it, for BD-rate.",
)
@click.option(
    "--step",
    default=5,
    show_default=True,
    help="VMAF of every step-th frame; odd, since B-frames come in even periods.",
)
@click.option("--screen-step", default=15, show_default=True, help="The same for rungs scaled up to the largest.")
@click.option("--json", "json_path", type=click.Path(dir_okay=False, path_type=Path), help="Write the results here.")
@click.option(
    "--plot", "plot_path", type=click.Path(dir_okay=False, path_type=Path), help="Draw the curves: svg or png."
)
def command(
    clips: tuple[Path, ...],
    profile: str,
    length_s: float | None,
    largest: int | None,
    offsets: tuple[float, ...],
    step: int,
    screen_step: int,
    json_path: Path | None,
    plot_path: Path | None,
) -> None:
    """Measure, print, and fail when a goal is missed."""
    console = Console(width=160)
    found: list[ClipQuality] = []
    settings = load_profile(profile)
    if largest is not None:
        kept = tuple(rung for rung in settings.rungs if rung.short_side <= largest)
        if not kept:
            raise click.UsageError(f"--largest {largest}: the smallest rung is {settings.rungs[0].name}")
        settings = replace(settings, rungs=kept)
    with Confiner() as confiner, tempfile.TemporaryDirectory(prefix="reelmill-quality-") as folder:
        for number, source in enumerate(clips):
            place = Path(folder) / str(number)
            clip = open_clip(confiner, source, settings, place, length_s=length_s)
            for each in measure_clip(confiner, clip, (0.0, *offsets), step, screen_step, place):
                if isinstance(each, str):
                    console.print(each)
                    continue
                found[number:] = [each]
                if json_path:
                    write_results(json_path, "quality", [asdict(quality) for quality in found])
            print_clip(console, found[number])
    if plot_path:
        plot_curves(
            {
                quality.clip: {
                    rung.name: [
                        [Point(bps=point.bps, quality=point.vmaf) for point in side.values()]
                        for side in (rung.cut, rung.whole)
                    ]
                    for rung in quality.rungs
                }
                for quality in found
            },
            plot_path,
        )
    if not print_goals(console, found):
        raise SystemExit(1)
