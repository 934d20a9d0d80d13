"""What a measurement was made on: without it a figure means nothing."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("av", "ray", "numpy", "fastapi", "sqlalchemy", "boto3", "redis")
"""Those that are there: a machine that is only measured has not all of them."""


def environment() -> dict[str, Any]:
    """Machine, versions and commit, as plain values."""
    return {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "packages": _versions(),
        "commit": _commit(),
    }


def write_results(path: Path, name: str, results: Any) -> None:
    """Write what was measured with where it was measured; the form is versioned."""
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {"format": 1, "benchmark": name, "environment": environment(), "results": results}
    fresh = path.with_suffix(f".{os.getpid()}")
    fresh.write_text(json.dumps(document, indent=1) + "\n")
    fresh.replace(path)


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def _commit() -> str:
    """Empty where there is no git, or no repository."""
    command = ["git", "describe", "--always", "--dirty"]
    try:
        asked = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return asked.stdout.strip()
