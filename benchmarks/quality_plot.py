"""Draws rate-distortion curves with matplotlib, which the `test` extra brings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from benchmarks.quality_curves import Point

Curves = Mapping[str, Sequence[Sequence[Point]]]
"""Rung -> the farm's points, and one pass's."""


def plot_curves(clips: Mapping[str, Curves], path: Path) -> None:
    """One panel for each clip: VMAF over rate, a line for each rung, one pass dotted over it.

    Raises:
        UsageError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise click.UsageError("--plot needs matplotlib: pip install -e '.[test]'") from None
    figure = Figure(figsize=(5.2 * len(clips), 4.4), layout="constrained")
    for panel, (clip, curves) in zip(figure.subplots(1, len(clips), squeeze=False)[0], clips.items(), strict=True):
        for number, (rung, (farm, one_pass)) in enumerate(curves.items()):
            for points, style in ((farm, "o-"), (one_pass, "k:")):
                ordered = sorted(points, key=lambda point: point.bps)
                panel.plot(
                    [point.bps / 1000 for point in ordered],
                    [point.quality for point in ordered],
                    style,
                    **({"color": f"C{number}", "label": rung, "markersize": 4} if style == "o-" else {"linewidth": 1}),
                )
        panel.set_xscale("log")
        panel.set_xlabel("kbit/s")
        panel.set_ylabel("VMAF at the rung's own size")
        panel.set_title(clip, fontsize=9)
        panel.grid(visible=True, which="both", alpha=0.3)
        panel.legend(title="dotted: one pass", fontsize=8, title_fontsize=8)
    # Without a date, equal figures give equal files.
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
