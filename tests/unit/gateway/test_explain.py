"""Explanations: the scheduler's where there is one, else what the queue shows."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.metadata.schema import Job
from gateway.explain import from_dispatcher, from_queue


def job(state: str = "queued", paused: bool = False) -> Job:
    return Job(id="a" * 32, state=state, tier="free", paused=paused)


def told(**more: Any) -> dict[str, Any]:
    """What a dispatcher publishes at about 1000 s."""
    interval = {"earliest": 1010.0, "at": 1020.0, "latest": 1050.0}
    given = {"job_id": "a" * 32, "state": "queued", "tier": "free", "position": 1, "jobs_ahead": 2, "ahead_s": 8.5}
    return given | {"rule": "fair_share", "sentence": "Others go first.", "start": interval, "end": interval} | more


def test_a_waiting_job_has_a_place_a_reason_and_an_estimate_from_now() -> None:
    answer = from_dispatcher(job(), told(), 1000.0)
    assert (answer.position, answer.reason, answer.estimate_s) == (3, "Others go first.", 20.0)
    assert answer.details["rule"] == "fair_share"


def test_a_running_job_has_no_place() -> None:
    assert from_dispatcher(job("running"), told(rule="running"), 1000.0).position is None


def test_a_claimed_job_that_waits_has_a_place() -> None:
    assert from_dispatcher(job("running"), told(rule="own_jobs"), 1000.0).position == 3


def test_where_nothing_can_run_it_there_is_no_estimate() -> None:
    assert from_dispatcher(job(), told(rule="no_worker", start=None, end=None), 1000.0).estimate_s is None


@pytest.mark.parametrize(
    ("row", "ahead", "position", "says"),
    [
        (job(), 0, 1, "No earlier job"),
        (job(), 1, 2, "1 earlier job of"),
        (job(), 7, 8, "7 earlier jobs"),
        (job(paused=True), 0, None, "paused"),
        (job("running"), 0, None, "claimed"),
    ],
)
def test_without_a_dispatcher_the_queue_is_told(row: Job, ahead: int, position: int | None, says: str) -> None:
    answer = from_queue(row, ahead, {("free", "queued"): 8, ("paid", "running"): 1})
    assert answer.position == position
    assert says in answer.reason
    assert answer.estimate_s is None
