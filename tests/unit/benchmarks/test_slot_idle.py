"""What counts as a pause of a slot."""

from __future__ import annotations

import pytest

from benchmarks.farm_log import Attempt, FarmLog
from benchmarks.slot_idle import SlotIdle, pauses


def attempt(task: str, worker: str, started_at: float, wall_s: float, ended_at: float) -> Attempt:
    return Attempt(task=task, number=1, worker=worker, started_at=started_at, wall_s=wall_s, ended_at=ended_at)


def test_a_pause_is_what_lies_between_two_starts_beyond_the_first_task() -> None:
    log = FarmLog(claimed_at={"a": 0.0})
    log.attempts = [
        attempt("a/inspect", "w0", 1.0, 0.9, 2.0),
        attempt("a/segment/00000", "w0", 2.0, 2.8, 5.0),
        attempt("a/segment/00001", "w1", 2.0, 1.0, 3.5),
        attempt("a/segment/00002", "w0", 5.25, 1.0, 6.5),
        attempt("a/package", "w1", 9.0, 1.0, 10.0),
    ]
    # Segment 0 became ready with the inspection's end, so w0 did not keep it waiting; packaging waited for segment 2.
    assert pauses(log) == [pytest.approx(5.25 - 2.0 - 2.8)]


def test_a_task_that_was_not_done_tells_no_pause() -> None:
    log = FarmLog(claimed_at={"a": 0.0})
    log.attempts = [attempt("a/inspect", "w0", 1.0, 0.9, 2.0), attempt("a/segment/00000", "w0", 3.0, 0.0, 5.0)]
    log.attempts += [attempt("a/segment/00001", "w0", 6.0, 1.0, 8.0)]
    assert pauses(log) == []


def test_percentiles_are_of_the_pauses() -> None:
    found = SlotIdle(slots=1, tasks=3, pauses_s=(1.0, 2.0, 9.0))
    assert (found.percentile_s(0.0), found.percentile_s(0.5), found.percentile_s(1.0)) == (1.0, 2.0, 9.0)
