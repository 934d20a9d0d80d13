"""Scratch folders of a node's workers: each has one of its own, and those of dead workers are removed by the next.

A worker holds a lock on its folder for as long as its process lives, so that a SIGKILL frees it as well. Two processes
that sweep at once take a folder by turns; who comes second finds it gone.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from pathlib import Path

LOCK = ".lock"
"""Beside what a worker writes, in its own folder."""
UNBORN_S = 3_600.0
"""A folder that has waited so long for its name lost its process before it got one: it takes a moment."""


def claim_scratch(root: Path, name: str) -> Path:
    """An empty folder below `root` for a process that is about to work; it stays claimed until that process ends.

    Raises:
        FileExistsError: the name is taken.
    """
    fresh = root / f".{name}.new"
    fresh.mkdir(parents=True)
    lock = os.open(fresh / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)  # never closed: it ends with the process
    # Only now does it get the name under which others look for abandoned folders.
    return fresh.rename(root / name)


def sweep_scratch(root: Path) -> int:
    """Remove folders of processes that have ended; answers how many."""
    removed = 0
    for folder in root.iterdir() if root.is_dir() else ():
        if folder.name.startswith("."):
            removed += _remove_unborn(folder)
            continue
        try:
            lock = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            # A folder without a lock is being removed by another process, or is none of ours.
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(folder)
            removed += 1
        except BlockingIOError:
            continue
        finally:
            os.close(lock)
    return removed


def _remove_unborn(folder: Path) -> bool:
    """Remove a folder whose process ended while it claimed it."""
    try:
        if folder.stat().st_mtime > time.time() - UNBORN_S:
            return False
    except FileNotFoundError:
        return False
    shutil.rmtree(folder, ignore_errors=True)
    return True


def _remove(folder: Path) -> None:
    """Remove a folder whose lock is held here, the lock last: a process killed amid this leaves it to be found."""
    for entry in folder.iterdir():
        if entry.name == LOCK:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
