"""The straggler after a storm: who is slowed, when, and until when."""

from __future__ import annotations

import json
import random
import sqlite3
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import storm as module
from benchmarks.storm import Storm
from benchmarks.stragglers import CRAWLING
from cluster.processes import ProcessInfo

FORK_SERVER = "python -P -m encoders.forkserver 7"
TABLE = {
    info.pid: info
    for worker in (10, 20)
    for info in (
        ProcessInfo(worker, 1, "S", "ray::SlotHolder"),
        ProcessInfo(worker + 1, worker, "S", FORK_SERVER),
        ProcessInfo(worker + 2, worker + 1, "R", FORK_SERVER),
    )
}


class Calm:
    """A farm after a storm, with a queue that runs dry as time passes."""

    def __init__(self, root: Path, jobs: int) -> None:
        self.root = root
        self.jobs = jobs
        self.slowed: list[tuple[int, float, int]] = []
        (root / "logs").mkdir()
        with closing(sqlite3.connect(root / "farm.db")) as database:
            database.execute("CREATE TABLE jobs (state TEXT)")
            database.executemany("INSERT INTO jobs VALUES ('queued')", [()] * jobs)
            database.commit()

    def log(self, *lines: dict[str, Any]) -> None:
        """What the dispatcher tells."""
        with (self.root / "logs" / "dispatcher.log").open("a") as log:
            log.writelines(json.dumps({"timestamp": "2026-01-01T00:00:00+00:00"} | line) + "\n" for line in lines)

    def sleep(self, _: float) -> None:
        """Time passes and a job is done."""
        with closing(sqlite3.connect(self.root / "farm.db")) as database:
            database.execute("DELETE FROM jobs WHERE rowid = (SELECT max(rowid) FROM jobs)")
            database.commit()
        self.jobs -= 1


@pytest.fixture
def calm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Calm:
    calm = Calm(tmp_path, 9)
    calm.log(
        {"event": "worker_joined", "worker": "a-1", "pid": 10},
        {"event": "worker_joined", "worker": "b-1", "pid": 20},
        {"event": "task_started", "task": "j/package", "attempt": 1, "worker": "a-1"},
        {"event": "task_started", "task": "k/segment/00001", "attempt": 1, "worker": "b-1"},
    )
    monkeypatch.setattr(module, "time", SimpleNamespace(sleep=calm.sleep))
    monkeypatch.setattr(module, "process_table", lambda: TABLE)
    monkeypatch.setattr(module, "descendants", lambda _: list(TABLE.values()))
    return calm


def straggle(calm: Calm, monkeypatch: pytest.MonkeyPatch, *, twin_at: int) -> None:
    """Until the n-th slow worker gets a twin."""

    def slow_down(worker: int, pace: float, _: float, enough: Any) -> None:
        assert not enough()
        calm.slowed.append((worker, pace, calm.jobs))
        if len(calm.slowed) == twin_at:
            calm.log({"event": "task_started", "task": "k/segment/00001", "attempt": 2, "worker": "a-1", "twin": True})
            assert enough()

    monkeypatch.setattr(module, "slow_down", slow_down)
    storm = object.__new__(Storm)
    storm.farm = SimpleNamespace(cluster=SimpleNamespace(root=calm.root))  # type: ignore[assignment]
    storm.random = random.Random(1)
    storm.straggle(lambda: calm.jobs == 0)


def test_who_encodes_is_slowed_when_few_jobs_are_left_however_long_that_takes(
    calm: Calm, monkeypatch: pytest.MonkeyPatch
) -> None:
    straggle(calm, monkeypatch, twin_at=1)
    assert calm.slowed == [(20, CRAWLING, module.FEW_JOBS)]


def test_another_try_follows_while_no_twin_has_started_and_work_is_left(
    calm: Calm, monkeypatch: pytest.MonkeyPatch
) -> None:
    straggle(calm, monkeypatch, twin_at=99)
    assert [jobs for _, _, jobs in calm.slowed] == [3, 2, 1]


def test_a_storm_knows_the_names_of_its_faults(tmp_path: Path) -> None:
    nothing: Any = None
    with pytest.raises(ValueError, match="no fault meteor"):
        Storm(nothing, nothing, nothing, tmp_path, 1, (1.0, 2.0), print, only=("kill_worker", "meteor"))
