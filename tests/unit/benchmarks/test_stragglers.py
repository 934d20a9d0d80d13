"""Stragglers: who is slowed, when, and until when; and afterwards, which should have had a twin."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import stragglers as module
from benchmarks.stragglers import CRAWLING, FEW_JOBS, Stragglers, at_work, unanswered
from cluster.errors import DatabaseUnavailable
from cluster.processes import ProcessInfo

FORK_SERVER = "python -P -m encoders.forkserver 7"
ROWS = [
    ProcessInfo(10, 1, "S", "ray::SlotHolder"),
    ProcessInfo(11, 10, "S", FORK_SERVER),
    ProcessInfo(12, 11, "R", FORK_SERVER),
    ProcessInfo(13, 11, "Z", FORK_SERVER),
    ProcessInfo(20, 1, "S", "ray::SlotHolder"),
    ProcessInfo(21, 20, "S", FORK_SERVER),
    ProcessInfo(22, 21, "R", FORK_SERVER),
]
TABLE = {info.pid: info for info in ROWS}
TASK = "k/segment/00001"


def test_a_workers_confined_children_are_slowed_and_neither_it_nor_its_fork_server_nor_those_of_others() -> None:
    assert at_work(10, TABLE) == [12]


class Farm:
    """A farm's log, and a queue that runs dry as time passes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.jobs = 9
        self.slowed: list[tuple[int, float, int]] = []
        (root / "logs").mkdir()
        self.log(0.0, "worker_joined", worker="a-1", pid=10)
        self.log(0.0, "worker_joined", worker="b-1", pid=20)

    def log(self, at: float, event: str, name: str = "dispatcher", **more: Any) -> None:
        """What a dispatcher tells."""
        line = {"timestamp": datetime.fromtimestamp(at, UTC).isoformat(), "event": event, **more}
        with (self.root / "logs" / f"{name}.log").open("a") as log:
            log.write(json.dumps(line) + "\n")

    def starts(self, at: float, worker: str, task: str, attempt: int = 1, **more: Any) -> None:
        self.log(at, "task_started", worker=worker, task=task, attempt=attempt, **{"timeout_s": 60, **more})

    def done(self, at: float, task: str, attempt: int = 1) -> None:
        self.log(at, "task_done", task=task, attempt=attempt)

    def slow(self, until: float) -> None:
        (self.root / "stragglers.jsonl").write_text(json.dumps({"task": TASK, "attempt": 1, "until": until}) + "\n")

    def look(self) -> tuple[int, list[str]]:
        return unanswered(self.root, self.root)


@pytest.fixture
def farm(tmp_path: Path) -> Farm:
    return Farm(tmp_path)


@pytest.fixture
def straggling(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], bool]:
    """Slows segments; the n-th gets a twin."""

    def sleep(_: float) -> None:
        farm.jobs -= 1

    def live_jobs(_: str) -> list[int]:
        if farm.jobs == 7:
            raise DatabaseUnavailable("gone")
        return [0] * farm.jobs

    def slow_down(worker: int, pace: float, _: float, over: Callable[[], bool]) -> None:
        assert not over()
        farm.slowed.append((worker, pace, farm.jobs))
        farm.jobs -= 1
        if len(farm.slowed) == twin_at[0]:
            farm.starts(20.0, "a-1", TASK, 2, twin=True)
            farm.log(30.0, "task_failed", task=TASK, attempt=1, code="stopped")
            assert over()

    twin_at = [0]
    monkeypatch.setattr(module, "time", SimpleNamespace(sleep=sleep))
    monkeypatch.setattr(module, "process_table", lambda: TABLE)
    monkeypatch.setattr(module, "workers", lambda: [TABLE[10], TABLE[20]])
    monkeypatch.setattr(module, "live_jobs", live_jobs)
    monkeypatch.setattr(module, "slow_down", slow_down)

    def run(at: int) -> bool:
        twin_at[0] = at
        return Stragglers(farm.root, "", random.Random(1), farm.root).until_a_twin(lambda: farm.jobs <= 0)

    return run


def test_who_encodes_is_slowed_when_few_jobs_are_left_until_its_twin_has_won(
    farm: Farm, straggling: Callable[[int], bool]
) -> None:
    farm.starts(1.0, "a-1", "j/package")
    farm.starts(1.0, "b-1", TASK)
    assert straggling(1)
    assert farm.slowed == [(20, CRAWLING, FEW_JOBS)]
    (noted,) = (farm.root / "stragglers.jsonl").read_text().splitlines()
    assert json.loads(noted)["task"] == TASK


def test_another_try_follows_while_no_twin_has_started_and_work_is_left(
    farm: Farm, straggling: Callable[[int], bool]
) -> None:
    farm.starts(1.0, "b-1", TASK)
    assert not straggling(99)
    assert [jobs for _, _, jobs in farm.slowed] == [3, 2, 1]


@pytest.mark.parametrize(
    ("other", "attempt", "timeout_s"),
    [
        pytest.param("k/segment/00002", 1, 600, id="nobody knows its cost"),
        pytest.param("k/segment/00002", 2, 60, id="it has failed elsewhere"),
        pytest.param("k/audio/audio", 1, 60, id="sound"),
    ],
)
def test_nobody_is_slowed_whose_segment_is_over_or_who_might_have_no_twin(
    farm: Farm, straggling: Callable[[int], bool], other: str, attempt: int, timeout_s: int
) -> None:
    farm.starts(1.0, "a-1", TASK)
    farm.done(2.0, TASK)
    farm.starts(1.0, "b-1", other, attempt, timeout_s=timeout_s)
    assert not straggling(1)
    assert farm.slowed == []


def overdue(farm: Farm) -> None:
    """A segment on b-1 that takes from 10 to 60 s; its p95 is over at 25 s, and a-1 has just done something."""
    farm.starts(5.0, "a-1", "j/package")
    farm.done(12.0, "j/package")
    farm.starts(10.0, "b-1", TASK)
    farm.slow(60.0)


def test_a_straggler_beside_an_idle_worker_must_have_had_a_twin(farm: Farm) -> None:
    overdue(farm)
    answered, (told,) = farm.look()
    assert answered == 0
    assert "a-1" in told


@pytest.mark.parametrize(
    "excuse",
    [
        pytest.param(lambda farm: farm.starts(13.0, "a-1", "j/segment/0"), id="the other was busy"),
        pytest.param(
            lambda farm: farm.log(40.0, "worker_lost", worker="a-1", reason="killed"), id="the other was lost"
        ),
        pytest.param(lambda farm: farm.log(20.0, "leading", "standby"), id="another leader, who knows no costs yet"),
        pytest.param(lambda farm: farm.slow(44.0), id="it was overdue for a moment only"),
        pytest.param(lambda farm: farm.done(44.0, TASK), id="it was done soon"),
        pytest.param(
            lambda farm: (
                farm.starts(13.0, "a-1", "j/segment/0"),
                farm.log(14.0, "task_failed", task="j/segment/0", attempt=1, code="worker_lost"),
            ),
            id="the other may be out",
        ),
    ],
)
def test_without_an_idle_worker_for_some_time_nobody_could_have_started_one(
    farm: Farm, excuse: Callable[[Farm], object]
) -> None:
    overdue(farm)
    excuse(farm)
    assert farm.look() == (0, [])


def twinned(farm: Farm, **encoded_at: float) -> None:
    overdue(farm)
    farm.starts(26.0, "a-1", TASK, 2, twin=True)
    farm.done(30.0, TASK, 2)
    farm.log(31.0, "task_failed", task=TASK, attempt=1, code="stopped")
    lines = [{"task": TASK, "attempt": int(name[1:]), "at": at} for name, at in encoded_at.items()]
    (farm.root / "logs" / "encodes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_a_twin_that_won_is_counted(farm: Farm) -> None:
    twinned(farm, a2=30.0)
    assert farm.look() == (1, [])


def test_both_may_finish_in_the_same_moment(farm: Farm) -> None:
    twinned(farm, a1=31.0, a2=30.0)
    assert farm.look() == (1, [])


def test_a_loser_that_went_on_is_told(farm: Farm) -> None:
    twinned(farm, a1=75.0, a2=30.0)
    answered, (told,) = farm.look()
    assert answered == 1
    assert "attempt 1 went on" in told


def test_a_pair_of_which_none_was_done_is_told(farm: Farm) -> None:
    overdue(farm)
    farm.starts(26.0, "a-1", TASK, 2, twin=True)
    _, (told,) = farm.look()
    assert "never done" in told
