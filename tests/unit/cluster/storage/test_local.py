"""What the local store does beside the contract of all stores: its files, what it mends, and what it refuses."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import stat
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cluster.errors import (
    KeyInvalid,
    LengthMismatch,
    ObjectMissing,
    StoreFull,
    StoreRefused,
    StoreUnavailable,
    UploadMissing,
)
from cluster.storage import durable
from cluster.storage.base import LocalPaths, Part, TreeSigning
from cluster.storage.local import LocalStore
from cluster.storage.open import SECRET_VARIABLE, open_store
from cluster.storage.s3 import S3Store
from cluster.storage.signing import PartGrant


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store", "http://farm.test", b"s" * 32, min_part_bytes=1)


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def grant(upload_id: str, size_bytes: int, number: int = 1) -> PartGrant:
    return PartGrant(upload_id=upload_id, part_number=number, size_bytes=size_bytes, expires_at=2e9)


async def body(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def leftovers(store: LocalStore) -> list[str]:
    return [path.name for path in (store._root / "tmp").iterdir()]


def test_powers(store: LocalStore) -> None:
    assert isinstance(store, LocalPaths)
    assert isinstance(store, TreeSigning)


def test_paths_are_for_linking(store: LocalStore, tmp_path: Path) -> None:
    store.put_bytes("a/b", b"data", "text/plain")
    (tmp_path / "link").hardlink_to(store.path_of("a/b"))
    store.delete("a/b")
    assert (tmp_path / "link").read_bytes() == b"data"
    for missing in ("a/b", "a"):
        with pytest.raises(ObjectMissing):
            store.path_of(missing)


def test_same_object_again_keeps_its_file(store: LocalStore) -> None:
    store.put_bytes("a", b"data", "text/plain")
    before = store.path_of("a").stat().st_ino
    store.put_bytes("a", b"data", "text/plain")
    assert store.path_of("a").stat().st_ino == before
    store.put_bytes("a", b"data", "text/plain", "no-store")
    assert store.head("a") == store.put_bytes("a", b"data", "text/plain", "no-store")


def test_folder_and_object_of_one_name(store: LocalStore) -> None:
    store.put_bytes("a", b"", "text/plain")
    with pytest.raises(KeyInvalid):
        store.put_bytes("a/b", b"", "text/plain")
    assert store.head("a/b") is None
    store.delete("a/b")
    store.put_bytes("c/d", b"", "text/plain")
    with pytest.raises(KeyInvalid):
        store.put_bytes("c", b"", "text/plain")
    assert store.head("c") is None
    store.delete("c")
    assert [info.key for info in store.list("")] == ["a", "c/d"]
    assert leftovers(store) == []


def test_description_of_another_file_is_mended(store: LocalStore) -> None:
    """As after a kill between the two renames: the description is new, the bytes are old."""
    store.put_bytes("a.mp4", b"old", "video/mp4", "no-store")
    path = store.path_of("a.mp4")
    path.write_bytes(b"older")
    info = store.head("a.mp4")
    assert info is not None
    assert (info.size_bytes, info.etag, info.content_type, info.cache_control) == (
        5,
        md5(b"older"),
        "video/mp4",
        "no-store",
    )
    (store._root / "meta" / "a.mp4").unlink()
    info = store.head("a.mp4")
    assert info is not None
    assert (info.etag, info.content_type, info.cache_control) == (md5(b"older"), "video/mp4", None)
    assert store.head("a.mp4") == info


def test_delete_leaves_no_empty_folders(store: LocalStore) -> None:
    store.put_bytes("a/b/c", b"", "text/plain")
    store.put_bytes("a/d", b"", "text/plain")
    store.delete("a/b/c")
    assert sorted(path.name for path in (store._root / "objects" / "a").iterdir()) == ["d"]
    store.delete("a/d")
    assert list((store._root / "objects").iterdir()) == []
    assert list((store._root / "meta").iterdir()) == []


def test_puts_and_deletes_beside_each_other(store: LocalStore) -> None:
    """A delete removes the folder that a put has just made: the put makes it again."""

    def work(n: int) -> None:
        for _ in range(20):
            store.put_bytes(f"f/g/{n}", b"x", "text/plain")
            store.delete(f"f/g/{n}")
        store.put_bytes(f"f/g/{n}", b"x", "text/plain")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert [info.key for info in store.list("f/")] == [f"f/g/{n}" for n in range(4)]


def test_full_disk_keeps_nothing(store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "source").write_bytes(b"data")
    upload_id = store.create_multipart("m", "text/plain")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreFull, match="free space"):
        store.put_file("a", tmp_path / "source", "text/plain")
    with pytest.raises(StoreFull):
        store.put_bytes("a", b"data", "text/plain")
    with pytest.raises(StoreFull):
        asyncio.run(store.receive_part(grant(upload_id, 4), body(b"data")))
    monkeypatch.undo()
    assert store.head("a") is None
    assert list(store.list_parts("m", upload_id)) == []
    assert leftovers(store) == []


def test_broken_disk(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(StoreUnavailable):
        store.put_bytes("a", b"data", "text/plain")


def test_join_where_the_kernel_cannot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some file systems refuse copy_file_range, some after the first stretch."""
    parts = [tmp_path / "1", tmp_path / "2"]
    parts[0].write_bytes(b"first part")
    parts[1].write_bytes(b"second")
    real, calls = os.copy_file_range, 0

    def sometimes(source: int, target: int, count: int) -> int:
        nonlocal calls
        calls += 1
        if calls == 1:
            return real(source, target, 4)
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "copy_file_range", sometimes)
    durable.join_files(parts, tmp_path / "joined")
    assert (tmp_path / "joined").read_bytes() == b"first partsecond"


async def test_part_in_many_chunks(store: LocalStore) -> None:
    upload_id = store.create_multipart("m", "video/mp4")
    data = bytes(range(256)) * 12_000
    chunks = [data[start : start + 65_536] for start in range(0, len(data), 65_536)]
    assert await store.receive_part(grant(upload_id, len(data)), body(*chunks)) == md5(data)
    part = Part(number=1, size_bytes=len(data), etag=md5(data))
    assert list(store.list_parts("m", upload_id)) == [part]
    info = await asyncio.to_thread(store.complete_multipart, "m", upload_id, [part])
    assert info.etag.endswith("-1")
    assert store.get_bytes("m") == data
    assert leftovers(store) == []


@pytest.mark.parametrize("data", [b"", b"123", b"12345"])
async def test_body_of_another_length(store: LocalStore, data: bytes) -> None:
    upload_id = store.create_multipart("m", "video/mp4")
    with pytest.raises(LengthMismatch):
        await store.receive_part(grant(upload_id, 4), body(data))
    assert list(store.list_parts("m", upload_id)) == []
    assert leftovers(store) == []


async def test_long_body_is_cut_off_at_once(store: LocalStore) -> None:
    upload_id = store.create_multipart("m", "video/mp4")
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1
            yield b"x" * 1000

    with pytest.raises(LengthMismatch):
        await store.receive_part(grant(upload_id, 2500), endless())
    assert sent == 3


async def test_upload_that_ends_while_its_part_is_sent(store: LocalStore) -> None:
    upload_id = store.create_multipart("m", "video/mp4")

    async def chunks() -> AsyncIterator[bytes]:
        yield b"ab"
        store.abort_multipart("m", upload_id)
        yield b"cd"

    with pytest.raises(UploadMissing):
        await store.receive_part(grant(upload_id, 4), chunks())
    for unknown in (upload_id, "0" * 32, "../../etc"):
        with pytest.raises(UploadMissing):
            await store.receive_part(grant(unknown, 4), body(b"abcd"))
    assert leftovers(store) == []


async def test_client_that_goes_away(store: LocalStore) -> None:
    upload_id = store.create_multipart("m", "video/mp4")
    started = asyncio.Event()

    async def stalled() -> AsyncIterator[bytes]:
        yield b"x" * (2 << 20)
        started.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(store.receive_part(grant(upload_id, 4 << 20), stalled()))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert leftovers(store) == []
    assert list(store.list_parts("m", upload_id)) == []


async def test_one_part_sent_many_times_at_once(store: LocalStore) -> None:
    upload_id = store.create_multipart("m", "video/mp4")
    bodies = [bytes([65 + n]) * 4 for n in range(6)]
    await asyncio.gather(*(store.receive_part(grant(upload_id, 4), body(data)) for data in bodies))
    (part,) = store.list_parts("m", upload_id)
    assert part.etag in {md5(data) for data in bodies}
    await asyncio.to_thread(store.complete_multipart, "m", upload_id, [part])
    assert md5(store.get_bytes("m")) == part.etag


async def test_completions_at_once(store: LocalStore) -> None:
    upload_id = store.create_multipart("m", "video/mp4")
    parts = []
    for number, data in enumerate((b"one", b"two", b"three"), 1):
        etag = await store.receive_part(grant(upload_id, len(data), number), body(data))
        parts.append(Part(number=number, size_bytes=len(data), etag=etag))
    infos = await asyncio.gather(
        *(asyncio.to_thread(store.complete_multipart, "m", upload_id, parts) for _ in range(6))
    )
    assert len(set(infos)) == 1
    assert store.get_bytes("m") == b"onetwothree"
    assert leftovers(store) == []


def test_sweep_takes_only_what_is_old(store: LocalStore) -> None:
    scratch = store._root / "tmp"
    (scratch / "dead.tmp").write_bytes(b"x")
    (scratch / "dead.old").mkdir()
    (scratch / "dead.old" / "part").write_bytes(b"x")
    (scratch / "alive.tmp").write_bytes(b"x")
    for name in ("dead.tmp", "dead.old"):
        os.utime(scratch / name, (1000, 1000))
    assert store.sweep(2000.0) == 2
    assert leftovers(store) == ["alive.tmp"]


def test_open_by_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SECRET_VARIABLE, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    url = f"file://{tmp_path}/my%20store"
    first, second = open_store(url, "http://a"), open_store(url, "http://a")
    assert isinstance(first, LocalStore)
    assert first.sign_get("k", 60).url.split("&")[1:] == second.sign_get("k", 60).url.split("&")[1:]
    secret = tmp_path / "my store" / "secret"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert len(secret.read_bytes()) == 32
    assert [path.name for path in (tmp_path / "my store").glob("*.tmp")] == []
    assert isinstance(open_store("s3://bucket/pre?region=eu-central-1&endpoint=http://127.0.0.1:9"), S3Store)


@pytest.mark.parametrize(
    "url", ["", "/tmp/x", "file://", "file://host/x", "s3://", "s3://b?regoin=x", "s3://b?x", "ftp://b"]
)
def test_urls_that_name_no_store(url: str) -> None:
    with pytest.raises(StoreRefused, match="store URL"):
        open_store(url)


def test_secret_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in ("xyz", "ab" * 31):
        monkeypatch.setenv(SECRET_VARIABLE, wrong)
        with pytest.raises(StoreRefused, match=SECRET_VARIABLE):
            open_store(f"file://{tmp_path}/s")
    monkeypatch.setenv(SECRET_VARIABLE, "ab" * 32)
    given = open_store(f"file://{tmp_path}/s").sign_tree("a/", 60)  # type: ignore[attr-defined]
    same = LocalStore(tmp_path / "s", "", b"\xab" * 32).sign_tree("a/", 60)
    # The clock may tick between the two; the signature is compared when it did not.
    assert given.url == same.url or given.expires_at != same.expires_at
    assert not (tmp_path / "s" / "secret").exists()
