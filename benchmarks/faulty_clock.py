"""A wall clock that jumps when a storm wants it to: `time.time` of the farm's processes asks a file before it answers.

The file is `clock.json` in the folder REELMILL_FAULTS: {"shifts": {kind: seconds, ...}, "until": CLOCK_MONOTONIC}. The
kinds are dispatcher, gateway and worker; `database` shifts what leases are judged by. CLOCK_MONOTONIC does not jump,
as it does not on a machine whose clock is set, and all processes of the machine share it. `datetime.now` stays true:
logs carry it, and what a storm did is judged by it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

LOOK_EVERY_S = 0.2
"""How often a process looks at the file."""
KINDS = {"cluster.dispatch": "dispatcher", "gateway.serve": "gateway", "default_worker.py": "worker"}
"""What a process's command line holds -> its kind."""


def set_clocks(folder: Path, shifts: Mapping[str, float], lasts_s: float) -> None:
    """Shift the clocks of these kinds for a time."""
    fresh = folder / "clock.new"
    fresh.write_text(json.dumps({"shifts": dict(shifts), "until": time.monotonic() + lasts_s}))
    fresh.replace(folder / "clock.json")


def kind_of(command: Sequence[str]) -> str:
    """The kind of a process by its command line; empty for others."""
    return next((kind for word, kind in KINDS.items() if any(word in part for part in command)), "")


class Shift:
    """How far a kind's clock is off at the moment."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.file = folder / "clock.json"
        self.kind = kind
        self._looked_at = 0.0
        self._told: tuple[float, float] = (0.0, 0.0)

    def seconds(self) -> float:
        """Seconds to add to the true time."""
        now = time.monotonic()
        if now - self._looked_at > LOOK_EVERY_S:
            self._looked_at = now
            self._told = self._read()
        shift_s, until = self._told
        return shift_s if now < until else 0.0

    def _read(self) -> tuple[float, float]:
        try:
            told = json.loads(self.file.read_text())
        except (FileNotFoundError, ValueError):
            return 0.0, 0.0
        return float(told["shifts"].get(self.kind, 0.0)), float(told["until"])


def install() -> None:
    """Replace `time.time` of this process, if it is of a kind whose clock may jump."""
    kind = kind_of(sys.orig_argv)
    if not kind:
        return
    shift = Shift(Path(os.environ["REELMILL_FAULTS"]), kind)
    true_time = time.time

    def shifted() -> float:
        return true_time() + shift.seconds()

    time.time = shifted


def spoil(module: ModuleType) -> None:
    """Let the clock by which leases are judged jump too."""
    shift = Shift(Path(os.environ["REELMILL_FAULTS"]), "database")
    true_now: Callable[[Any], Any] = module.lease_now

    async def lease_now(session: Any) -> float:
        return float(await true_now(session)) + shift.seconds()

    module.lease_now = lease_now  # type: ignore[attr-defined]
