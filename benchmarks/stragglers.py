"""A worker that is slow and does not know it: what encodes for it stands still most of the time, in short turns.

The worker itself answers as ever, so that nobody takes it for dead: this is what twins are for.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping

from benchmarks.bystanders import send_signal
from cluster.processes import ProcessInfo, descendants, process_table

TURN_S = 1.0
SLOW, CRAWLING = 0.1, 0.02
"""Share of a turn in which the process may work: what it does takes ten times as long, or fifty."""
CONFINED = "encoders.forkserver"


def at_work(worker: int, table: Mapping[int, ProcessInfo]) -> list[int]:
    """The confined children of a worker: what its fork server has forked, and not the fork server."""
    below = {info.pid: info for info in descendants(worker, table) if CONFINED in info.command and not info.zombie}
    return sorted(pid for pid, info in below.items() if info.parent in below)


def slow_down(worker: int, pace: float, lasts_s: float, over: Callable[[], bool]) -> None:
    """Slow a worker's confined children for a time, or until told that it is over. None is left standing."""
    end = time.monotonic() + lasts_s
    while time.monotonic() < end and not over():
        held = [pid for pid in at_work(worker, process_table()) if send_signal(pid, signal.SIGSTOP)]
        try:
            time.sleep((1.0 - pace) * TURN_S)
        finally:
            for pid in held:
                send_signal(pid, signal.SIGCONT)
        time.sleep(pace * TURN_S)
