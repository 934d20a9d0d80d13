"""The commands against a real farm: what they print, how they end, and that an interrupted upload goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.commands.exits import Exit
from tests.e2e.alone import CHECKOUT, CLI
from tests.e2e.running_farm import RunningFarm

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def reelmill(farm: RunningFarm, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command that finds the farm by its data folder."""
    environment = {**os.environ, **farm.environment(), "NO_COLOR": "1", "COLUMNS": "200"}
    return subprocess.run(
        [*CLI, *arguments], cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_submit_waits_and_says_where_it_is(farm: RunningFarm, clip: Path) -> None:
    done = reelmill(farm, "submit", str(clip), "--wait", "--json")
    assert done.returncode == Exit.DONE, done.stderr
    result = json.loads(done.stdout)
    assert result["status"] == "READY"
    assert result["hls"].startswith(farm.url)
    listed = reelmill(farm, "jobs")
    assert result["video_id"] in listed.stdout
    explained = reelmill(farm, "explain", result["job_id"])
    assert explained.returncode == Exit.DONE, explained.stderr
    assert "completed" in explained.stdout.lower()


def test_what_is_no_video_is_3_with_a_reason(farm: RunningFarm, tmp_path: Path) -> None:
    source = tmp_path / "letter.mp4"
    source.write_text("Dear farm, this is no film.\n" * 50)
    done = reelmill(farm, "submit", str(source), "--wait")
    assert done.returncode == Exit.REJECTED, done.stderr
    assert "REJECTED_FORMAT" in done.stderr
    as_json = reelmill(farm, "submit", str(source), "--wait", "--json")
    assert as_json.returncode == Exit.REJECTED
    assert json.loads(as_json.stdout)["rejection"]["code"]


def test_an_unknown_profile_is_told_with_a_hint(farm: RunningFarm, clip: Path) -> None:
    done = reelmill(farm, "submit", str(clip), "--profile", "nonesuch")
    assert done.returncode == Exit.FAILED
    assert "nonesuch" in done.stderr
    assert "default" in done.stderr


def test_a_second_farm_on_the_same_folder_is_refused(farm: RunningFarm) -> None:
    done = reelmill(farm, "up", "--port", "0")
    assert done.returncode == Exit.FAILED
    assert "farm_running" in done.stderr


def test_an_upload_killed_half_way_goes_on_where_it_stopped(farm: RunningFarm, tmp_path: Path) -> None:
    source = tmp_path / "big.bin.mp4"
    with source.open("wb") as file:
        for number in range(48):
            file.write(bytes([number]) * (1 << 20))
    script = """
import os, sys
from pathlib import Path
from gateway.commands.target import open_client
def die(sent, total):
    if sent > 30 << 20:
        os.kill(os.getpid(), 9)
open_client(None, None).upload(Path(sys.argv[1]), part_size_bytes=5 << 20, on_progress=die)
"""
    environment = {**os.environ, **farm.environment()}
    killed = subprocess.run([sys.executable, "-c", script, str(source)], cwd=CHECKOUT, env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    done = reelmill(farm, "submit", str(source), "--json")
    assert done.returncode == Exit.DONE, done.stderr
    # Four parts travel at once: of 30 MiB that were sent, at least two parts of 5 MiB had been answered.
    assert json.loads(done.stdout)["resumed_bytes"] >= 10 << 20
