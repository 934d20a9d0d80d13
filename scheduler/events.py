"""What happened. Every event says when, in seconds of one clock that the caller chooses (a monotonic one, ideally).

An event that does not fit the state (late, doubled, unknown) is no error: the engine ignores it. Ids are unique over
the farm, so a task's events need not name its job.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from encoders.errors import Failure
from scheduler.jobs import GpuPolicy, TaskSpec, Tier, WorkerSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSubmitted:
    """A job arrived, or came back after a restart of the dispatcher or a replay from the dead-letter list.

    Attributes:
        weight: share among the jobs of the same user; 1.0 is usual, more is more.
        deadline_at: when the owner wants it finished; orders the owner's own jobs only.
        early_playback: first segments first; else the most expensive task first.
        open: more tasks will come by TasksAdded; the job cannot complete before the last of them.
        done: tasks that were finished before (resume).
        attempts: highest attempt number used so far per task; absent = 0.
        deaths: workers that each task has killed so far; absent = 0.
        encoder: the encoder its segments are pinned to (SaveJob.encoder), None when not chosen yet.
        expected_s: engine-seconds of the tasks still to come, when the caller can tell; else learned from other jobs.
        size_bytes: of the upload, from which that is learned; 0: not known.
        submitted_at: when the owner submitted it, on the same clock, if earlier than `at`; for waiting times only.
    """

    at: float
    job_id: str
    user_id: str
    tier: Tier
    tasks: tuple[TaskSpec, ...]
    gpu: GpuPolicy = GpuPolicy.PREFER
    weight: float = 1.0
    deadline_at: float | None = None
    early_playback: bool = True
    open: bool = True
    done: frozenset[str] = frozenset()
    attempts: Mapping[str, int] = field(default_factory=dict)
    deaths: Mapping[str, int] = field(default_factory=dict)
    encoder: str | None = None
    expected_s: float | None = None
    size_bytes: int = 0
    submitted_at: float | None = None

    def __post_init__(self) -> None:
        if not self.weight > 0:
            raise ValueError(f"weight of job {self.job_id} must be positive, got {self.weight}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TasksAdded:
    """A plan is ready: more tasks of an open job. `last=True` closes the job to further tasks."""

    at: float
    job_id: str
    tasks: tuple[TaskSpec, ...]
    last: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Survivor:
    """An attempt that outlived the dispatcher which started it: its worker still runs it, or holds its result.

    Attributes:
        elapsed_s: since it began on the worker.
    """

    task_id: str
    attempt: int
    backend: str
    elapsed_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerJoined:
    """A slot offers itself. A worker that joins again under its id is a new one: what it ran is lost.

    Attributes:
        survivors: what it still runs of a dispatcher before; the usual worker comes empty. A survivor goes on as an
            attempt of its task as soon as its job is submitted, and answers by TaskDone or TaskFailed like any other.
    """

    at: float
    worker: WorkerSpec
    survivors: tuple[Survivor, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLost:
    """A slot is gone and what it ran with it.

    Attributes:
        reason: "node_lost", "drained", "stopped" and "hung" do not blame the task it ran; any other reason (usually
            "crashed") counts as a death caused by the task, and two of those make it poison.
    """

    at: float
    worker_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerDraining:
    """A slot will go: it takes nothing new, and hands over what it would not finish by the deadline."""

    at: float
    worker_id: str
    deadline_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskDone:
    """An attempt succeeded: its result is verified and stored. `engine_s` is what it really took."""

    at: float
    task_id: str
    attempt: int
    worker_id: str
    engine_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFailed:
    """An attempt failed, or ended because it was told to (StopTask)."""

    at: float
    task_id: str
    attempt: int
    worker_id: str
    failure: Failure
    engine_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRequested:
    """The owner wants the job gone."""

    at: float
    job_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobReprioritised:
    """The operator moved a job: another tier, another weight, or both; None keeps what it has."""

    at: float
    job_id: str
    tier: Tier | None = None
    weight: float | None = None

    def __post_init__(self) -> None:
        if self.weight is not None and not self.weight > 0:
            raise ValueError(f"weight of job {self.job_id} must be positive, got {self.weight}")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPaused:
    """Nothing new of the job starts; what runs, finishes."""

    at: float
    job_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobResumed:
    """The end of a pause."""

    at: float
    job_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceChecked:
    """The result of a canary: a known clip encoded on the device and compared."""

    at: float
    device_id: str
    healthy: bool
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """Time went by: retries fall due, timeouts strike, devices are tested again. Once a second is enough."""

    at: float


Event: TypeAlias = (
    JobSubmitted
    | TasksAdded
    | WorkerJoined
    | WorkerLost
    | WorkerDraining
    | TaskDone
    | TaskFailed
    | CancelRequested
    | JobReprioritised
    | JobPaused
    | JobResumed
    | DeviceChecked
    | Tick
)
