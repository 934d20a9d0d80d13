"""Prometheus' own tool reads the alert rules and runs what is written about when each fires."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

MONITORING = Path(__file__).resolve().parents[2] / "deploy" / "monitoring"


@pytest.fixture
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not on PATH: it comes with Prometheus (Debian: the package prometheus)")
    return found


@pytest.mark.parametrize(
    "command", [("check", "rules", "--lint-fatal", "alerts.yaml"), ("test", "rules", "alerts_test.yaml")]
)
def test_promtool_is_content(promtool: str, command: tuple[str, ...]) -> None:
    done = subprocess.run([promtool, *command], cwd=MONITORING, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
