"""The proofs of the corpus run can fail: opens and connections are counted, bait lies where sources are staged."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.bait import BaitBook, Listeners, Opens, made_bait
from cluster import layout
from cluster.staging import Staging
from gateway.upload_book import OpenUpload

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="watches with inotify")


def eventually(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.01)
    return holds()


def test_neighbours_are_laid_beside_the_staged_source_and_watched(tmp_path: Path) -> None:
    originals, opens = tmp_path / "originals", Opens()
    originals.mkdir()
    (originals / "neighbour.mp4").write_bytes(b"film")
    staging = Staging(tmp_path / "staging", 1 << 20)
    book = BaitBook(tmp_path / "book", staging, opens, originals, ["neighbour.mp4", "absent.ts"])
    book.put("key", OpenUpload(upload_id="u", video_id="v", part_size_bytes=1, part_count=1))
    beside = staging.entry_of(layout.source_key("v"))
    assert opens.watched == 2
    assert not opens.seen()
    assert (beside / "neighbour.mp4").read_bytes() == (beside / "absent.ts").read_bytes() == b"film"
    assert opens.seen() == {beside / "neighbour.mp4": 1, beside / "absent.ts": 1}
    assert book.find("key") is not None
    opens.close()


def test_connections_are_counted_and_ports_that_are_taken_are_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        with Listeners([taken]) as listeners:
            assert listeners.refused == [taken]
            assert listeners.ports == [listeners.own_port]
            assert listeners.connections.total() == 0
            socket.create_connection(("127.0.0.1", listeners.own_port)).close()
            assert eventually(lambda: listeners.connections == {listeners.own_port: 1})


def test_made_bait_names_the_secret_and_the_port(tmp_path: Path) -> None:
    texts = [path.read_text() for path in made_bait(tmp_path / "made", tmp_path / "secret.mp4", 4711)]
    assert len(texts) >= 5
    assert all("4711" in text for text in texts)
    assert sum(str(tmp_path / "secret.mp4") in text for text in texts) >= 2
