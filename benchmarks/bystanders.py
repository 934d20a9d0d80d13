"""What a storm has beside the embedded farm: a second Ray node, and a second dispatcher that stands by."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
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

_starter = ThreadPoolExecutor(1)
"""A child is told to end when the thread that started it does; this one lives as long as the process."""


class SecondNode:
    """Another Ray node on this machine, of one slot; it can be killed and started again."""

    def __init__(self, farm: Farm) -> None:
        self.farm = farm
        self.log = farm.cluster.root / "logs" / "second_node.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._address = ""

    def start(self) -> None:
        """Start it, without waiting until it has joined."""
        self._address = self.farm.ray_address
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", f"--address={self._address}", "--block"]
        command += ["--num-cpus=1", f"--object-store-memory={OBJECT_STORE_BYTES}", "--disable-usage-stats"]
        command += [f"--node-ip-address={NODE_ADDRESS}"]
        self.process = _begin(command, self.log, {**os.environ, **ray_environment(self.farm.cluster.root)})

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

    @property
    def pid(self) -> int | None:
        """Of its process, while that runs."""
        return self.process.pid if self.process is not None and self.process.poll() is None else None

    def start(self) -> None:
        """Start it."""
        self._address = self.farm.ray_address
        environment = {**self.farm.environment, "REELMILL_DISPATCHER_NAME": STANDBY}
        self.process = _begin([sys.executable, "-m", "cluster.dispatch"], self.log, environment)

    def mend(self) -> None:
        """Start it again when it has ended, or when Ray has moved."""
        if self.pid is None or self._address != self.farm.ray_address:
            self.stop(patience_s=0.0)
            self.start()

    def stop(self, patience_s: float = STOP_PATIENCE_S) -> None:
        """End it, by force after a time."""
        if self.process is None:
            return
        send_signal(self.process.pid, signal.SIGTERM if patience_s else signal.SIGKILL)
        try:
            self.process.wait(patience_s or None)
        except subprocess.TimeoutExpired:
            send_signal(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.process = None


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
