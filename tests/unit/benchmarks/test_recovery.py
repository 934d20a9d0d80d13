"""How a recovery is read off the begins and ends of simulated tasks."""

from __future__ import annotations

import math

from benchmarks.simulated_workers import Change, back_at, level_before, source_of

CHANGES = [
    Change(at=0.0, busy=1, task_id="a", attempt=1),
    Change(at=1.0, busy=2, task_id="b", attempt=1),
    Change(at=9.0, busy=1, task_id="a", attempt=1),
    Change(at=10.0, busy=2, task_id="c", attempt=1),
    Change(at=20.0, busy=1, task_id="b", attempt=1),
    Change(at=21.0, busy=0, task_id="c", attempt=1),
    Change(at=24.0, busy=1, task_id="d", attempt=1),
    Change(at=25.0, busy=2, task_id="e", attempt=1),
]


def test_the_level_is_the_median_by_time() -> None:
    assert level_before(CHANGES, 11.0, 10.0) == 2
    assert level_before(CHANGES, 10.0, 1.5) == 1
    assert level_before([], 5.0, 1.0) == 0


def test_back_is_when_new_work_has_filled_the_slots_again() -> None:
    assert back_at(CHANGES, 15.0, 2) == 25.0
    assert back_at(CHANGES, 15.0, 1) == 24.0, "what merely went on is no recovery"
    assert back_at(CHANGES, 15.0, 3) == math.inf


def test_a_simulated_source_is_the_same_each_time() -> None:
    assert source_of("j1", 8.0) == source_of("j1", 8.0)
    assert source_of("j1", 8.0) != source_of("j2", 8.0)
