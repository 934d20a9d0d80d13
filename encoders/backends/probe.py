"""What this host's GPUs are proven to do: run the child that proves it, read what it says, remember it.

Rule: no GPU library is loaded into the calling process. The child may end at any step (a decoder on a machine without a
usable device ends its process); what it had proven until then stands, and the step that it died in becomes the reason.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from encoders.backends.probe_report import MARK
from encoders.backends.proof import PROBE_VERSION, DeviceProof, GpuProbe

TIMEOUT_S = 120.0
"""The child takes about ten seconds with one device; a hung driver must not hang the worker's start."""
DRIVER_FILE = Path("/proc/driver/nvidia/version")
PACKAGES = ("PyNvVideoCodec", "cupy-cuda12x", "cupy-cuda13x", "av")
_ADAPTER = TypeAdapter(GpuProbe)


PROOF_VARIABLE = "REELMILL_GPU_PROOF"
"""Carries a proof to the children of this process, which may neither start processes nor read its cache."""


def proven() -> GpuProbe:
    """What was proven of this host, by this process's parent, by an earlier process, or by proving it now.

    The children of this process need not prove it again.
    """
    handed = os.environ.get(PROOF_VARIABLE)
    if handed is not None:
        return _ADAPTER.validate_json(handed)
    try:
        probe = run_probe(default_cache_dir())
    except OSError as error:
        # A confined child may not start processes; what is found here must not outlive it.
        return GpuProbe(reason=f"GPUs cannot be proven from this process: {error}")
    hand_down(probe)
    return probe


def hand_down(probe: GpuProbe) -> None:
    """Make a proof what `proven` says in this process and in all that it starts from now on."""
    os.environ[PROOF_VARIABLE] = _ADAPTER.dump_json(probe).decode()


def default_cache_dir() -> Path:
    """Where proofs of this user's hosts are kept. Source: XDG Base Directory Specification."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "reelmill"


def run_probe(
    cache_dir: Path | None = None, *, environment: Mapping[str, str] | None = None, timeout_s: float = TIMEOUT_S
) -> GpuProbe:
    """Prove what the GPUs of this host do, or read what was proven before.

    Args:
        cache_dir: where proofs are kept, by driver, visible devices and versions; None proves anew and keeps nothing.
        environment: of the child; None for this process's own.
        timeout_s: after which the child is killed and what it had not proven counts as not there.
    """
    env = dict(os.environ if environment is None else environment)
    if cache_dir is None:
        return _prove(env, timeout_s)
    cache_dir.mkdir(parents=True, exist_ok=True)
    kept = cache_dir / f"gpu-{cache_key(env)}.json"
    with _one_at_a_time(cache_dir):
        found = _read(kept)
        if found is None:
            found = _prove(env, timeout_s)
            if found.devices:
                fresh = kept.with_suffix(f".{os.getpid()}")
                fresh.write_bytes(_ADAPTER.dump_json(found, indent=2))
                fresh.replace(kept)
    return found


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Workers of a node start together; two probes at once would count each other's encode sessions."""
    with (folder / "gpu.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def forget_probes(cache_dir: Path) -> None:
    """Have the next `run_probe` prove anew: called after a fault of a device."""
    for kept in cache_dir.glob("gpu-*.json"):
        kept.unlink(missing_ok=True)


def probe_json(probe: GpuProbe) -> dict[str, Any]:
    """The probe as plain values, for `reelmill doctor --json`."""
    return asdict(probe)


def driver_version() -> str:
    """Version of the kernel driver; empty without one."""
    try:
        first = DRIVER_FILE.read_text().splitlines()[0]
    except (OSError, IndexError):
        return ""
    return next((word for word in first.split() if word[0].isdigit() and "." in word), "")


def installed_versions() -> dict[str, str]:
    """Versions of the packages that the lanes run on, read without loading them."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def cache_key(environment: Mapping[str, str]) -> str:
    """What a proof holds for: driver, devices, versions, and the probe itself."""
    known = {
        "probe": PROBE_VERSION,
        "driver": driver_version(),
        "devices": _device_identities(),
        "visible": environment.get("CUDA_VISIBLE_DEVICES", ""),
        "versions": installed_versions(),
    }
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16]


def _device_identities() -> list[str]:
    """UUIDs that the kernel driver shows, without loading anything."""
    found = []
    for information in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        try:
            text = information.read_text()
        except OSError:
            continue
        found += [line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("GPU UUID")]
    return found


def _read(kept: Path) -> GpuProbe | None:
    try:
        return _ADAPTER.validate_json(kept.read_bytes())
    except (OSError, ValidationError):
        return None


def _prove(environment: Mapping[str, str], timeout_s: float) -> GpuProbe:
    """Run the child and put its lines together."""
    command = [sys.executable, "-m", "encoders.backends.probe_child"]
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(part for part in (environment.get("PYTHONPATH", ""), root) if part)
    try:
        done = subprocess.run(
            command,
            env={**environment, "PYTHONPATH": path},
            capture_output=True,
            timeout=timeout_s,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        output, errors, ending = done.stdout, done.stderr, f"ended with status {done.returncode}"
        finished = done.returncode == 0
    except subprocess.TimeoutExpired as hung:
        output, errors, finished = hung.stdout or b"", hung.stderr or b"", False
        ending = f"did not finish within {timeout_s:.0f} s"
    return assemble(output.decode(errors="replace"), finished, ending, errors.decode(errors="replace"))


def assemble(output: str, finished: bool, ending: str, errors: str) -> GpuProbe:
    """The probe that a child's lines add up to; pure but for the versions of installed packages.

    Args:
        finished: whether the child came to its end.
        ending: how it ended, in words, for the reasons when it did not.
        errors: its stderr; the last line goes with the reason.
    """
    devices: dict[int, DeviceProof] = {}
    reason, step, cpu_lane_fps, cuda = "", "start", 0.0, ""
    for line in output.splitlines():
        if not line.startswith(MARK):
            continue
        found: dict[str, Any] = json.loads(line[len(MARK) :])
        kind = found.pop("kind")
        if kind == "step":
            step = found["name"]
        elif kind == "none":
            reason = found["reason"]
        elif kind == "driver":
            cuda = f"CUDA {found['cuda']}"
        elif kind == "host":
            cpu_lane_fps = found["cpu_lane_fps"]
        elif kind == "device":
            devices[found["index"]] = DeviceProof(**found)
        elif kind == "found":
            found = {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}
            devices[found["index"]] = replace(devices[found["index"]], **found)
    if not finished:
        last = errors.strip().splitlines()[-1:]
        why = f"the probe {ending} at: {step}" + (f" ({last[0]})" if last else "")
        devices = {index: _unfinished(device, why) for index, device in devices.items()}
        reason = reason or ("" if devices else why)
    return GpuProbe(
        driver=driver_version() or cuda,
        versions=installed_versions(),
        devices=tuple(devices[index] for index in sorted(devices)),
        reason=reason,
        cpu_lane_fps=cpu_lane_fps,
    )


def _unfinished(device: DeviceProof, why: str) -> DeviceProof:
    """A device on which the child died: what was not proven before is refused with the reason."""
    return replace(
        device,
        decode_reason=device.decode_reason or ("" if device.decodes else why),
        scale_reason=device.scale_reason or ("" if device.scale_psnr_db else why),
        encode_reason=device.encode_reason or ("" if device.encodes else why),
    )
