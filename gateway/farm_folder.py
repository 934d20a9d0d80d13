"""What a running farm keeps in its data folder: a lock that it alone holds, logs, and where it can be reached."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

from encoders.errors import FarmError, Fault


class FarmRunning(FarmError):
    """Another farm holds the data folder; nothing was changed."""

    code = "farm_running"
    fault = Fault.CALLER


class FarmFolder:
    """The data folder, as far as its supervisor is concerned."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._lock = -1

    def log(self, name: str) -> Path:
        """The log file of a process."""
        return self.root / "logs" / f"{name}.log"

    def claim(self) -> None:
        """Take the folder for this farm; the kernel gives it back when the process ends, however it ends.

        Raises:
            FarmRunning: it is taken.
        """
        (self.root / "logs").mkdir(parents=True, exist_ok=True)
        lock = os.open(self.root / "farm.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            holder = self.state().get("pid", "unknown")
            raise FarmRunning(
                f"a farm runs on {self.root} already (process {holder}); "
                "stop it, or set REELMILL_DATA_DIR to another folder"
            ) from None
        self._lock = lock
        (self.root / "farm.json").unlink(missing_ok=True)  # of one that was killed

    def release(self) -> None:
        """Give the folder back; does nothing when it is not held."""
        if self._lock >= 0:
            (self.root / "farm.json").unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = -1

    def write_state(self, state: dict[str, Any]) -> None:
        """Replace `farm.json`."""
        fresh = self.root / ".farm.json.new"
        fresh.write_text(json.dumps(state))
        fresh.replace(self.root / "farm.json")

    def state(self) -> dict[str, Any]:
        """What the running farm wrote last; empty when none runs, or it is still starting."""
        try:
            found: dict[str, Any] = json.loads((self.root / "farm.json").read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return {}
        return found
