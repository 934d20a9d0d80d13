"""The tables: (state, event) -> state, for jobs and for tasks. A pair that is not in its table is illegal."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from encoders.errors import FarmError
from scheduler.jobs import JobState, TaskState


class IllegalTransition(FarmError):
    """A state was asked to change in a way that its table does not know; nothing was changed. A bug, never a user's."""

    code = "illegal_transition"


class JobEvent(StrEnum):
    """What can happen to a job."""

    STARTED = "started"
    """Its first task started."""
    COMPLETED = "completed"
    """All its tasks are done and no more will come."""
    FAILED = "failed"
    CANCELLED = "cancelled"


class TaskEvent(StrEnum):
    """What can happen to a task."""

    NEEDS_MET = "needs_met"
    NEEDS_REOPENED = "needs_reopened"
    STARTED = "started"
    """An attempt started; the first, a retry or a twin."""
    SUCCEEDED = "succeeded"
    """A valid result arrived, of whichever attempt."""
    FAILED = "failed"
    """No attempt is in flight any more, and another will be tried."""
    HANDED_OVER = "handed_over"
    """Its attempt was withdrawn through no fault of the task."""
    DUE = "due"
    DIED = "died"
    CANCELLED = "cancelled"
    REOPENED = "reopened"
    """Its result is of no use any more: the job's encoder changed."""


JOB_TABLE: Mapping[tuple[JobState, JobEvent], JobState] = MappingProxyType(
    {
        (JobState.QUEUED, JobEvent.STARTED): JobState.RUNNING,
        (JobState.QUEUED, JobEvent.COMPLETED): JobState.COMPLETED,
        (JobState.QUEUED, JobEvent.FAILED): JobState.FAILED,
        (JobState.QUEUED, JobEvent.CANCELLED): JobState.CANCELLED,
        (JobState.RUNNING, JobEvent.COMPLETED): JobState.COMPLETED,
        (JobState.RUNNING, JobEvent.FAILED): JobState.FAILED,
        (JobState.RUNNING, JobEvent.CANCELLED): JobState.CANCELLED,
    }
)

TASK_TABLE: Mapping[tuple[TaskState, TaskEvent], TaskState] = MappingProxyType(
    {
        (TaskState.BLOCKED, TaskEvent.NEEDS_MET): TaskState.READY,
        (TaskState.BLOCKED, TaskEvent.CANCELLED): TaskState.CANCELLED,
        (TaskState.READY, TaskEvent.STARTED): TaskState.RUNNING,
        (TaskState.READY, TaskEvent.SUCCEEDED): TaskState.DONE,
        (TaskState.READY, TaskEvent.NEEDS_REOPENED): TaskState.BLOCKED,
        (TaskState.READY, TaskEvent.CANCELLED): TaskState.CANCELLED,
        (TaskState.RUNNING, TaskEvent.STARTED): TaskState.RUNNING,
        (TaskState.RUNNING, TaskEvent.SUCCEEDED): TaskState.DONE,
        (TaskState.RUNNING, TaskEvent.FAILED): TaskState.WAITING_RETRY,
        (TaskState.RUNNING, TaskEvent.HANDED_OVER): TaskState.READY,
        (TaskState.RUNNING, TaskEvent.NEEDS_REOPENED): TaskState.BLOCKED,
        (TaskState.RUNNING, TaskEvent.DIED): TaskState.DEAD,
        (TaskState.RUNNING, TaskEvent.CANCELLED): TaskState.CANCELLED,
        (TaskState.WAITING_RETRY, TaskEvent.DUE): TaskState.READY,
        (TaskState.WAITING_RETRY, TaskEvent.NEEDS_REOPENED): TaskState.BLOCKED,
        (TaskState.WAITING_RETRY, TaskEvent.SUCCEEDED): TaskState.DONE,
        (TaskState.WAITING_RETRY, TaskEvent.CANCELLED): TaskState.CANCELLED,
        (TaskState.DONE, TaskEvent.REOPENED): TaskState.READY,
    }
)

JOB_ENDS = frozenset({JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED})
TASK_ENDS = frozenset({TaskState.DONE, TaskState.DEAD, TaskState.CANCELLED})


def next_job_state(state: JobState, event: JobEvent) -> JobState:
    """The state of a job after an event.

    Raises:
        IllegalTransition: the table has no such pair.
    """
    found = JOB_TABLE.get((state, event))
    if found is None:
        raise IllegalTransition(f"a job that is {state} cannot become {event}")
    return found


def next_task_state(state: TaskState, event: TaskEvent) -> TaskState:
    """The state of a task after an event.

    Raises:
        IllegalTransition: the table has no such pair.
    """
    found = TASK_TABLE.get((state, event))
    if found is None:
        raise IllegalTransition(f"a task that is {state} cannot become {event}")
    return found
