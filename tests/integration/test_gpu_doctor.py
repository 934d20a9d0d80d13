"""`reelmill doctor --json` on machines that are not there, and what a gateway and a dispatcher never load."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes import drivers
from fakes.gpu import PROOF, Gpu
from pydantic import TypeAdapter

from encoders.backends.probe import PROOF_VARIABLE
from encoders.backends.proof import GpuProbe

ROOT = Path(__file__).resolve().parents[2]
needs_compiler = pytest.mark.skipif(drivers.compiler() is None, reason="no C compiler for stub drivers here")


def doctor(folder: Path, env: dict[str, str]) -> dict[str, dict[str, Any]]:
    """What the command prints, by subject."""
    environment = {
        **env,
        "REELMILL_PROBE_SPEED_S": "0",
        "XDG_CACHE_HOME": str(folder / "cache"),
        "REELMILL_DATA_DIR": str(folder / "data"),
    }
    command = [sys.executable, "-P", "-m", "gateway.cli", "doctor", "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT, check=False)
    found = json.loads(done.stdout)
    findings = found["findings"] if isinstance(found, dict) else found
    return {each["subject"]: each for each in findings}


def test_a_machine_without_a_gpu_has_the_cpu_and_says_what_would_help(tmp_path: Path) -> None:
    told = ("LD_LIBRARY_PATH", PROOF_VARIABLE)
    env = {name: value for name, value in os.environ.items() if name not in told}
    found = doctor(tmp_path, env)
    if found["backend nvenc"]["verdict"] == "yes" or found["backend hybrid"]["verdict"] == "yes":
        pytest.skip("this machine has a GPU")
    for name in ("nvenc", "hybrid"):
        assert found[f"backend {name}"]["verdict"] == "no"
        assert "NVIDIA_DRIVER_CAPABILITIES" in found[f"backend {name}"]["detail"]
    assert found["backend cpu"]["verdict"] == "yes"


def test_a_gpu_without_nvenc_has_hybrid_and_nvenc_says_the_device_s_reason(tmp_path: Path) -> None:
    """The proof itself is test_gpu_probe's; timing 1080p on a fake whose scaler is NumPy would say nothing."""
    h200 = replace(PROOF.devices[0], name="NVIDIA H200", encodes=(), sessions=0, encode_reason="no usable GPU engine")
    proof = TypeAdapter(GpuProbe).dump_json(replace(PROOF, devices=(h200,))).decode()
    found = doctor(tmp_path, {**os.environ, PROOF_VARIABLE: proof})
    nvenc, hybrid = found["backend nvenc"], found["backend hybrid"]
    assert nvenc["verdict"] == "no"
    assert "NVIDIA H200: no usable GPU engine" in nvenc["detail"]
    assert hybrid["verdict"] == "yes"
    assert "4 NVDEC" in hybrid["detail"]


@needs_compiler
def test_a_gpu_with_nvenc_is_offered_with_its_codecs_and_sessions_and_remembered(tmp_path: Path) -> None:
    env = drivers.install(tmp_path, Gpu(sessions=8, decodes=("h264/8/420",)), name="NVIDIA GeForce RTX 4090")
    found = doctor(tmp_path, env)
    nvenc = found["backend nvenc"]
    assert nvenc["verdict"] == "yes", nvenc
    assert "encodes h264" in nvenc["detail"]
    assert "8 sessions at once" in nvenc["detail"]
    assert "NVIDIA GeForce RTX 4090" in nvenc["detail"]
    assert len(list((tmp_path / "cache" / "reelmill").glob("gpu-*.json"))) == 1


LOADED_BY_FARM = """
import sys
from gateway import cli, app, farm
from cluster import dispatch, dispatcher, pool, actors
from encoders.backends import nvenc, hybrid, probe, registry
print(sorted({"PyNvVideoCodec", "cupy", "pycuda", "torch"} & set(sys.modules)))
"""


def test_gateway_and_dispatcher_load_no_gpu_library_even_where_it_is_installed(tmp_path: Path) -> None:
    for name in ("PyNvVideoCodec", "cupy"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('loaded in a process that must never load it')\n")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    done = subprocess.run([sys.executable, "-c", LOADED_BY_FARM], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    assert done.stdout.strip() == "[]"
