"""`python -m benchmarks gpu`: everything that must be known of a host's GPU, in one call of under ten minutes.

Runs each step in a process of its own with a limit, so that a step that hangs or is ended costs its own figures only.
Prints decoding, scaling, encoding and the whole ladder by each backend, with what bounds them (decoding engines, memory
bandwidth), and recommends a backend. On a host without a GPU the reason is printed and the CPU's ladder is measured.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from benchmarks.environment import write_results
from benchmarks.gpu_ladder import FRAMES, write_source
from benchmarks.gpu_steps import STEPS
from encoders.backends.probe import PROOF_VARIABLE, probe_json, run_probe
from encoders.backends.proof import GpuProbe, hybrid_capability, nvenc_capability

BUDGET_S = 570.0
"""For everything; a step gets what is left at most."""
STEP_LIMIT_S = 60.0
LADDER_LIMIT_S = 75.0
PRESETS = ("standard", "veryfast", "medium")
"""The profiles' own first, so that what is cut off when time runs out is the rest."""


class Clock:
    """How much of the budget is left."""

    def __init__(self, budget_s: float) -> None:
        self._end = time.monotonic() + budget_s

    def limit(self, wanted_s: float) -> float:
        """Seconds that a step may take; at least one, so that it fails by itself with a reason."""
        return max(1.0, min(wanted_s, self._end - time.monotonic()))


def run_step(arguments: list[str], limit_s: float, environment: dict[str, str]) -> dict[str, Any]:
    """A step's result, or why there is none."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            capture_output=True,
            timeout=limit_s,
            check=False,
            env=environment,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return {"error": "timeout", "reason": f"did not finish within {limit_s:.0f} s"}
    last = done.stdout.decode(errors="replace").strip().splitlines()[-1:]
    try:
        found: dict[str, Any] = json.loads(last[0])
    except (IndexError, json.JSONDecodeError):
        said = done.stderr.decode(errors="replace").strip().splitlines()[-3:]
        return {"error": "died", "reason": f"status {done.returncode}: {' | '.join(said)}"}
    return found


def measure_ladders(
    probe: GpuProbe, cores: int, frames: int, presets: list[str], clock: Clock, env: dict[str, str]
) -> dict[str, Any]:
    """The ladder by each backend that the host has, all cores busy."""
    backends = ["cpu"]
    backends += ["hybrid"] if any(device.can_decode for device in probe.devices) else []
    backends += ["nvenc"] if nvenc_capability(probe).available else []
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source.mp4"
        write_source(source, frames)
        for preset in presets:
            for backend in backends:
                count = min(cores, 4) if backend == "nvenc" else cores
                arguments = ["benchmarks.gpu_ladder", backend, preset, str(count), str(source)]
                found[f"{backend} {preset}"] = run_step(arguments, clock.limit(LADDER_LIMIT_S), env)
    return found


def recommend(probe: GpuProbe, ladders: dict[str, Any], preset: str) -> str:
    """What this host should run, by what it did."""
    speed = {
        name.split()[0]: result["fps"]
        for name, result in ladders.items()
        if name.endswith(f" {preset}") and "fps" in result and not result["failed"]
    }
    if not speed:
        return "no ladder was measured; run again with more time"
    best = max(speed, key=lambda name: speed[name])
    text = f"{best}: {speed[best]:.0f} frames a second of 1080p with five renditions at {preset}"
    others = [f"{name} {fps:.0f}" for name, fps in speed.items() if name != best]
    if others:
        text += f" ({', '.join(others)})"
    for capability in (nvenc_capability(probe), hybrid_capability(probe)):
        if not capability.available:
            text += f"\nno {capability.name}: {capability.reason}"
    return text


def print_results(results: dict[str, Any], console: Console) -> None:
    """Figures first, each with what bounds it; then how each step went."""
    table = Table("what", "measured", "bound", title="GPU")
    scaling, decoding = results["steps"].get("scaling", {}), results["steps"].get("decoding", {})
    if "ms_a_picture" in scaling:
        table.add_row(
            "scale 1080p to four renditions",
            f"{scaling['ms_a_picture']} ms a picture, {scaling['psnr_db']} dB from swscale",
            f"{scaling['floor_ms']} ms by memory bandwidth ({scaling['device_copy_bytes_per_s'] / 1e9:.0f} GB/s)",
        )
    one = decoding.get("1 sessions", {}).get("fps", 0.0)
    for name, figures in decoding.items():
        if isinstance(figures, dict) and "fps" in figures:
            bound = f"{decoding['engines']} engines x {one:.0f} = {decoding['engines'] * one:.0f} frames a second"
            table.add_row(f"decode 1080p H.264, {name}", f"{figures['fps']:.0f} frames a second", bound)
    for name, figure in results["steps"].get("encoding", {}).items():
        if isinstance(figure, float):
            table.add_row(f"encode 1080p H.264, {name}", f"{figure:.0f} frames a second", "")
    for name, figures in results["steps"].get("presets", {}).items():
        if isinstance(figures, dict) and "kbps" in figures:
            text = f"{figures['fps']:.0f} frames a second, {figures['psnr_db']} dB"
            table.add_row(f"NVENC {name}", text, f"{figures['kbps'] / 1000:.2f} Mb/s")
    for name, figures in results["ladders"].items():
        text = f"{figures['fps']:.0f} frames a second" if "fps" in figures else figures.get("reason", "")
        table.add_row(f"ladder of five, {name}", text, f"{figures.get('ladder_bps', 0) / 1e6:.2f} Mb/s")
    console.print(table)
    for name, result in results["steps"].items():
        if "reason" in result:
            console.print(f"{name}: {result['reason']}")
    console.print(f"[bold]{results['recommendation']}")


@click.command("gpu")
@click.option("--json", "path", type=click.Path(path_type=Path), help="Write everything that was measured here.")
@click.option("--frames", default=FRAMES, show_default=True, help="Length of the ladder's source.")
@click.option("--preset", "presets", multiple=True, default=PRESETS, show_default=True, help="x264 presets to measure.")
@click.option("--require-gpu", is_flag=True, help="Fail when no GPU is proven.")
def command(path: Path | None, frames: int, presets: tuple[str, ...], require_gpu: bool) -> None:
    """Decoding, scaling, encoding and ladders of this host's GPU, and which backend to run."""
    clock = Clock(BUDGET_S)
    console = Console()
    probe = run_probe(timeout_s=clock.limit(120.0))
    env = {**os.environ, PROOF_VARIABLE: json.dumps(probe_json(probe))}
    names = list(STEPS) if probe.devices else ["libraries", "nvml"]
    steps: dict[str, Any] = {}
    for name in names:
        console.print(f"{name} …", style="dim")
        steps[name] = run_step(["benchmarks.gpu_steps", name], clock.limit(STEP_LIMIT_S), env)
    ladders = measure_ladders(probe, len(os.sched_getaffinity(0)), frames, list(presets), clock, env)
    results = {
        "probe": probe_json(probe),
        "steps": steps,
        "ladders": ladders,
        "recommendation": recommend(probe, ladders, presets[0]),
    }
    if path is not None:
        write_results(path, "gpu", results)
    print_results(results, console)
    if require_gpu and not any(device.can_decode for device in probe.devices):
        raise click.ClickException(probe.reason or "no GPU of this host passed the probe")
