"""`python -m benchmarks gpu`: everything that must be known of a host's GPU, in one call of under ten minutes.

Runs each step in a process of its own with a limit, so that a step that hangs or is ended costs its own figures only.
Prints decoding, scaling, encoding and the whole ladder by each backend, with what bounds them (decoding engines, memory
bandwidth), and recommends a backend. On a host without a GPU the reason is printed and the CPU's ladder is measured.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import accumulate
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from benchmarks.environment import write_results
from benchmarks.gpu_ladder import FRAMES, write_source
from benchmarks.gpu_presets import choose_classes
from benchmarks.gpu_sizes import BRIEF_VARIABLE, LADDER
from benchmarks.gpu_steps import STEPS
from benchmarks.gpu_tests import run_contract
from benchmarks.gpu_verdicts import judge
from encoders.backends.probe import PROOF_VARIABLE, probe_json, run_probe
from encoders.backends.proof import GpuProbe, hybrid_capability, nvenc_capability

PARTS = {"probe": 60.0, "tests": 120.0, "steps": 210.0, "ladders": 180.0}
"""Seconds of each, in order. What a part leaves those after it have; all end within ten minutes, the report too."""
CLOSING_S = 10.0
"""What the last piece's end, the report and one second for each piece that gets no time take at most."""
BRIEF_SLACK = 20.0
"""In little nothing is measured, so a busy machine may take its time."""
STEP_LIMIT_S = 60.0
LADDER_LIMIT_S = 60.0
PRESETS = ("standard", "veryfast", "ultrafast", "medium")
"""The profiles' own first, so that what is cut off when time runs out is the rest."""


class Clock:
    """When each part must be over."""

    def __init__(self, slack: float = 1.0) -> None:
        """Args: slack: how many times as long everything may take."""
        begin, self._slack = time.monotonic(), slack
        after_s = accumulate(PARTS.values())
        self._ends = {part: begin + slack * after for part, after in zip(PARTS, after_s, strict=True)}

    def limit(self, part: str, wanted_s: float = math.inf) -> float:
        """Seconds that a piece of a part may take; at least one, so that it fails by itself with a reason."""
        return max(1.0, min(self._slack * wanted_s, self._ends[part] - time.monotonic()))


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
    said = " | ".join(done.stderr.decode(errors="replace").strip().splitlines()[-3:])
    try:
        found: dict[str, Any] = json.loads(last[0])
    except (IndexError, json.JSONDecodeError):
        return {"error": "died", "reason": f"status {done.returncode}: {said}"}
    if "error" in found:
        found["said"] = said
    return found


def measure_ladders(
    probe: GpuProbe, cores: int, frames: int, presets: Sequence[str], clock: Clock, env: dict[str, str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The ladder by each backend that the host has, all cores busy, one after the other."""
    processes = {"cpu": cores}
    if any(device.can_decode for device in probe.devices):
        processes["hybrid"] = cores
    if nvenc_capability(probe).available:
        processes["nvenc"] = max(1, min(cores, 4, nvenc_capability(probe).sessions // len(LADDER)))
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source.mp4"
        write_source(source, frames)
        for preset in presets:
            for backend, count in processes.items():
                arguments = ["benchmarks.gpu_ladder", backend, preset, str(count), str(source)]
                yield f"{backend} {preset}", run_step(arguments, clock.limit("ladders", LADDER_LIMIT_S), env)


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
            f"{scaling['ms_a_picture']} ms a picture, {min(scaling['psnr_db'].values())} dB from swscale",
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
        if isinstance(figures, dict) and "rate_percent" in figures:
            bound = f"{figures['rate_percent']:+.1f} % rate at equal PSNR"
            table.add_row(f"NVENC {name}", f"{figures['fps']:.0f} frames a second", bound)
    for name, figures in results["ladders"].items():
        text = f"{figures['fps']:.0f} frames a second" if "fps" in figures else figures.get("reason", "")
        table.add_row(f"ladder of five, {name}", text, f"{figures.get('ladder_bps', 0) / 1e6:.2f} Mb/s")
    console.print(table)
    for name, result in results["steps"].items():
        if "reason" in result:
            console.print(f"{name}: {result['reason']}")
    for speed, text in results["classes"].items():
        console.print(f"class {speed}: {text}")
    for verdict in results["verdicts"]:
        console.print(f"{'holds' if verdict['held'] else '[bold]FAILS[/]'}: {verdict['claim']} ({verdict['found']})")
    console.print(f"[bold]{results['recommendation']}")


@click.command("gpu")
@click.option("--json", "path", type=click.Path(path_type=Path), help="Write everything that was measured here.")
@click.option("--frames", default=FRAMES, show_default=True, help="Length of the ladder's source.")
@click.option("--preset", "presets", multiple=True, default=PRESETS, show_default=True, help="x264 presets to measure.")
@click.option(
    "--prove", is_flag=True, help="Run the GPU tests besides, and fail when anything that is claimed does not hold."
)
@click.option("--brief", is_flag=True, help="In little: everything runs, and the figures mean nothing.")
def command(path: Path | None, frames: int, presets: tuple[str, ...], prove: bool, brief: bool) -> None:
    """Decoding, scaling, encoding and ladders of this host's GPU, and which backend to run. Ends within ten minutes.

    What is written is written after each piece, so a call that is killed loses the piece that it was in.
    """
    clock, console = Clock(BRIEF_SLACK if brief else 1.0), Console()
    probe = run_probe(timeout_s=clock.limit("probe"))
    env = {**os.environ, PROOF_VARIABLE: json.dumps(probe_json(probe)), BRIEF_VARIABLE: str(int(brief))}
    results: dict[str, Any] = {"probe": probe_json(probe), "steps": {}, "ladders": {}}

    def keep(part: str, name: str, found: dict[str, Any]) -> None:
        results[part][name] = found
        conclude(results, probe, presets[0])
        if path is not None:
            write_results(path, "gpu", results)

    if prove:
        console.print("tests …", style="dim")
        offered = [each.name for each in (nvenc_capability(probe), hybrid_capability(probe)) if each.available]
        results["tests"] = run_contract(offered, clock.limit("tests"), env, "tap_sees and plain" if brief else "")
    for name in STEPS if probe.devices else ("libraries", "nvml"):
        console.print(f"{name} …", style="dim")
        keep("steps", name, run_step(["benchmarks.gpu_steps", name], clock.limit("steps", STEP_LIMIT_S), env))
    for name, found in measure_ladders(probe, len(os.sched_getaffinity(0)), frames, presets, clock, env):
        console.print(f"ladder {name} …", style="dim")
        keep("ladders", name, found)
    print_results(results, console)
    if prove and not all(verdict["held"] for verdict in results["verdicts"]):
        raise click.ClickException(probe.reason or "not everything that is claimed holds on this machine")


def conclude(results: dict[str, Any], probe: GpuProbe, preset: str) -> None:
    """Add what the figures so far say: verdicts, NVENC's classes, a recommendation."""
    results["verdicts"] = [asdict(verdict) for verdict in judge(results)]
    results["classes"] = choose_classes(results["steps"].get("presets", {}))
    results["recommendation"] = recommend(probe, results["ladders"], preset)
