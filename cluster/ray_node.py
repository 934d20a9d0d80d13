"""One Ray head node on this machine, for the embedded farm: started, watched and ended with all it brought up.

Ray listens on all addresses whatever it is told (facts measured on Ray 2.60), so its token authentication is always on;
the token lies in the data folder and reaches dispatcher and workers by the environment. Usage reports are off.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from cluster.errors import ClusterUnavailable
from cluster.processes import die_with_parent

START_TIMEOUT_S = 240.0
"""A head node starts in 6 to 9 s on two idle cores; on a machine with ten times more to do than cores, minutes."""
OBJECT_STORE_BYTES = 100_000_000
"""Media never passes through Ray's object store, only requests and outcomes do; 75 MB is Ray's least."""


def ray_environment(data_dir: Path) -> dict[str, str]:
    """Environment variables that every process which talks to this machine's Ray needs; makes the token when
    missing."""
    token = data_dir / "secrets" / "ray.token"
    token.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not token.exists():
        fresh = token.with_suffix(f".{os.getpid()}")
        fresh.touch(mode=0o600)
        fresh.write_text(secrets.token_hex(32))
        try:
            os.link(fresh, token)  # never replaces a token that another process has just made
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
        # `uv run` makes Ray's hook repack the working folder and hang; this interpreter is already the right one.
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "RAY_DEDUP_LOGS": "0",
        # Ray gives a node 30 s to register; where it joins while everything else starts too, that is not enough.
        "RAY_raylet_start_wait_time_s": str(int(START_TIMEOUT_S)),
        # Workers hold nothing that draining would save: finished work is in the store, the rest is done again.
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
    }


GAVE_UP = b"Timed out waiting for file"
"""In the log of a node that has died because its agents took more than 15 s to start, a time fixed in its code. On a
busy machine that happens, and `ray start` would wait on. Source: ray#65983, seen on Ray 2.60."""
TRIES = 3
"""Starts of a node that gives up in that way: what it reads from disk the first time is in memory the next."""


class RayNode:
    """A supervised `ray start --head`.

    Args:
        data_dir: of the farm; logs and the token go there.
        cpus: what Ray may give out.
        dashboard: whether Ray's dashboard is served, on loopback.
    """

    def __init__(self, data_dir: Path, cpus: int, dashboard: bool = True) -> None:
        self.data_dir = data_dir
        self.cpus = cpus
        self.dashboard = dashboard
        self.port = 0
        self.dashboard_port = 0
        self.process: subprocess.Popen[bytes] | None = None
        # Unix socket paths are limited to 107 bytes and Ray's are long: a short folder, one for each data folder.
        digest = hashlib.sha256(str(data_dir.resolve()).encode()).hexdigest()[:8]
        self.temp_dir = Path("/tmp") / f"reelmill-ray-{digest}"

    @property
    def address(self) -> str:
        """What `ray.init(address=…)` takes."""
        return f"127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        """Where the node's own output goes."""
        return self.data_dir / "logs" / "ray.log"

    def start(self) -> str:
        """Start the node and wait until it answers; returns its address.

        Raises:
            ClusterUnavailable: it ended or did not answer in time; nothing of it is left running.
        """
        deadline = time.monotonic() + START_TIMEOUT_S
        for left in range(TRIES - 1, -1, -1):
            self._launch()
            while not self._answers():
                status = self.process.poll() if self.process else None
                gave_up = self._gave_up()
                if gave_up and left:
                    break
                if status is not None or gave_up or time.monotonic() > deadline:
                    self.stop()
                    raise ClusterUnavailable(f"Ray did not start (exit status {status}); its log is {self.log}")
                time.sleep(0.1)
            else:
                return self.address
            self.stop()
        raise AssertionError("the last try returns or raises")

    def _gave_up(self) -> bool:
        """Whether the node has died of agents that were slow to start."""
        logs = self.temp_dir.glob("session_2*/logs/raylet.err")
        return any(GAVE_UP in log.read_bytes() for log in logs)

    def _launch(self) -> None:
        self.port, self.dashboard_port = _free_ports(2)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self.temp_dir, ignore_errors=True)
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--port={self.port}"]
        command += ["--node-ip-address=127.0.0.1", f"--num-cpus={self.cpus}", f"--temp-dir={self.temp_dir}"]
        command += [
            f"--object-store-memory={OBJECT_STORE_BYTES}",
            "--disable-usage-stats",
            "--include-log-monitor=false",
        ]
        command += [f"--include-dashboard={str(self.dashboard).lower()}", "--dashboard-host=127.0.0.1"]
        command += [f"--dashboard-port={self.dashboard_port}"]
        command += [
            "--no-monitor"
        ]  # the autoscaler's; one node by itself scales nothing, and its start costs a CPU second
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # Told to end, `ray start --block` ends all that it started: nothing outlives a killed supervisor.
                preexec_fn=die_with_parent(),
                env={**os.environ, **ray_environment(self.data_dir)},
            )

    def _answers(self) -> bool:
        """Whether the node's own start has finished: `ray start` says so in its log once all parts are up."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                pass
        except OSError:
            return False
        return b"Ray runtime started" in self.log.read_bytes()[-20_000:]

    def stop(self) -> None:
        """End the node with all its processes; safe to call twice."""
        if self.process is None:
            return
        for number, patience_s in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0)):
            try:
                os.killpg(self.process.pid, number)
            except ProcessLookupError:
                break
            try:
                self.process.wait(patience_s)
            except subprocess.TimeoutExpired:
                continue
        self.process = None
        shutil.rmtree(self.temp_dir, ignore_errors=True)


def _free_ports(count: int) -> list[int]:
    """Ports of loopback that are free now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
