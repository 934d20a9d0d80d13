"""Steps of a job, from the rows of its tasks."""

from __future__ import annotations

import pytest

from cluster.metadata.schema import Task
from gateway.job_report import step_times


def task(kind: str, started_at: float | None, finished_at: float | None, engine_s: float | None = None) -> Task:
    return Task(id=f"{kind}{started_at}", kind=kind, started_at=started_at, finished_at=finished_at, engine_s=engine_s)


def test_steps_span_all_their_tasks_in_the_order_of_their_begin() -> None:
    steps = step_times(
        [
            task("package", 30.0, 33.0, 2.5),
            task("segment", 12.0, 20.0, 7.0),
            task("segment", 11.0, 29.0, 17.0),
            task("inspect", 10.0, 11.0, 0.5),
        ]
    )
    assert [(step.step, step.tasks, step.wall_s, step.engine_s) for step in steps] == [
        ("inspect", 1, 1.0, 0.5),
        ("segment", 2, 18.0, 24.0),
        ("package", 1, 3.0, 2.5),
    ]


def test_tasks_that_never_ran_are_left_out() -> None:
    assert step_times([task("segment", None, None), task("audio", 1.0, None)]) == []


def test_work_that_was_not_measured_counts_as_none() -> None:
    (step,) = step_times([task("inspect", 1.0, 2.0)])
    assert step.engine_s == pytest.approx(0.0)
