"""What `reelmill transcode` shows, and the tables that it shares with the demo."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from gateway.asset_tree import RenditionSummary
from gateway.job_report import JobReport
from gateway.transcode import Tell, Transcoded


@contextmanager
def watching(console: Console, quiet: bool) -> Iterator[Tell]:
    """Bars on the console, one for each rendition; nothing when quiet."""
    if quiet:
        yield lambda status, progress: None
        return
    bars = Progress(
        TextColumn("{task.description:>12}"),
        BarColumn(),
        TextColumn("{task.percentage:>5.1f} %"),
        TimeElapsedColumn(),
        console=console,
    )
    whole = bars.add_task("starting", total=1.0)
    renditions = {}

    def tell(status: str, progress: dict[str, float]) -> None:
        done = sum(progress.values()) / len(progress) if progress else 0.0
        bars.update(whole, description=status, completed=1.0 if status == "READY" else done)
        for name, fraction in progress.items():
            if name not in renditions:
                renditions[name] = bars.add_task(name, total=1.0)
            bars.update(renditions[name], completed=fraction)

    with bars:
        yield tell


def rendition_table(renditions: Iterable[RenditionSummary]) -> Table:
    """One row a rendition, from small to large."""
    table = Table("rendition", "size", "fps", "codec", title="what was made", title_justify="left", box=None)
    for heading in ("average", "peak", "bytes"):
        table.add_column(heading, justify="right")
    for each in sorted(renditions, key=lambda each: each.average_bps):
        table.add_row(
            each.name,
            each.resolution,
            f"{float(each.frame_rate):g}" if each.frame_rate else "",
            each.codecs.partition(",")[0],
            f"{each.average_bps / 1000:.0f} kb/s",
            f"{each.peak_bps / 1000:.0f} kb/s",
            f"{each.size_bytes:,}",
        )
    return table


def step_table(report: JobReport, before: Iterable[tuple[str, float]] = ()) -> Table:
    """One row a step; `before` are steps that came before the job, in seconds."""
    table = Table("step", title="how long it took", title_justify="left", box=None)
    for heading in ("tasks", "wall", "work"):
        table.add_column(heading, justify="right")
    for name, seconds in before:
        table.add_row(name, "", f"{seconds:.1f} s", "")
    table.add_row("queue", "", f"{report.queued_s:.1f} s", "")
    for step in report.steps:
        table.add_row(step.step, str(step.tasks), f"{step.wall_s:.1f} s", f"{step.engine_s:.1f} s")
    table.add_row("complete → READY", "", f"{report.total_s:.1f} s", "")
    return table


def show_result(console: Console, result: Transcoded) -> None:
    """Tables of what was made and how long it took."""
    console.print(rendition_table(result.renditions))
    console.print(step_table(result.report, [("start the farm", result.farm_start_s)]))
    console.print(f"{len(result.files)} files, {result.size_bytes:,} bytes in {result.folder}", soft_wrap=True)
