"""A worker that is slow and does not know it: what encodes for it stands still most of the time, in short turns.

The worker itself answers as ever, so that nobody takes it for dead: this is what twins are for.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping

from benchmarks.bystanders import send_signal
from cluster.processes import ProcessInfo, descendants, process_table

STILL_S, MOVES_S = 0.9, 0.1
"""One turn: what it does takes about ten times as long."""
CONFINED = "encoders.forkserver"


def at_work(worker: int, table: Mapping[int, ProcessInfo]) -> list[int]:
    """The confined children of a worker: what its fork server has forked, and not the fork server."""
    below = {info.pid: info for info in descendants(worker, table) if CONFINED in info.command and not info.zombie}
    return sorted(pid for pid, info in below.items() if info.parent in below)


def slow_down(worker: int, lasts_s: float, over: Callable[[], bool]) -> None:
    """Slow a worker's confined children for a time, or until told that it is over. None is left standing."""
    end = time.monotonic() + lasts_s
    while time.monotonic() < end and not over():
        held = [pid for pid in at_work(worker, process_table()) if send_signal(pid, signal.SIGSTOP)]
        try:
            time.sleep(STILL_S)
        finally:
            for pid in held:
                send_signal(pid, signal.SIGCONT)
        time.sleep(MOVES_S)
