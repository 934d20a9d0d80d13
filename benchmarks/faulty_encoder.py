"""Encode sessions that run out when a storm wants it: segments fail as they do on a GPU that others have filled.

The file is `sessions.json` in the folder REELMILL_FAULTS: {"until": CLOCK_MONOTONIC}. While it holds, every attempt to
encode a segment ends in `SessionsExhausted`, before anything was written.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from encoders.backends.nverrors import SessionsExhausted


def exhaust(folder: Path, lasts_s: float) -> None:
    """Let no encode session be had for a time."""
    fresh = folder / "sessions.new"
    fresh.write_text(json.dumps({"until": time.monotonic() + lasts_s}))
    fresh.replace(folder / "sessions.json")


def refused(folder: Path) -> int:
    """How many sessions were refused so far."""
    log = folder / "sessions"
    return len(log.read_text()) if log.exists() else 0


def spoil(worker: type[Any]) -> None:
    """Wrap a worker's way to its confined children."""
    confined = worker._confined

    def spoiled(self: Any, function: Any, *args: Any, **more: Any) -> Any:
        folder = Path(os.environ["REELMILL_FAULTS"])
        if getattr(function, "__name__", "") == "encode_segment" and _holds(folder):
            with (folder / "sessions").open("a") as log:
                log.write(".")
            raise SessionsExhausted("the storm has taken all encode sessions")
        return confined(self, function, *args, **more)

    worker._confined = spoiled


def _holds(folder: Path) -> bool:
    try:
        return bool(time.monotonic() < json.loads((folder / "sessions.json").read_text())["until"])
    except (FileNotFoundError, ValueError):
        return False
