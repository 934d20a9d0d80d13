"""A source comes to a node once, is kept while leased, and goes when the budget asks for it."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import threading
from pathlib import Path

import pytest

from cluster.errors import ObjectMissing
from cluster.staging import Staging
from cluster.storage.base import ObjectInfo


class CountingStore:
    """Only what staging asks of a store; counts fetches."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        self.objects = objects
        self.fetched: list[str] = []

    def head(self, key: str) -> ObjectInfo | None:
        data = self.objects.get(key)
        if data is None:
            return None
        return ObjectInfo(key=key, size_bytes=len(data), etag="", content_type="")

    def get_file(self, key: str, path: Path) -> None:
        if key not in self.objects:
            raise ObjectMissing(key)
        self.fetched.append(key)
        path.write_bytes(self.objects[key])


def test_a_source_is_fetched_once_and_hashed(tmp_path: Path) -> None:
    store = CountingStore({"a": b"picture"})
    staging = Staging(tmp_path, budget_bytes=100)
    for _ in range(3):
        with staging.lease(store, "a") as staged:  # type: ignore[arg-type]
            assert staged.path.read_bytes() == b"picture"
            assert staged.sha256 == hashlib.sha256(b"picture").hexdigest()
    assert store.fetched == ["a"]


def test_workers_that_come_at_once_fetch_once(tmp_path: Path) -> None:
    store = CountingStore({"a": b"x" * 1000})
    staging = Staging(tmp_path, budget_bytes=10_000)
    start = threading.Barrier(6)

    def work() -> None:
        start.wait()
        with staging.lease(store, "a") as staged:  # type: ignore[arg-type]
            assert staged.size_bytes == 1000

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.fetched == ["a"]


def test_the_least_recently_used_goes_first_and_a_leased_one_stays(tmp_path: Path) -> None:
    store = CountingStore({name: name.encode() * 40 for name in "abc"})
    staging = Staging(tmp_path, budget_bytes=100)
    with staging.lease(store, "a"):  # type: ignore[arg-type]
        with staging.lease(store, "b"):  # type: ignore[arg-type]
            pass
        with staging.lease(store, "c"):  # type: ignore[arg-type]
            pass
    with staging.lease(store, "a"):  # type: ignore[arg-type]
        pass
    assert store.fetched == ["a", "b", "c"]
    with staging.lease(store, "b"):  # type: ignore[arg-type]
        pass
    assert store.fetched == ["a", "b", "c", "b"]


def test_a_missing_object_leaves_nothing_that_looks_staged(tmp_path: Path) -> None:
    store = CountingStore({})
    staging = Staging(tmp_path, budget_bytes=100)
    with pytest.raises(ObjectMissing), staging.lease(store, "a"):  # type: ignore[arg-type]
        pass
    store.objects["a"] = b"late"
    with staging.lease(store, "a") as staged:  # type: ignore[arg-type]
        assert staged.path.read_bytes() == b"late"


def _lease_for_ever(folder: Path, ready: multiprocessing.synchronize.Event) -> None:
    with Staging(folder, 100).lease(CountingStore({"a": b"12345"}), "a"):  # type: ignore[arg-type]
        ready.set()
        threading.Event().wait()


def test_a_killed_holder_leases_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    holder = context.Process(target=_lease_for_ever, args=(tmp_path, ready))
    holder.start()
    assert ready.wait(30)
    staging = Staging(tmp_path, budget_bytes=0)
    assert staging.evict() == 0
    assert holder.pid is not None
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    assert staging.evict() == 5
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_fetch_left_goes_and_a_fetch_under_way_stays(tmp_path: Path) -> None:
    staging = Staging(tmp_path, budget_bytes=10_000)
    for name in ("broken", "fresh"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "source").write_bytes(b"half")
        (tmp_path / name / "lease").touch()
    for path in (tmp_path / "broken" / "source", tmp_path / "broken" / "lease", tmp_path / "broken"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    staging.evict()
    assert {path.name for path in tmp_path.iterdir()} == {"fresh"}
