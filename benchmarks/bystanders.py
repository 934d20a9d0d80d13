"""What a storm has beside the embedded farm: a second Ray node, and a second dispatcher that stands by."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from cluster.processes import descendants, die_with_parent
from cluster.ray_node import ray_environment
from gateway.farm import CHECKOUT, Farm

OBJECT_STORE_BYTES = 80_000_000
"""Of the second node: Ray's least is 75 MB, and media does not pass through it."""
NODE_ADDRESS = "127.0.0.2"
"""This machine as well, but not as the first node calls it, so that `reelmill drain` can tell the two apart."""
STANDBY = "standby"
STOP_PATIENCE_S = 60.0
DOWN_S = 5.0
"""How long a node that has ended is gone at least: its work must move before it is back."""
MOST_STARTS = 200
"""Of a node in one storm; one that never stays is not started for ever."""
LOOK_EVERY_S = 1.0

_starter = ThreadPoolExecutor(1)
"""A child is told to end when the thread that started it does; this one lives as long as the process."""


class SecondNode:
    """Another Ray node on this machine, of one slot; it can be killed and started again, by several threads."""

    def __init__(self, farm: Farm) -> None:
        self.farm = farm
        self.log = farm.cluster.root / "logs" / "second_node.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.starts = 0
        self._address = ""
        self._down_at: float | None = None
        self._lock = threading.RLock()

    def start(self) -> None:
        """Start it, without waiting until it has joined."""
        self.starts += 1
        self._down_at = None
        self._address = self.farm.ray_address
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", f"--address={self._address}", "--block"]
        command += ["--num-cpus=1", f"--object-store-memory={OBJECT_STORE_BYTES}", "--disable-usage-stats"]
        command += [f"--node-ip-address={NODE_ADDRESS}"]
        self.process = _begin(command, self.log, {**os.environ, **ray_environment(self.farm.cluster.root)})

    def mend(self) -> None:
        """Start it again when it has ended some seconds ago, also by itself, or when its head has moved.

        A raylet whose agent needs more than 15 s to start, as on a busy machine, ends itself (ray#65983).
        """
        with self._lock:
            runs = self.process is not None and self.process.poll() is None
            if runs and self._address == self.farm.ray_address:
                return
            now = time.monotonic()
            self._down_at = now if self._down_at is None else self._down_at
            if now - self._down_at >= DOWN_S and self.starts < MOST_STARTS:
                self.kill()
                self.start()

    def kill(self) -> None:
        """As if its power was cut: all its processes at once."""
        with self._lock:
            if self.process is None:
                return
            for info in [*descendants(self.process.pid)]:
                send_signal(info.pid, signal.SIGKILL)
            send_signal(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


class Standby:
    """Another dispatcher of the farm's cluster: it leads when the farm's own is gone or stands still."""

    def __init__(self, farm: Farm) -> None:
        self.farm = farm
        self.log = farm.cluster.root / "logs" / "standby.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._address = ""
        self._lock = threading.RLock()

    @property
    def pid(self) -> int | None:
        """Of its process, while that runs."""
        process = self.process
        return process.pid if process is not None and process.poll() is None else None

    def start(self) -> None:
        """Start it."""
        self._address = self.farm.ray_address
        environment = {**self.farm.environment, "REELMILL_DISPATCHER_NAME": STANDBY}
        self.process = _begin([sys.executable, "-m", "cluster.dispatch"], self.log, environment)

    def mend(self) -> None:
        """Start it again when it has ended, or when Ray has moved."""
        with self._lock:
            if self.pid is None or self._address != self.farm.ray_address:
                self.stop(patience_s=0.0)
                self.start()

    def stop(self, patience_s: float = STOP_PATIENCE_S) -> None:
        """End it, by force after a time."""
        with self._lock:
            if self.process is None:
                return
            send_signal(self.process.pid, signal.SIGTERM if patience_s else signal.SIGKILL)
            try:
                self.process.wait(patience_s or None)
            except subprocess.TimeoutExpired:
                send_signal(self.process.pid, signal.SIGKILL)
                self.process.wait()
            self.process = None


@contextmanager
def kept(*bystanders: SecondNode | Standby) -> Iterator[None]:
    """Start them again when they have ended, for as long as the context lasts."""
    over = threading.Event()

    def keep() -> None:
        while not over.wait(LOOK_EVERY_S):
            for each in bystanders:
                each.mend()

    thread = threading.Thread(target=keep, name="keeper", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _begin(command: list[str], log: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own that ends with this one, however that ends."""
    before_exec = die_with_parent()

    def start() -> subprocess.Popen[bytes]:
        with log.open("ab") as output:
            return subprocess.Popen(
                command,
                cwd=CHECKOUT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=before_exec,
                env=environment,
            )

    return _starter.submit(start).result()


def send_signal(pid: int | None, number: signal.Signals) -> bool:
    """Send a signal; False when there is nobody to get it."""
    if pid is None:
        return False
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True
