"""Encode sessions that run out when a storm wants it: segments fail as they do on a GPU that others have filled.

The file is `sessions.json` in the folder REELMILL_FAULTS: {"lasts_s": …} until a segment begins, {"until":
CLOCK_MONOTONIC} from then on: however long it takes until one begins, it and those after it meet the fault. While it
holds, every attempt to encode a segment ends in `SessionsExhausted`, before anything was written.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from encoders.backends.nverrors import SessionsExhausted


def exhaust(folder: Path, lasts_s: float) -> None:
    """Let no encode session be had for a time, from the next one that is wanted."""
    _tell(folder, {"lasts_s": lasts_s})


def refused(folder: Path) -> int:
    """How many sessions were refused so far."""
    log = folder / "sessions"
    return len(log.read_text()) if log.exists() else 0


def spoil(encoding: ModuleType) -> None:
    """Wrap the one way by which a worker's segments reach a child that encodes them, be it on the CPU or on a GPU."""
    encode: Callable[..., Any] = encoding.encode_in_child

    def spoiled(*work: Any) -> Any:
        _ask_for_session()
        return encode(*work)

    vars(encoding)["encode_in_child"] = spoiled


def _ask_for_session() -> None:
    folder = Path(os.environ["REELMILL_FAULTS"])
    if not _holds(folder):
        return
    with (folder / "sessions").open("a") as log:
        log.write(".")
    raise SessionsExhausted("the storm has taken all encode sessions")


def _holds(folder: Path) -> bool:
    try:
        told = json.loads((folder / "sessions.json").read_text())
    except (FileNotFoundError, ValueError):
        return False
    if "until" not in told:
        # Two workers may do so at once: either end will do.
        told = {"until": time.monotonic() + told["lasts_s"]}
        _tell(folder, told)
    return bool(time.monotonic() < told["until"])


def _tell(folder: Path, told: dict[str, float]) -> None:
    fresh = folder / f"sessions.new-{os.getpid()}"
    fresh.write_text(json.dumps(told))
    fresh.replace(folder / "sessions.json")
