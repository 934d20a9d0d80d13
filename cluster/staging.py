"""A source comes to a node once: staging shared by all workers of a node, kept while leased, bounded by a budget.

Each source has a folder named after its key's digest. A lease is a shared `flock` on a file in it, so it ends with the
process that holds it, even by SIGKILL. Whoever finds no `ready.json` takes the lock alone and fetches; the marker is
written last, so a folder with a marker is whole. Eviction takes least recently used folders that it can lock alone.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cluster.storage.base import LocalPaths, ObjectStore

ABANDONED_AFTER_S = 3_600.0
"""A fetch that has not touched its folder's files for this long was broken off, if nobody holds its lock."""
READ_BYTES = 1 << 20
"""Read size while hashing: large enough that system calls cost nothing, small beside any memory limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedSource:
    """A source on this node's disk; valid while the lease lasts."""

    path: Path
    sha256: str
    size_bytes: int


class Staging:
    """One node's staging folder.

    Args:
        folder: made when missing; on one file system.
        budget_bytes: how much staged sources may take together; one that is leased is never removed, so a node that
            works on more than the budget holds exceeds it for that long.
    """

    def __init__(self, folder: Path, budget_bytes: int) -> None:
        self.folder = folder
        self.budget_bytes = budget_bytes
        folder.mkdir(parents=True, exist_ok=True)

    def entry_of(self, key: str) -> Path:
        """The folder of a source, there or not."""
        return self.folder / hashlib.sha256(key.encode()).hexdigest()[:32]

    @contextmanager
    def lease(self, store: ObjectStore, key: str) -> Iterator[StagedSource]:
        """The source of a key, fetched if need be, kept for as long as the context lasts.

        Raises:
            ObjectMissing, StoreUnavailable: as the store says; the folder is left empty.
            OSError: no room; what was fetched is removed.
        """
        entry = self.entry_of(key)
        while True:
            entry.mkdir(parents=True, exist_ok=True)
            with (entry / "lease").open("ab") as lease:
                fcntl.flock(lease, fcntl.LOCK_SH)
                current = _same_file(lease.fileno(), entry / "lease")
                staged = _ready(entry)
                if current and staged is not None:
                    os.utime(entry / "ready.json")
                    yield staged
                    return
            entry.mkdir(parents=True, exist_ok=True)
            with (entry / "lease").open("ab") as lease:
                fcntl.flock(lease, fcntl.LOCK_EX)
                if _same_file(lease.fileno(), entry / "lease") and _ready(entry) is None:
                    self._fetch(store, key, entry)
            # Changing one kind of flock into the other is not atomic, so the shared lock is taken anew, and the state
            # is read again under it.

    def _fetch(self, store: ObjectStore, key: str, entry: Path) -> None:
        path = entry / "source"
        path.unlink(missing_ok=True)
        info = store.head(key)
        self.evict(room_bytes=info.size_bytes if info else 0)
        if isinstance(store, LocalPaths):
            _link(store.path_of(key), path)
        else:
            store.get_file(key, path)
        marker = entry / "ready.tmp"
        marker.write_text(json.dumps({"sha256": _sha256(path), "size_bytes": path.stat().st_size}))
        marker.rename(entry / "ready.json")

    def evict(self, room_bytes: int = 0) -> int:
        """Remove least recently used sources until the budget holds with `room_bytes` more; returns bytes removed.

        What a killed process had fetched of a source goes first, whatever the budget.
        """
        entries = []
        for entry in self.folder.iterdir():
            try:
                used = (entry / "ready.json").stat().st_mtime
                entries.append((used, (entry / "source").stat().st_size, entry))
            except FileNotFoundError:
                # Being fetched, being removed by another process, or neither since its process died.
                if _untouched_since(entry, time.time() - ABANDONED_AFTER_S):
                    _remove(entry)
        excess = sum(size for _, size, _ in entries) + room_bytes - self.budget_bytes
        removed = 0
        for _, size, entry in sorted(entries):
            if removed >= excess:
                break
            removed += size if _remove(entry) else 0
        return removed


def _remove(entry: Path) -> bool:
    """Remove a folder that nobody leases; False when somebody does."""
    try:
        with (entry / "lease").open("ab") as lease:
            fcntl.flock(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(entry, ignore_errors=True)
            return True
    except (BlockingIOError, FileNotFoundError):
        return False


def _untouched_since(entry: Path, moment: float) -> bool:
    """Whether nothing in a folder was written after a moment (epoch seconds)."""
    try:
        return all(path.stat().st_mtime < moment for path in (entry, *entry.iterdir()))
    except FileNotFoundError:
        return False


def _ready(entry: Path) -> StagedSource | None:
    try:
        found = json.loads((entry / "ready.json").read_text())
    except FileNotFoundError:
        return None
    return StagedSource(path=entry / "source", sha256=found["sha256"], size_bytes=found["size_bytes"])


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _link(stored: Path, path: Path) -> None:
    """Take a file of a store on this host without copying it, where the file system lets us."""
    try:
        os.link(stored, path)
    except OSError:
        shutil.copyfile(stored, path)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while block := file.read(READ_BYTES):
            digest.update(block)
    return digest.hexdigest()
