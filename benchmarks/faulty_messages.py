"""A network that repeats and delays: what attempts answered reaches the dispatcher twice, or late, when told to.

The file is `messages.json` in the folder REELMILL_FAULTS: {"until": CLOCK_MONOTONIC}. While it holds, each outcome of
an attempt is, by chance, delivered at once; twice at once; at once and again much later; or only later. "Later" is
long enough that a successor of the attempt has ended, or its job.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

LATE_S = (2.0, 25.0)


def confuse(folder: Path, lasts_s: float) -> None:
    """Repeat and delay messages for a time."""
    fresh = folder / "messages.new"
    fresh.write_text(json.dumps({"until": time.monotonic() + lasts_s}))
    fresh.replace(folder / "messages.json")


def confused(folder: Path) -> dict[str, int]:
    """How many messages were repeated and delayed so far."""
    log = folder / "messages"
    lines = log.read_text().split() if log.exists() else []
    return {kind: lines.count(kind) for kind in sorted(set(lines))}


def spoil(dispatcher: type[Any]) -> None:
    """Wrap the way of outcomes into a dispatcher's inbox."""
    begin = dispatcher.__init__

    def __init__(self: Any, *args: Any, **more: Any) -> None:
        begin(self, *args, **more)
        deliver = self.inbox.put_nowait
        self.inbox.put_nowait = lambda item: _deliver(deliver, item)

    dispatcher.__init__ = __init__


def _deliver(deliver: Callable[[Any], None], item: Any) -> None:
    folder = Path(os.environ["REELMILL_FAULTS"])
    if type(item).__name__ != "Finished" or not _holds(folder):
        deliver(item)
        return
    kind = random.choice(("in_time", "twice", "again_later", "late"))
    if kind != "in_time":
        with (folder / "messages").open("a") as log:
            log.write(f"{kind}\n")
    if kind != "late":
        deliver(item)
    if kind == "twice":
        deliver(item)
    elif kind in ("again_later", "late"):
        asyncio.get_running_loop().call_later(random.uniform(*LATE_S), deliver, item)


def _holds(folder: Path) -> bool:
    try:
        return bool(time.monotonic() < json.loads((folder / "messages.json").read_text())["until"])
    except (FileNotFoundError, ValueError):
        return False
