"""What can go wrong, done on purpose to a running farm: each fault by name, chosen by a seeded generator."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from benchmarks.faulty_store import corrupt_next, set_mode
from cluster.processes import ProcessInfo, descendants
from cluster.ray_node import ray_environment
from gateway.farm import Farm

OBJECT_STORE_BYTES = 80_000_000
"""Of the second node: Ray's least is 75 MB, and media does not pass through it."""


class SecondNode:
    """Another Ray node on this machine, of one slot; it can be killed and started again."""

    def __init__(self, farm: Farm, log: Path) -> None:
        self.farm = farm
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None
        self._address = ""

    def start(self) -> None:
        """Start it, without waiting until it has joined."""
        self._address = self.farm.ray_address
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", f"--address={self._address}", "--block"]
        command += ["--num-cpus=1", f"--object-store-memory={OBJECT_STORE_BYTES}", "--disable-usage-stats"]
        command += ["--node-ip-address=127.0.0.1"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **ray_environment(self.farm.cluster.root)},
            )

    def mend(self) -> None:
        """Start it again when it has ended, or when its head has moved."""
        if self.process is None or self.process.poll() is not None or self._address != self.farm.ray_address:
            self.kill()
            self.start()

    def kill(self) -> None:
        """As if its power was cut: all its processes at once."""
        if self.process is None:
            return
        for info in [*descendants(self.process.pid)]:
            _kill(info.pid, signal.SIGKILL)
        _kill(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process = None


class Storm:
    """Faults, one after another, at random moments, until told to stop.

    Args:
        seed: of the choice and of the pauses; which process is hit depends on what runs at the moment.
        folder: of the store's control file.
    """

    def __init__(
        self,
        farm: Farm,
        node: SecondNode,
        folder: Path,
        seed: int,
        pause_s: tuple[float, float],
        tell: Callable[[str], None],
    ) -> None:
        self.farm = farm
        self.node = node
        self.folder = folder
        self.random = random.Random(seed)
        self.pause_s = pause_s
        self.tell = tell
        self.done: Counter[str] = Counter()
        self.stopping = threading.Event()
        self._faults: dict[Callable[[], bool], int] = {
            self.kill_worker: 4,
            self.kill_confined: 4,
            self.hang_worker: 2,
            self.kill_dispatcher: 2,
            self.hang_dispatcher: 1,
            self.kill_gateway: 2,
            self.kill_valkey: 1,
            self.hang_valkey: 1,
            self.kill_node: 1,
            self.kill_ray: 1,
            self.corrupt_segment: 3,
            self.take_store_away: 1,
            self.fill_store: 1,
            self.slow_store: 1,
            self.lock_database: 1,
        }

    def run(self) -> None:
        """Storm until `stopping` is set; then nothing is stopped, killed or broken any more."""
        while not self.stopping.wait(self.random.uniform(*self.pause_s)):
            (fault,) = self.random.choices(list(self._faults), list(self._faults.values()))
            name = fault.__name__
            self.node.mend()
            if fault():
                self.done[name] += 1
                self.tell(name)
        self.node.mend()

    def _workers(self) -> list[ProcessInfo]:
        return [info for info in descendants(os.getpid()) if info.command.startswith("ray::SlotHolder")]

    def _pick(self, found: list[ProcessInfo]) -> int | None:
        return self.random.choice(sorted(info.pid for info in found)) if found else None

    def kill_worker(self) -> bool:
        """kill -9 of an actor's process."""
        return _kill(self._pick(self._workers()), signal.SIGKILL)

    def kill_confined(self) -> bool:
        """kill -9 of a fork server or of a child that works."""
        found = [info for info in descendants(os.getpid()) if "encoders.forkserver" in info.command]
        return _kill(self._pick(found), signal.SIGKILL)

    def hang_worker(self) -> bool:
        """A worker's process stands still for a while, or until somebody ends it."""
        lasts_s = self.random.choice((10.0, 300.0))
        return self._hang(self._pick(self._workers()), lasts_s)

    def kill_dispatcher(self) -> bool:
        """kill -9 of the dispatcher."""
        return _kill(self.farm.pids().get("dispatcher"), signal.SIGKILL)

    def hang_dispatcher(self) -> bool:
        """The dispatcher stands still for longer than its lease."""
        return self._hang(self.farm.pids().get("dispatcher"), 12.0)

    def kill_gateway(self) -> bool:
        """kill -9 of the gateway, with uploads under way."""
        return _kill(self.farm.pids().get("gateway"), signal.SIGKILL)

    def kill_valkey(self) -> bool:
        """kill -9 of Valkey."""
        return _kill(self.farm.pids().get("valkey"), signal.SIGKILL)

    def hang_valkey(self) -> bool:
        """Valkey accepts and does not answer."""
        return self._hang(self.farm.pids().get("valkey"), 8.0)

    def kill_node(self) -> bool:
        """The second node is gone at once; it comes back."""
        self.node.kill()
        return True

    def kill_ray(self) -> bool:
        """kill -9 of the head node's supervisor."""
        return _kill(self.farm.pids().get("ray"), signal.SIGKILL)

    def corrupt_segment(self) -> bool:
        """One byte of the next media segment changes on its way to the store."""
        corrupt_next(self.folder)
        return True

    def take_store_away(self) -> bool:
        """The store does not answer for a while."""
        set_mode(self.folder, "away", 12.0)
        return True

    def fill_store(self) -> bool:
        """The store takes no bytes for a while."""
        set_mode(self.folder, "full", 10.0)
        return True

    def slow_store(self) -> bool:
        """Every call to the store takes half a second more for a while."""
        set_mode(self.folder, "slow", 10.0)
        return True

    def lock_database(self) -> bool:
        """Nobody can write to the database for longer than SQLite waits."""
        with contextlib.closing(sqlite3.connect(self.farm.cluster.root / "farm.db", timeout=5)) as database:
            try:
                database.execute("BEGIN EXCLUSIVE")
            except sqlite3.OperationalError:
                return False
            self.stopping.wait(13.0)
            database.rollback()
        return True

    def _hang(self, pid: int | None, lasts_s: float) -> bool:
        if not _kill(pid, signal.SIGSTOP):
            return False

        def wake() -> None:
            end = time.monotonic() + lasts_s
            # At the storm's end everything that still stands is woken: what must be shown is that nothing got lost.
            while time.monotonic() < end and not self.stopping.wait(0.2):
                pass
            _kill(pid, signal.SIGCONT)

        threading.Thread(target=wake, daemon=True).start()
        return True


def _kill(pid: int | None, number: signal.Signals) -> bool:
    """Send a signal; False when there is nobody to get it."""
    if pid is None:
        return False
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True
