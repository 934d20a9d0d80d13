"""Every state has its row: what is not in the table is refused."""

from __future__ import annotations

import itertools

import pytest

from scheduler.jobs import JobState, TaskState
from scheduler.transitions import (
    JOB_ENDS,
    JOB_TABLE,
    TASK_ENDS,
    TASK_TABLE,
    IllegalTransition,
    JobEvent,
    TaskEvent,
    next_job_state,
    next_task_state,
)


@pytest.mark.parametrize(("state", "event"), list(itertools.product(JobState, JobEvent)))
def test_jobs_follow_their_table(state: JobState, event: JobEvent) -> None:
    if (state, event) in JOB_TABLE:
        assert next_job_state(state, event) is JOB_TABLE[(state, event)]
    else:
        with pytest.raises(IllegalTransition, match=f"{state}.*{event}"):
            next_job_state(state, event)


@pytest.mark.parametrize(("state", "event"), list(itertools.product(TaskState, TaskEvent)))
def test_tasks_follow_their_table(state: TaskState, event: TaskEvent) -> None:
    if (state, event) in TASK_TABLE:
        assert next_task_state(state, event) is TASK_TABLE[(state, event)]
    else:
        with pytest.raises(IllegalTransition, match=f"{state}.*{event}"):
            next_task_state(state, event)


def test_a_job_that_is_over_stays_over() -> None:
    assert not [pair for pair in JOB_TABLE if pair[0] in JOB_ENDS]


def test_a_task_that_ended_stays_so_unless_its_encoder_changed() -> None:
    assert [pair for pair in TASK_TABLE if pair[0] in TASK_ENDS] == [(TaskState.DONE, TaskEvent.REOPENED)]


def test_every_task_state_can_be_reached_and_every_live_one_left() -> None:
    reached = {TaskState.BLOCKED, *TASK_TABLE.values()}
    assert reached == set(TaskState)
    assert {pair[0] for pair in TASK_TABLE} >= set(TaskState) - {TaskState.DEAD, TaskState.CANCELLED}
