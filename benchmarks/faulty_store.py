"""A local store that fails when a storm wants it to: methods of `LocalStore` ask a file before they work.

The file is `store.json` in the folder REELMILL_FAULTS: {"mode": …, "until": CLOCK_MONOTONIC}. Modes:

    away      every call is StoreUnavailable
    full      every write is StoreFull
    slow      every call takes half a second more

A file `corrupt` beside it changes one byte of the next media segment that is written, and is gone then. Each record of
finished work that lands in the store is noted in `landed.jsonl`, by a clock that no storm shifts.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cluster.errors import StoreFull, StoreUnavailable

READS = ("get_file", "get_bytes", "head", "list", "path_of")
WRITES = ("put_file", "put_bytes", "create_multipart", "complete_multipart")
SLOW_S = 0.5


def control_file(folder: Path) -> Path:
    """Where a storm says what the store shall do."""
    return folder / "store.json"


def corrupt_next(folder: Path) -> None:
    """Change the next media segment that any process writes."""
    (folder / "corrupt").touch()


def corrupted(folder: Path) -> int:
    """How many media segments were changed so far."""
    log = folder / "corrupted"
    return len(log.read_text().splitlines()) if log.exists() else 0


def landed(folder: Path) -> int:
    """How many records of finished work have landed so far, repetitions included."""
    log = folder / "landed.jsonl"
    return log.read_bytes().count(b"\n") if log.exists() else 0


def set_mode(folder: Path, mode: str, lasts_s: float) -> None:
    """Let the store behave in a mode for a time, in all processes at once."""
    fresh = folder / "store.new"
    fresh.write_text(json.dumps({"mode": mode, "until": time.monotonic() + lasts_s}))
    fresh.replace(control_file(folder))


def spoil(store: type[Any]) -> None:
    """Wrap the methods of a store class."""
    for name in (*READS, *WRITES):
        setattr(store, name, _spoiled(getattr(store, name), name))


def _spoiled(method: Callable[..., Any], name: str) -> Callable[..., Any]:
    @functools.wraps(method)
    def spoiled(self: Any, *args: Any, **more: Any) -> Any:
        mode = _mode()
        if mode == "away":
            raise StoreUnavailable(f"{name}: the storm has taken the store away")
        if mode == "full" and name in WRITES:
            raise StoreFull(f"{name}: the storm has filled the store")
        if mode == "slow":
            time.sleep(SLOW_S)
        if name == "put_file" and str(args[0]).endswith(".m4s") and _take():
            with tempfile.NamedTemporaryFile(suffix=".m4s") as changed:
                shutil.copyfile(args[1], changed.name)
                _flip(Path(changed.name))
                return method(self, args[0], Path(changed.name), *args[2:], **more)
        answer = method(self, *args, **more)
        if name == "put_bytes" and str(args[0]).startswith("work/"):
            _note(str(args[0]))
        return answer

    return spoiled


def _note(record: str) -> None:
    line = {"record": record, "at": datetime.now(UTC).timestamp()}
    with (Path(os.environ["REELMILL_FAULTS"]) / "landed.jsonl").open("ab", buffering=0) as log:
        log.write(json.dumps(line).encode() + b"\n")


def _mode() -> str:
    try:
        told = json.loads(control_file(Path(os.environ["REELMILL_FAULTS"])).read_text())
    except (FileNotFoundError, ValueError):
        return ""
    return str(told["mode"]) if time.monotonic() < told["until"] else ""


def _take() -> bool:
    """Whether this caller is the one that changes a byte."""
    folder = Path(os.environ["REELMILL_FAULTS"])
    try:
        (folder / "corrupt").unlink()
    except FileNotFoundError:
        return False
    with (folder / "corrupted").open("a") as log:
        log.write("changed\n")
    return True


def _flip(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size * 3 // 4)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 0x55]))
