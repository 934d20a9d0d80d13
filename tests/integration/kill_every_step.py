"""Kill a process that uses a local store at each of its steps on the file system in turn; check what is left.

Run as a program (a fresh process without threads, so that forking is safe): `kill_every_step.py FOLDER`. Prints the
number of steps at which a child was killed.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

from cluster.errors import UploadMissing
from cluster.storage.base import Part, joined_etag
from cluster.storage.local import LocalStore
from cluster.storage.signing import PartGrant

STEPS = frozenset({"open", "os.rename", "os.remove", "os.link", "os.mkdir", "os.rmdir", "os.truncate"})
"""Audit events of whatever changes the file system. Source: Python's table of audit events."""
BODIES = {1: b"first" * 1000, 2: b"second" * 1000}
WHOLE = BODIES[1] + BODIES[2]
PARTS = [
    Part(number=n, size_bytes=len(body), etag=hashlib.md5(body, usedforsecurity=False).hexdigest())
    for n, body in BODIES.items()
]
SMALL = {"seg/1": b"one", "seg/2": b"two", "gone/1": b"three"}


def store_in(folder: Path) -> LocalStore:
    return LocalStore(folder, "", b"s" * 32, min_part_bytes=1)


async def receive(store: LocalStore, upload_id: str, number: int) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield BODIES[number]

    grant = PartGrant(upload_id=upload_id, part_number=number, size_bytes=len(BODIES[number]), expires_at=2e9)
    await store.receive_part(grant, chunks())


def work(folder: Path, tell: int) -> None:
    """All that is done with a store; each finished call is told, and so must never be lost."""

    def done(what: str) -> None:
        os.write(tell, f"{what}\n".encode())

    store = store_in(folder)
    upload_id = store.create_multipart("raw/source", "video/mp4")
    done(f"created {upload_id}")
    for number in BODIES:
        asyncio.run(receive(store, upload_id, number))
        done(f"part {number}")
    store.complete_multipart("raw/source", upload_id, PARTS)
    done("completed")
    for key, data in SMALL.items():
        store.put_bytes(key, data, "video/mp4", "max-age=1")
        done(f"put {key}")
    store.put_bytes("seg/1", SMALL["seg/1"], "video/mp4", "max-age=1")
    store.delete("gone/1")
    done("deleted gone/1")
    done("end")


def run_until(step: int, folder: Path) -> list[str]:
    """Do the work in a child that is killed at that step; what it told before."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        count = 0

        def kill_at(event: str, args: tuple[object, ...]) -> None:
            nonlocal count
            if event in STEPS and str(folder) in str(args[0]):
                count += 1
                if count > step:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(kill_at)
        work(folder, writer)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as told:
        lines = told.read().splitlines()
    os.waitpid(child, 0)
    return lines


def check(folder: Path, told: list[str]) -> None:
    """Everything told is there, everything there is whole, and the work can be taken up again."""
    store = store_in(folder)
    for info in store.list(""):
        data = store.get_bytes(info.key)
        if info.key == "raw/source":
            whole = {joined_etag(part.etag for part in PARTS), hashlib.md5(WHOLE, usedforsecurity=False).hexdigest()}
            assert (data, info.etag in whole, info.content_type) == (WHOLE, True, "video/mp4"), info
        else:
            etag = hashlib.md5(data, usedforsecurity=False).hexdigest()
            assert (data, info.etag, info.cache_control) == (SMALL[info.key], etag, "max-age=1"), info
    keys = {info.key for info in store.list("")}
    for line in told:
        if line.startswith("put ") and line != "put gone/1":
            assert line.removeprefix("put ") in keys, (line, keys)
    assert not ("deleted gone/1" in told and "gone/1" in keys)
    upload_id = next((line.split()[1] for line in told if line.startswith("created")), None)
    if upload_id is not None:
        take_up_again(store, upload_id, {int(line.split()[1]) for line in told if line.startswith("part")})
    for upload in store.list_multiparts(time.time() + 60):
        store.abort_multipart(upload.key, upload.upload_id)
    store.sweep(time.time() + 60)
    assert not any((folder / "tmp").iterdir())
    assert not any((folder / "uploads").iterdir()) if (folder / "uploads").exists() else True


def take_up_again(store: LocalStore, upload_id: str, told: set[int]) -> None:
    """What a client does after the gateway is back: ask what is there, send the rest, complete."""
    try:
        held = {part.number for part in store.list_parts("raw/source", upload_id)}
    except UploadMissing:
        assert told == set(BODIES)
    else:
        assert told <= held, (told, held)
        for number in set(BODIES) - held:
            asyncio.run(receive(store, upload_id, number))
    info = store.complete_multipart("raw/source", upload_id, PARTS)
    assert info.etag == joined_etag(part.etag for part in PARTS)
    assert store.get_bytes("raw/source") == WHOLE


def main(root: Path) -> int:
    for step in range(1000):
        folder = root / str(step)
        told = run_until(step, folder)
        check(folder, told)
        if told[-1:] == ["end"]:
            return step
    raise AssertionError("the work never came to its end")


if __name__ == "__main__":
    sys.stdout.write(f"{main(Path(sys.argv[1]))}\n")
