"""`python -m benchmarks presets CLIP…`: points between speed and quality of x264, searched on real clips.

Every candidate encodes the same pictures of a rung, with the farm's own fixed settings, at several qualities and with
no cap on its rate. What it costs is user time of one thread, the lesser of two runs; what it gives is BD-rate against
the first candidate, over VMAF and over PSNR of luma. A candidate is worth having when no other is both cheaper and
better: those are marked.
"""

from __future__ import annotations

import math
import resource
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import av
import click
from av.video.frame import VideoFrame
from rich.console import Console
from rich.table import Table

from benchmarks.environment import write_results
from benchmarks.quality_curves import Point, bd_rate_percent
from benchmarks.quality_media import Clip, open_clip
from benchmarks.quality_scores import score
from encoders.backends.x264 import open_x264
from encoders.confine import Confiner
from encoders.ladder import Rendition
from encoders.profiles.load import load_profile
from encoders.tuning import OWN_PRESETS, PRESETS, Tuning, tuning_of

STOCK = ("veryfast", "ultrafast", "superfast", "faster", "fast", "medium", "slow")
"""x264's presets; the first is the anchor."""
CANDIDATES = (
    *OWN_PRESETS,
    "veryfast:trellis=1",
    "veryfast:trellis=2:rc-lookahead=20",
    "veryfast:trellis=1:rc-lookahead=20",
    "veryfast:trellis=1:rc-lookahead=20:aq-strength=0.8",
    "veryfast:trellis=1:rc-lookahead=20:psy=0",
    "veryfast:trellis=1:rc-lookahead=20:bframes=5",
    "veryfast:trellis=1:rc-lookahead=20:b-adapt=2",
    "veryfast:trellis=1:rc-lookahead=20:partitions=i8x8,i4x4",
    "veryfast:trellis=1:rc-lookahead=20:subme=1",
    "veryfast:trellis=1:rc-lookahead=30:aq-strength=0.8",
    "veryfast:trellis=1:rc-lookahead=30:aq-strength=0.6",
    "veryfast:trellis=1:rc-lookahead=30:aq-strength=0.8:deblock=-1,-1",
    "veryfast:trellis=1:rc-lookahead=30:aq-strength=0.8:qcomp=0.7",
    "veryfast:trellis=1:rc-lookahead=40:aq-strength=0.8",
    "superfast:trellis=1:rc-lookahead=20:mbtree=1:subme=2:aq-strength=0.8",
)
"""What was tried beside them; docs/quality.md says what came of it."""
NO_CAP = 8
"""The profile's caps are multiplied by this: a cap that holds would make two candidates' rates the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One candidate on one rung of one clip at one quality."""

    candidate: str
    clip: str
    rung: str
    crf: float
    bps: float
    cpu_s: float
    psnr_db: float
    vmaf: float
    neg: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One candidate over all clips of a rung, against the anchor.

    Attributes:
        cost: user time as a multiple of the anchor's, geometric mean.
        vmaf_percent, psnr_percent, neg_percent: mean BD-rate; negative is better.
        worst_percent: BD-rate over VMAF of the clip that gains least.
    """

    candidate: str
    rung: str
    cost: float
    vmaf_percent: float
    psnr_percent: float
    neg_percent: float | None
    worst_percent: float


def read_pictures(path: Path) -> list[VideoFrame]:
    """All pictures of a file of `open_clip`."""
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def encode(pictures: Sequence[VideoFrame], clip: Clip, rendition: Rendition, tuning: Tuning) -> tuple[bytes, float]:
    """All pictures as an H.264 stream, and the user time that it took, seconds."""
    encoder = open_x264(rendition, clip.grid, tuning, threads=1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    packets = []
    for number, picture in enumerate(pictures):
        picture.pts, picture.time_base, picture.pict_type = number, 1 / clip.grid.fps, 0
        packets += encoder.encode(picture)
    packets += encoder.encode(None)
    cpu_s = resource.getrusage(resource.RUSAGE_SELF).ru_utime - before
    return (encoder.extradata or b"") + b"".join(map(bytes, packets)), cpu_s


def try_all(
    clip: Clip, rungs: Sequence[str], candidates: Sequence[str], crfs: Sequence[float], step: int, neg: bool
) -> Iterator[Trial]:
    """Every candidate on a clip. Each picture file is read once for all."""
    for rendition in clip.plan.renditions:
        if rendition.name not in rungs:
            continue
        pictures = read_pictures(clip.pictures(rendition.name))
        free = replace(
            rendition, maxrate_bps=NO_CAP * rendition.maxrate_bps, bufsize_bits=NO_CAP * rendition.bufsize_bits
        )
        for candidate in candidates:
            for crf in crfs:
                asked = replace(free, crf=crf)
                runs = [encode(pictures, clip, asked, _tuning(candidate, rendition)) for _ in range(2)]
                stream = runs[0][0]
                path = clip.folder / "trial.264"
                path.write_bytes(stream)
                scores = score(path, clip.pictures(rendition.name), step=step, neg=neg)
                yield Trial(
                    candidate=candidate,
                    clip=clip.source.stem,
                    rung=rendition.name,
                    crf=crf,
                    bps=8 * len(stream) / len(pictures) * float(clip.grid.fps),
                    cpu_s=min(cpu_s for _, cpu_s in runs),
                    psnr_db=float(scores.psnr_db.mean()),
                    vmaf=float(scores.vmaf.mean()),
                    neg=float(scores.neg.mean()) if neg else None,
                )


def _tuning(candidate: str, rendition: Rendition) -> Tuning:
    """A preset by its name, or a tuning that has none yet."""
    named = candidate in PRESETS
    return tuning_of(candidate, rendition.width, rendition.height) if named else Tuning.parse(candidate)


def standings(trials: Sequence[Trial], rung: str) -> list[Standing]:
    """What each candidate costs and gives on a rung; clips on which a curve does not rise are left out of its mean."""
    candidates = list(dict.fromkeys(trial.candidate for trial in trials))
    clips = list(dict.fromkeys(trial.clip for trial in trials if trial.rung == rung))
    found = []
    for candidate in candidates:
        costs: list[float] = []
        gains: dict[str, list[float]] = {"vmaf": [], "psnr_db": [], "neg": []}
        for clip in clips:
            both = [
                [each for each in trials if (each.clip, each.rung, each.candidate) == (clip, rung, name)]
                for name in (candidates[0], candidate)
            ]
            if len(both[0]) != len(both[1]):
                continue
            costs.append(math.log(sum(each.cpu_s for each in both[1]) / sum(each.cpu_s for each in both[0])))
            for measure, values in gains.items():
                if both[0][0].neg is None and measure == "neg":
                    continue
                curves = [[Point(bps=each.bps, quality=getattr(each, measure)) for each in curve] for curve in both]
                gain = bd_rate_percent(curves[0], curves[1])
                if gain is not None:
                    values.append(gain)
        if not costs or not gains["vmaf"] or not gains["psnr_db"]:
            continue
        found.append(
            Standing(
                candidate=candidate,
                rung=rung,
                cost=math.exp(statistics.fmean(costs)),
                vmaf_percent=statistics.fmean(gains["vmaf"]),
                psnr_percent=statistics.fmean(gains["psnr_db"]),
                neg_percent=statistics.fmean(gains["neg"]) if gains["neg"] else None,
                worst_percent=max(gains["vmaf"]),
            )
        )
    return found


def worth_having(found: Sequence[Standing]) -> set[str]:
    """Candidates that no other beats in cost, VMAF and PSNR at once."""

    def beats(one: Standing, other: Standing) -> bool:
        pairs = [(getattr(one, name), getattr(other, name)) for name in ("cost", "vmaf_percent", "psnr_percent")]
        return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)

    return {each.candidate for each in found if not any(beats(other, each) for other in found)}


def print_standings(console: Console, found: Sequence[Standing]) -> None:
    """One rung's table, the cheapest first."""
    table = Table("rung", "candidate", "cost", "VMAF %", "worst clip %", "NEG %", "PSNR %", "")
    kept = worth_having(found)
    for each in sorted(found, key=lambda each: each.cost):
        neg = "" if each.neg_percent is None else f"{each.neg_percent:+.1f}"
        row = [f"{each.cost:.2f}", f"{each.vmaf_percent:+.1f}", f"{each.worst_percent:+.1f}", neg]
        row += [f"{each.psnr_percent:+.1f}", "*" if each.candidate in kept else ""]
        table.add_row(each.rung, each.candidate, *row)
    console.print(table)


@click.command(help=__doc__)
@click.argument("clips", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--profile", default="default", show_default=True)
@click.option("--rung", "rungs", multiple=True, default=("360p",), show_default=True)
@click.option(
    "--candidate",
    "candidates",
    multiple=True,
    help="A preset, or a tuning as in veryfast:trellis=1, instead of the built-in list; the first is the anchor.",
)
@click.option("--crf", "crfs", multiple=True, type=float, default=(20.0, 25.0, 30.0), show_default=True)
@click.option("--skip-s", default=2.0, show_default=True, help="Where the excerpt of each clip begins.")
@click.option("--length-s", default=4.0, show_default=True, help="Length of the excerpts.")
@click.option("--step", default=3, show_default=True, help="VMAF of every step-th frame.")
@click.option("--neg", is_flag=True, help="VMAF's model without enhancement gain too.")
@click.option("--json", "json_path", type=click.Path(dir_okay=False, path_type=Path), help="Write the results here.")
def command(
    clips: tuple[Path, ...],
    profile: str,
    rungs: tuple[str, ...],
    candidates: tuple[str, ...],
    crfs: tuple[float, ...],
    skip_s: float,
    length_s: float,
    step: int,
    neg: bool,
    json_path: Path | None,
) -> None:
    """Search for better points."""
    console = Console()
    trials: list[Trial] = []
    asked = candidates or (*STOCK, *CANDIDATES)
    with Confiner() as confiner, tempfile.TemporaryDirectory(prefix="reelmill-presets-") as folder:
        for number, source in enumerate(clips):
            clip = open_clip(
                confiner, source, load_profile(profile), Path(folder) / str(number), skip_s=skip_s, length_s=length_s
            )
            for trial in try_all(clip, rungs, asked, crfs, step, neg):
                trials.append(trial)
                if json_path:
                    write_results(json_path, "presets", {"trials": [asdict(each) for each in trials]})
            console.print(f"{source.name}: {len(trials)} trials so far")
    found = [standings(trials, rung) for rung in dict.fromkeys(trial.rung for trial in trials)]
    for each in found:
        print_standings(console, each)
    if json_path:
        results = {
            "trials": [asdict(each) for each in trials],
            "standings": [asdict(s) for each in found for s in each],
        }
        write_results(json_path, "presets", results)
