"""What must be done. The dispatcher carries instructions out in the order of the list.

Saves come before what makes them visible: a task's SaveTask precedes its StartTask, and SaveJob precedes FinishJob, so
a dispatcher that writes first and acts second can die at any point and be resumed from what it wrote.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from encoders.errors import Failure
from scheduler.jobs import JobState, TaskState


@dataclass(frozen=True, slots=True, kw_only=True)
class StartTask:
    """Run an attempt on a worker.

    Attributes:
        attempt: 1-based, rises strictly per task.
        backend: one of the worker's backends.
        timeout_s: seconds after the task begins on the worker, when the worker gives up (staging included).
        twin: another attempt of the same task is in flight; the first valid result wins.
        confined: the last try of a poison task.
    """

    job_id: str
    task_id: str
    attempt: int
    worker_id: str
    backend: str
    timeout_s: float
    twin: bool = False
    confined: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StopTask:
    """Stop an attempt. Its slot stays taken until TaskDone, TaskFailed or WorkerLost tells that it ended."""

    task_id: str
    attempt: int
    worker_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveTask:
    """Write down where a task stands. BLOCKED and READY are written only when a task falls back to them.

    Attributes:
        attempt: the highest attempt number used so far.
        deaths: workers that the task has killed so far.
    """

    job_id: str
    task_id: str
    state: TaskState
    attempt: int
    failure: Failure | None = None
    deaths: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveJob:
    """Write down where a job stands, and the encoder that its segments are pinned to (None: not chosen)."""

    job_id: str
    state: JobState
    encoder: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishJob:
    """A job is over: COMPLETED, FAILED or CANCELLED; the engine has forgotten it."""

    job_id: str
    state: JobState
    failure: Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckDevice:
    """Run the canary on a device, through one of its workers; answer with DeviceChecked."""

    device_id: str
    worker_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaceWorker:
    """A worker does not answer: end it and start another; WorkerLost (and WorkerJoined) follow."""

    worker_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FellBack:
    """A job's segments go on with less than they were begun with: tell its owner, and count it. Comes before SaveJob.

    Attributes:
        given_up: the backend that is used no more, or the encoder whose devices are all gone.
        to: what takes its place.
        reason: the failure's code, or "device_gone".
        detail: what happened, for people.
    """

    job_id: str
    given_up: str
    to: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AskForWorkers:
    """So many more slots with these backends would bring the queue back to an acceptable length; 0 = enough again."""

    count: int
    backends: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """A person should know. `name` is stable ("task_dead", "poison_task", "device_out", ...)."""

    name: str
    detail: str


Instruction: TypeAlias = (
    StartTask
    | StopTask
    | SaveTask
    | SaveJob
    | FinishJob
    | CheckDevice
    | ReplaceWorker
    | FellBack
    | AskForWorkers
    | Alert
)
