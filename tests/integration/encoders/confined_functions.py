"""What confined children are told to do in the tests: mostly what they must not be able to do."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from encoders import confine
from encoders.errors import Damaged
from encoders.media import Colour, ColourRange


def add(first: int, second: int) -> int:
    return first + second


def colour() -> Colour:
    return Colour(range=ColourRange.FULL, primaries=9)


def squares(count: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.arange(count, dtype=np.int64) ** 2


def big(size: int) -> bytes:
    return b"x" * size


def forge() -> object:
    return _Forged()


class _Forged:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("true",)


def refuse() -> NoReturn:
    sys.stderr.write("the codec said no\n")
    raise Damaged("half of it is missing")


def blunder() -> NoReturn:
    raise KeyError("a bug")


def count_to(number: int) -> int:
    for step in range(number):
        confine.report({"step": step})
    return number


def attempt(name: str, *args: Any) -> str:
    """Try something; the name of the system error that it met, or what came of it."""
    try:
        return f"done: {ATTEMPTS[name](*args)!r}"
    except OSError as error:
        return errno.errorcode[error.errno or 0]


ATTEMPTS: dict[str, Any] = {
    "read": lambda path: Path(path).read_bytes()[:20],
    "list": lambda path: sorted(path.name for path in Path(path).iterdir()),
    "write": lambda path: Path(path).write_bytes(b"x"),
    "remove": lambda path: Path(path).unlink(),
    "chmod": lambda path: Path(path).chmod(0o777),
    "rename": lambda old, new: Path(old).rename(new),
    "socket": lambda family: socket.socket(family),
    "connect": lambda port: socket.create_connection(("127.0.0.1", port), timeout=1),
    "exec": lambda: subprocess.run(["/bin/true"], check=True),
    "fork": lambda: os.fork(),
    "signal": lambda pid: os.kill(pid, signal.SIGTERM),
    "environment": lambda name: os.environ.get(name),
    "memfd": lambda: os.memfd_create("x"),
    "thread": lambda: _in_thread(),
    "ptrace": lambda pid: _ptrace(pid),
    "large file": lambda path: Path(path).write_bytes(bytes(1 << 20)),
}


def _in_thread() -> list[int]:
    seen: list[int] = []
    thread = threading.Thread(target=seen.append, args=(1,))
    thread.start()
    thread.join()
    return seen


def _ptrace(pid: int) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    attach = 16
    if libc.ptrace(attach, pid, None, None) != 0:
        raise OSError(ctypes.get_errno(), "ptrace")
    return 0


def eat_memory() -> NoReturn:
    kept = []
    while True:
        kept.append(bytearray(16 << 20))


def spin() -> NoReturn:
    while True:
        pass


def wait(seconds: float) -> None:
    confine.report(os.getpid())
    time.sleep(seconds)


def crash() -> None:
    os.write(2, b"before the crash\n")
    ctypes.string_at(0)


def leave() -> NoReturn:
    os._exit(3)


def write_large(path: Path) -> None:
    path.write_bytes(bytes(1 << 20))


def save(path: Path, text: str) -> None:
    path.mkdir()
    (path / "draft").write_text(text)
    (path / "draft").rename(path / "final")
