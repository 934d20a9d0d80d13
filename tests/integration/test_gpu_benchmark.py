"""The GPU benchmark on fake devices: from beginning to end in little, and what it does when something goes wrong."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from fakes import drivers
from fakes.gpu import PROOF, Gpu, proven_fake
from rich.console import Console

from benchmarks import gpu, gpu_sizes, gpu_steps
from encoders.backends import probe_clip
from encoders.backends.proof import GpuProbe

ROOT = Path(__file__).resolve().parents[2]
ONE_LADDER = ("--frames", "12", "--preset", "ultrafast")


@pytest.mark.slow
@pytest.mark.skipif(drivers.compiler() is None, reason="no C compiler for stub drivers here")
def test_one_call_proves_a_gpu_from_beginning_to_end(tmp_path: Path) -> None:
    env = drivers.install(tmp_path, Gpu(decodes=("h264/8/420",), sessions=5), name="NVIDIA L4")
    path = tmp_path / "results.json"
    command = [sys.executable, "-m", "benchmarks", "gpu", "--prove", "--brief", "--json", str(path), *ONE_LADDER]
    done = subprocess.run(
        command, env={**env, "REELMILL_PROBE_SPEED_S": "0"}, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr

    document = json.loads(path.read_text())
    results = document["results"]
    assert document["environment"]["packages"]["av"]
    assert list(results["steps"]) == list(gpu_steps.STEPS)
    assert {name: found["error"] for name, found in results["steps"].items() if "error" in found} == {}
    assert results["tests"] == {"passed": 1}, "the contract of the one backend that is offered"
    assert len(results["verdicts"]) == 8
    assert all(verdict["held"] for verdict in results["verdicts"])
    assert set(results["classes"]) == {"fast", "balanced", "best"}
    assert set(results["ladders"]) == {"cpu ultrafast", "hybrid ultrafast", "nvenc ultrafast"}
    assert all(found["failed"] == 0 for found in results["ladders"].values())


def test_a_call_that_is_killed_has_kept_what_it_had_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def step(arguments: list[str], limit_s: float, environment: dict[str, str]) -> dict[str, Any]:
        asked.append(arguments[-1])
        if len(asked) == 3:
            raise KeyboardInterrupt
        return {"seen": len(asked)}

    monkeypatch.setattr(gpu, "run_step", step)
    monkeypatch.setattr(gpu, "run_probe", lambda timeout_s: PROOF)
    done = CliRunner().invoke(gpu.command, ["--json", str(tmp_path / "results.json")])

    assert done.exit_code != 0
    kept = json.loads((tmp_path / "results.json").read_text())["results"]["steps"]
    assert kept == {asked[0]: {"seen": 1}, asked[1]: {"seen": 2}}


def test_all_parts_together_end_within_ten_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sum(gpu.PARTS.values()) + gpu.CLOSING_S < 600
    monkeypatch.setattr(gpu, "time", SimpleNamespace(monotonic=lambda: 1000.0))
    clock = gpu.Clock()
    assert [clock.limit(part) for part in gpu.PARTS] == [60, 180, 390, 570], "what a part leaves the next ones have"
    assert clock.limit("ladders", 75) == 75
    monkeypatch.setattr(gpu, "time", SimpleNamespace(monotonic=lambda: 1600.0))
    assert clock.limit("ladders", 75) == 1, "it fails by itself, with a reason"


def test_wrong_pictures_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = {"h264/8/420": probe_clip.CPU_ENCODERS["h264/8/420"]}
    monkeypatch.setattr(probe_clip, "CPU_ENCODERS", kinds)
    monkeypatch.setattr(gpu_sizes, "COMPARED", 8)
    with proven_fake(Gpu(wrong_pixels=True)):
        assert gpu_steps.equality()["h264/8/420"]["identical"] == 0


def test_refusals_are_taken_down_word_by_word() -> None:
    with proven_fake(Gpu(encodes=())):
        found = gpu_steps.refusals()

    assert "Error code : 2" in found["GetEncoderCaps"]["text"]
    assert "Error code : 2" in found["CreateEncoder"]["text"]
    assert "class" in found["PyAV h264_nvenc"] or found["PyAV h264_nvenc"] == "opened"


def test_a_step_that_dies_or_hangs_costs_its_own_figures_only() -> None:
    died = gpu.run_step(["benchmarks.gpu_steps", "no such step"], 60, {})

    assert died["error"] == "died"
    assert "KeyError" in died["reason"]
    assert gpu.run_step(["http.server", "--help"], 0.001, {})["error"] == "timeout"


LADDERS: dict[str, Any] = {
    "cpu veryfast": {"fps": 100.0, "failed": 0, "ladder_bps": 10_000_000},
    "hybrid veryfast": {"fps": 160.0, "failed": 0, "ladder_bps": 10_000_000},
    "cpu medium": {"error": "timeout", "reason": "did not finish within 75 s"},
}


def test_the_fastest_backend_is_recommended_and_the_others_are_explained() -> None:
    text = gpu.recommend(GpuProbe(reason="no driver"), LADDERS, "veryfast")

    assert text.startswith("hybrid: 160 frames a second")
    assert "cpu 100" in text
    assert "no nvenc: no driver" in text


def test_a_backend_with_failed_processes_is_not_recommended() -> None:
    ladders = {**LADDERS, "hybrid veryfast": {"fps": 160.0, "failed": 1, "ladder_bps": 1}}

    assert gpu.recommend(PROOF, ladders, "veryfast").startswith("cpu: 100")


def test_the_report_names_the_bounds_and_the_reasons() -> None:
    out = io.StringIO()
    gpu.print_results(
        {
            "probe": {},
            "steps": {
                "scaling": {
                    "ms_a_picture": 0.05,
                    "psnr_db": {"8 bits": 68.0, "10 bits": 66.0},
                    "floor_ms": 0.002,
                    "device_copy_bytes_per_s": 4.3e12,
                },
                "decoding": {"engines": 7, "1 sessions": {"fps": 700.0}, "7 sessions": {"fps": 4800.0}},
                "leaks": {"error": "timeout", "reason": "did not finish within 60 s"},
            },
            "ladders": LADDERS,
            "verdicts": [{"claim": "nothing leaks", "held": False, "found": "90.0 MiB"}],
            "classes": {"fast": "P3 one pass: confirmed"},
            "recommendation": gpu.recommend(replace(PROOF, devices=()), LADDERS, "veryfast"),
        },
        Console(file=out, width=160),
    )

    text = out.getvalue()
    assert "7 engines x 700 = 4900 frames a second" in text
    assert "0.002 ms by memory bandwidth (4300 GB/s)" in text
    assert "FAILS: nothing leaks (90.0 MiB)" in text
    assert "class fast: P3 one pass: confirmed" in text
    assert "leaks: did not finish" in text
    assert "did not finish within 75 s" in text
