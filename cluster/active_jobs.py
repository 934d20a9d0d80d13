"""What the dispatcher's loop keeps of the jobs it holds, and how jobs and workers become the engine's events."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from cluster.claims import ClaimedJob
from cluster.tasks import Done, Outcome, RunningTask, WorkerDescription
from scheduler import events, instructions
from scheduler.jobs import GpuPolicy, TaskKind, TaskSpec, Tier, WorkerSpec


@dataclass(slots=True, kw_only=True)
class ActiveJob:
    """What the loop knows of a job that it holds."""

    claimed: ClaimedJob
    tier: str
    weight: float
    paused: bool = False
    kinds: dict[str, TaskKind] = field(default_factory=dict)
    frames: dict[str, int] = field(default_factory=dict)
    frames_done: int = 0
    encoder: str | None = None
    done: Done | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """An attempt's outcome, on its way into the loop."""

    start: instructions.StartTask
    outcome: Outcome


def job_submitted(claimed: ClaimedJob, tasks: tuple[TaskSpec, ...]) -> events.JobSubmitted:
    """A claimed job, new or resumed, as the engine hears of it; times on the engine's monotonic clock."""
    return events.JobSubmitted(
        at=time.monotonic(),
        job_id=claimed.job_id,
        user_id=claimed.user_id,
        tier=Tier(claimed.tier),
        tasks=tasks,
        gpu=GpuPolicy(claimed.gpu),
        weight=claimed.weight,
        deadline_at=_monotonic(claimed.deadline_at),
        early_playback=claimed.early_playback,
        open=claimed.plan is None,
        done=claimed.done,
        attempts=claimed.attempts,
        deaths=claimed.deaths,
        encoder=claimed.encoder,
        # A trimmed source says little by its size about the work that is left of it.
        size_bytes=0 if claimed.trim else claimed.size_bytes,
        submitted_at=_monotonic(claimed.created_at),
    )


def worker_joined(worker: WorkerDescription) -> events.WorkerJoined:
    """A worker with what it still runs, as the engine hears of it."""
    spec = WorkerSpec(
        worker_id=worker.worker_id,
        node_id=worker.node_id,
        device_id=worker.device_id,
        backends=worker.backends,
        confined="cpu" in worker.backends,
        device_sessions=worker.device_sessions,
        device_memory_bytes=worker.device_memory_bytes,
    )
    survivors = tuple(
        events.Survivor(task_id=each.task_id, attempt=each.attempt, backend=each.backend, elapsed_s=each.elapsed_s)
        for each in worker.running
    )
    return events.WorkerJoined(at=time.monotonic(), worker=spec, survivors=survivors)


def as_started(worker_id: str, running: RunningTask) -> instructions.StartTask:
    """The instruction that must have started an attempt; its worker keeps the time that it was given."""
    return instructions.StartTask(
        job_id=running.job_id,
        task_id=running.task_id,
        attempt=running.attempt,
        worker_id=worker_id,
        backend=running.backend,
        timeout_s=0.0,
    )


def _monotonic(epoch_s: float | None) -> float | None:
    """An epoch time on the engine's clock."""
    return None if epoch_s is None else time.monotonic() + (epoch_s - time.time())
