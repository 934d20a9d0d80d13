"""A farm that stays up over tests, and how to disturb it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.auth import load_secret, mint_token
from gateway.client import Client
from gateway.client_http import Backoff
from gateway.farm_folder import FarmFolder

PATIENT = Backoff(tries=60, first_s=0.2, longest_s=3.0)
"""Machines that run tests are busy: a gateway that was killed may take a minute to come back."""


@dataclass(frozen=True, slots=True)
class RunningFarm:
    """A farm that stays up over tests."""

    url: str
    root: Path

    def client(self, sub: str = "ann", tier: str = "paid") -> Client:
        """A client for a user."""
        token = mint_token(load_secret(self.root), sub, tier, 3600)
        return Client(self.url, token, backoff=PATIENT)

    def environment(self) -> dict[str, str]:
        """Variables that lead commands to this farm."""
        return {"REELMILL_DATA_DIR": str(self.root), "XDG_STATE_HOME": str(self.root / "state")}

    def pids(self) -> dict[str, int]:
        """Supervised processes, by name."""
        found: dict[str, int] = FarmFolder(self.root).state()["pids"]
        return found

    def encodes(self, job_id: str) -> list[str]:
        """Records of a job's segments that were encoded so far, in order; a segment encoded twice is here twice."""
        log = self.root / "logs" / "encodes.jsonl"
        lines: list[dict[str, Any]] = (
            [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        )
        return [line["record"] for line in lines if line["task"].startswith(f"{job_id}/segment/")]


def wait_until(happened: Callable[[], bool], timeout_s: float = 180.0) -> None:
    """Fail when it does not happen in time."""
    deadline = time.monotonic() + timeout_s
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def kill(pid: int) -> None:
    """`kill -9`, and wait until it is gone."""
    os.kill(pid, 9)
    wait_until(lambda: not alive(pid))
