"""What counts as a repeated encode after a storm, and a store that fails as it is told."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from benchmarks import aftermath, faulty_store
from benchmarks.faulty_store import corrupt_next, corrupted, landed, set_mode, spoil
from cluster.errors import StoreFull, StoreUnavailable
from cluster.storage.local import LocalStore

RECORD = "work/v/k/segment-00000.json"


def write_logs(root: Path, encoded: list[tuple[int, float]], begun: dict[int, float]) -> None:
    """Logs of one task: (attempt, when its record landed), and when attempts began."""
    (root / "logs").mkdir()
    lines = [
        {"at": at, "event": "encoded", "record": RECORD, "task": "j/segment/0", "attempt": attempt}
        for attempt, at in encoded
    ]
    (root / "logs" / "encodes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    told: list[dict[str, Any]] = [
        {
            "event": "task_started",
            "task": "j/segment/0",
            "attempt": attempt,
            "timestamp": datetime.fromtimestamp(at, UTC).isoformat(),
        }
        for attempt, at in begun.items()
    ]
    text = "Killed by a storm\n" + "".join(json.dumps(line) + "\n" for line in told)
    (root / "logs" / "dispatcher.log").write_text(text)


def test_an_attempt_that_began_after_the_record_landed_is_a_repetition(tmp_path: Path) -> None:
    write_logs(tmp_path, [(1, 100.0), (2, 130.0)], {1: 90.0, 2: 110.0})
    assert len(aftermath.repeated_encodes(tmp_path)) == 1
    assert aftermath.encodes(tmp_path) == (1, 1)


def test_attempts_that_were_under_way_at_once_are_none(tmp_path: Path) -> None:
    write_logs(tmp_path, [(1, 100.0), (2, 101.0)], {1: 90.0, 2: 95.0})
    assert aftermath.repeated_encodes(tmp_path) == []


def test_the_store_fails_in_the_way_and_for_the_time_that_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Spoiled(LocalStore):
        pass

    spoil(Spoiled)
    monkeypatch.setenv("REELMILL_FAULTS", str(tmp_path))
    monkeypatch.setattr(faulty_store, "SLOW_S", 0.0)
    store = Spoiled(tmp_path / "objects", "", b"s" * 32)
    store.put_bytes("a", b"1", "text/plain")
    set_mode(tmp_path, "away", 60.0)
    with pytest.raises(StoreUnavailable):
        store.get_bytes("a")
    set_mode(tmp_path, "full", 60.0)
    assert store.get_bytes("a") == b"1"
    with pytest.raises(StoreFull):
        store.put_bytes("b", b"1", "text/plain")
    set_mode(tmp_path, "away", -1.0)
    assert store.get_bytes("a") == b"1"


def test_one_media_segment_is_changed_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Spoiled(LocalStore):
        pass

    spoil(Spoiled)
    monkeypatch.setenv("REELMILL_FAULTS", str(tmp_path))
    store = Spoiled(tmp_path / "objects", "", b"s" * 32)
    piece = tmp_path / "piece.m4s"
    piece.write_bytes(b"abcdefgh")
    corrupt_next(tmp_path)
    for key in ("list.m3u8", "1.m4s", "2.m4s"):
        store.put_file(key, piece, "video/mp4")
    kept = [store.get_bytes(key) for key in ("list.m3u8", "1.m4s", "2.m4s")]
    assert [data == b"abcdefgh" for data in kept] == [True, False, True]
    assert corrupted(tmp_path) == 1
    assert piece.read_bytes() == b"abcdefgh"


def test_records_that_land_are_noted_and_an_attempt_that_began_later_is_a_repetition(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the worker that finished it was killed before it could tell."""

    class Spoiled(LocalStore):
        pass

    spoil(Spoiled)
    monkeypatch.setenv("REELMILL_FAULTS", str(tmp_path))
    store = Spoiled(tmp_path / "objects", "", b"s" * 32)
    store.put_bytes("assets/v/k/init.mp4", b"1", "video/mp4")
    assert landed(tmp_path) == 0
    before = datetime.now(UTC).timestamp()
    store.put_bytes(RECORD, b"{}", "application/json")
    assert landed(tmp_path) == 1
    write_logs(tmp_path, [(2, before + 9.0)], {1: before - 5.0, 2: before + 5.0})
    assert len(aftermath.repeated_encodes(tmp_path, tmp_path)) == 1
    assert aftermath.repeated_encodes(tmp_path) == []


def test_an_attempt_that_nobody_has_started_is_told(tmp_path: Path) -> None:
    write_logs(tmp_path, [(3, 100.0)], {1: 90.0})
    (told,) = aftermath.repeated_encodes(tmp_path)
    assert "unseen" in told


def test_tasks_that_got_no_session_and_those_of_them_that_were_done_later_are_counted(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    refused = {"event": "task_failed", "code": "encode_sessions_exhausted"}
    for name, lines in {
        "dispatcher.log": [
            refused | {"task": "j/segment/0"},
            refused | {"task": "j/segment/0"},
            {"event": "task_failed", "code": "store_full", "task": "j/segment/1"},
            refused | {"task": "j/segment/2"},
        ],
        "standby.log": [{"event": "task_done", "task": "j/segment/0"}, {"event": "task_done", "task": "j/segment/1"}],
    }.items():
        (tmp_path / "logs" / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert aftermath.sessions_wanted_again(tmp_path) == (2, 1)


def test_a_bugs_500_and_an_answer_that_names_no_time_to_come_back_are_told(tmp_path: Path) -> None:
    assert aftermath.unkind_answers(tmp_path, {"200": 3, "503 with Retry-After": 9, "unreachable": 1}) == []
    (tmp_path / "logs").mkdir()
    lines = [
        {"event": "problem", "status": 503, "path": "/v1/videos", "error_id": "a"},
        {"event": "problem", "status": 500, "path": "/v1/uploads", "error_id": "b"},
    ]
    (tmp_path / "logs" / "gateway.log").write_text("".join(json.dumps(line) + "\n" for line in lines))
    without_a_time, bug = aftermath.unkind_answers(tmp_path, {"503": 1})
    assert without_a_time.endswith("answered 503")
    assert "/v1/uploads" in bug
