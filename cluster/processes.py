"""Processes of one machine, by /proc and prctl: who descends from us, and how all of them come to an end. Linux only.

A supervisor that calls `become_subreaper` inherits every orphan below it, so that nothing it started, at any depth, can
slip away: `end_descendants` ends and reaps them all.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
"""Source: linux/prctl.h."""
POLL_S = 0.05

# Loaded here and not in the child: between fork and exec nothing may take locks or allocate much.
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """A row of the process table; `command` is what `ps` shows, empty for a zombie."""

    pid: int
    parent: int
    state: str
    command: str

    @property
    def zombie(self) -> bool:
        """Whether it has ended and waits to be reaped."""
        return self.state in ("Z", "X")


def become_subreaper() -> None:
    """Inherit orphaned descendants instead of leaving them to init.

    Raises:
        OSError: the kernel refused.
    """
    if _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def die_with_parent(number: int = signal.SIGTERM) -> Callable[[], None]:
    """What a child calls between fork and exec, to get a signal when the thread that starts it ends.

    The thread must therefore live as long as the child is wanted. A parent that is gone already ends the child at once.
    """
    parent = os.getpid()

    def before_exec() -> None:
        _libc.prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return before_exec


def process_table() -> dict[int, ProcessInfo]:
    """All processes that this one can see, by pid."""
    return {info.pid: info for info in _read_processes()}


def _read_processes() -> Iterator[ProcessInfo]:
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            # The command's name is in parentheses and may hold anything; the fields follow the last one.
            state, parent, *_ = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except (OSError, ValueError):
            continue  # it ended meanwhile
        yield ProcessInfo(int(folder.name), int(parent), state, command)


def descendants(root: int, table: Mapping[int, ProcessInfo] | None = None) -> list[ProcessInfo]:
    """Processes below `root`, at any depth, parents before children; zombies too."""
    table = process_table() if table is None else table
    children: dict[int, list[ProcessInfo]] = {}
    for info in table.values():
        children.setdefault(info.parent, []).append(info)
    found: list[ProcessInfo] = []
    waiting = [root]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += [info.pid for info in below]
    return found


def end_descendants(patience_s: float, keep: Collection[int] = ()) -> int:
    """End every process below this one and reap it: SIGTERM, then after `patience_s` SIGKILL.

    Takes the exit statuses of children from whoever waits for them, but for those in `keep`.

    Args:
        keep: pids of children that stay, with all that is below them.

    Returns:
        how many had to be killed.
    """
    killed: set[int] = set()
    asked: set[int] = set()
    deadline = time.monotonic() + patience_s
    while True:
        reap_adopted(keep)
        left = [info for info in _unkept(keep) if not info.zombie]
        if not left:
            reap_adopted(keep)
            return len(killed)
        force = time.monotonic() > deadline
        for info in left:
            if force or info.pid not in asked:
                _signal(info.pid, signal.SIGKILL if force else signal.SIGTERM)
                asked.add(info.pid)
                if force:
                    killed.add(info.pid)
        time.sleep(POLL_S)


def _unkept(keep: Collection[int]) -> list[ProcessInfo]:
    """Descendants of this process that are neither kept nor below one that is."""
    table = process_table()
    spared = set(keep) | {info.pid for root in keep for info in descendants(root, table)}
    return [info for info in descendants(os.getpid(), table) if info.pid not in spared]


def reap_adopted(known: Collection[int]) -> None:
    """Collect ended children that nobody here waits for: orphans that a subreaper inherited.

    Args:
        known: pids of children whose exit status somebody here wants.
    """
    try:  # one call says whether any child has ended; reading all of /proc takes some hundred
        if os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return
    except ChildProcessError:
        return
    own = os.getpid()
    for info in process_table().values():
        if info.parent == own and info.zombie and info.pid not in known:
            try:
                os.waitpid(info.pid, os.WNOHANG)
            except ChildProcessError:
                continue


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
