"""Runs a command below a watcher that inherits its orphans, so that a test knows what the command left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
CLI = [sys.executable, "-m", "gateway.cli"]

WATCHER = """
import json, os, signal, subprocess, sys, time
from cluster.processes import become_subreaper, descendants, end_descendants
become_subreaper()
# Shells start what runs in the background with Ctrl-C ignored, and it would be for the command, too.
signal.signal(signal.SIGINT, signal.SIG_DFL)
child = subprocess.Popen(sys.argv[2:])
signal.signal(signal.SIGINT, lambda *_: child.send_signal(signal.SIGINT))
signal.signal(signal.SIGTERM, lambda *_: child.send_signal(signal.SIGTERM))
code = child.wait()
left = [info.command for info in descendants(os.getpid()) if not info.zombie]
end_descendants(0.0)
with open(sys.argv[1], "w") as report:
    json.dump({"code": code, "left": left}, report)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended. `left` are the commands of processes that it left behind (they are ended by now)."""

    code: int
    stdout: str
    stderr: str
    left: list[str]


class Alone:
    """A command that runs alone. `interrupt` it, or just `wait`."""

    def __init__(self, folder: Path, *arguments: str, **environment: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._report = folder / "report.json"
        self._out, self._err = folder / "stdout", folder / "stderr"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.watcher = subprocess.Popen(
                [sys.executable, "-c", WATCHER, str(self._report), *CLI, *arguments],
                cwd=CHECKOUT,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={**os.environ, "NO_COLOR": "1", "COLUMNS": "200", **environment},
                start_new_session=True,
            )

    def said(self) -> str:
        """Everything that the command has said so far."""
        return self._out.read_text() + self._err.read_text()

    def wait_for(self, sign: Callable[[str], bool], timeout_s: float = 180.0) -> None:
        """Wait until what it has said fits; fails when it ends before, or takes too long."""
        deadline = time.monotonic() + timeout_s
        while not sign(self.said()):
            assert self.watcher.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.05)

    def interrupt(self, number: int = signal.SIGINT) -> None:
        """Send the command a signal."""
        self.watcher.send_signal(number)

    def wait(self, timeout_s: float = 300.0) -> Ended:
        """Wait for its end."""
        self.watcher.wait(timeout_s)
        report = json.loads(self._report.read_text())
        return Ended(
            code=report["code"], left=report["left"], stdout=self._out.read_text(), stderr=self._err.read_text()
        )
