"""The books of a dispatcher's jobs: outcomes and instructions as changes of rows, and as events for the engine.

Nothing is written and nothing waits here: `Batch` is written by the loop, before anything acts on what was decided.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace

import structlog

from cluster import breakdown
from cluster.active_jobs import ActiveJob, Finished, job_submitted
from cluster.claims import ClaimedJob
from cluster.ledger import Batch
from cluster.tasks import Done
from cluster.telling import Teller
from encoders.errors import Failure
from encoders.media import MediaInfo
from encoders.plan import Plan
from scheduler import events, instructions
from scheduler.jobs import TaskKind, TaskSpec

log = structlog.get_logger()


class Bookkeeper:
    """Keeps the books of one dispatcher.

    Args:
        jobs: those that it holds, by id; kept here, read elsewhere.
        threads_per_slot: of each slot, which all take memory.
    """

    def __init__(self, jobs: dict[str, ActiveJob], teller: Teller, threads_per_slot: int) -> None:
        self._jobs = jobs
        self._teller = teller
        self._threads = threads_per_slot

    def take_over(self, claimed: ClaimedJob) -> events.JobSubmitted:
        """Begin the books of a job, new or resumed: finished tasks stay finished."""
        job = ActiveJob(claimed=claimed, tier=claimed.tier, weight=claimed.weight, encoder=claimed.encoder)
        self._jobs[claimed.job_id] = job
        tasks = [breakdown.inspect_task(claimed.job_id)]
        if claimed.plan is not None and claimed.info is not None:
            tasks += self._planned(claimed, claimed.plan, claimed.info)
        _remember(job, tasks)
        job.frames_done = sum(
            job.frames[task_id] for task_id in claimed.done if job.kinds.get(task_id) is TaskKind.SEGMENT
        )
        log.info("job_claimed", job_id=claimed.job_id, video_id=claimed.video_id, done=len(claimed.done))
        return job_submitted(claimed, tuple(tasks))

    def events_of(self, item: Finished, device: str, batch: Batch) -> list[events.Event]:
        """What an attempt's outcome means to the engine; what it brought goes to `batch`.

        Args:
            device: on which it ran.
        """
        start, outcome, at = item.start, item.outcome, time.monotonic()
        if isinstance(outcome, Failure):
            outcome = with_circumstances(outcome, start, device)
            self._teller.failed(start, outcome)
            failed = events.TaskFailed(
                at=at, task_id=start.task_id, attempt=start.attempt, worker_id=start.worker_id, failure=outcome
            )
            return [failed]
        done = events.TaskDone(
            at=at,
            task_id=start.task_id,
            attempt=start.attempt,
            worker_id=start.worker_id,
            engine_s=outcome.engine_s,
        )
        job = self._jobs.get(start.job_id)
        if job is None or start.task_id not in job.kinds or start.task_id in job.claimed.done:
            return [done]
        self._teller.done(start, outcome)
        if job.kinds[start.task_id] is TaskKind.INSPECT and job.claimed.plan is not None:
            # A second answer, of a twin or from a network that repeats itself. Cut for other slots, its plan would not
            # fit the segments that are under way.
            return [done]
        batch.result(job.claimed, start, outcome)
        match job.kinds[start.task_id]:
            case TaskKind.INSPECT:
                return [done, self._inspected(job, outcome, batch)]
            case TaskKind.SEGMENT:
                _advance(job, start.task_id, batch)
            case TaskKind.PACKAGE:
                job.done = outcome
        return [done]

    def record(self, each: instructions.Instruction, batch: Batch) -> None:
        """What an instruction says of a job's rows goes to `batch`; most say nothing."""
        job = self._jobs.get(getattr(each, "job_id", ""))
        if job is None:
            return
        match each:
            case instructions.FellBack():
                self._note(job, each, batch)
            case instructions.SaveTask():
                batch.task(job.claimed, each)
            case instructions.SaveJob():
                _switch_plan(job, each, batch)
                batch.job(job.claimed, each)
            case instructions.FinishJob():
                batch.finish(job.claimed, each, job.done)
            case _:
                pass

    def _planned(self, claimed: ClaimedJob, plan: Plan, info: MediaInfo) -> tuple[TaskSpec, ...]:
        return breakdown.planned_tasks(claimed.job_id, plan, info, breakdown.BACKENDS, self._threads)

    def _inspected(self, job: ActiveJob, outcome: Done, batch: Batch) -> events.Event:
        """An inspected source: its plan is written, its tasks are added."""
        plan, info = outcome.plan, outcome.info
        if plan is None or info is None:
            raise ValueError(f"job {job.claimed.job_id}: inspection answered without a plan")
        job.claimed = replace(job.claimed, plan=plan, info=info)
        tasks = self._planned(job.claimed, plan, info)
        _remember(job, tasks)
        batch.inspected(job.claimed, plan, info, tasks)
        return events.TasksAdded(at=time.monotonic(), job_id=job.claimed.job_id, tasks=tasks)

    def _note(self, job: ActiveJob, each: instructions.FellBack, batch: Batch) -> None:
        """Operators see it in the metrics, the owner in the asset's warnings."""
        self._teller.fell_back(each)
        if (plan := job.claimed.plan) is not None:
            job.claimed = replace(job.claimed, plan=breakdown.note_fall_back(plan, each))
            batch.plan(job.claimed)


def with_circumstances(failure: Failure, start: instructions.StartTask, device: str) -> Failure:
    """A failure with the worker, device, backend and attempt in its evidence: what a person asks first."""
    where = {"worker": start.worker_id, "device": device, "backend": start.backend, "attempt": str(start.attempt)}
    return replace(failure, evidence={**where, **failure.evidence})


def _remember(job: ActiveJob, tasks: Iterable[TaskSpec]) -> None:
    for task in tasks:
        job.kinds[task.task_id] = task.kind
        job.frames[task.task_id] = task.cost.frames


def _advance(job: ActiveJob, task_id: str, batch: Batch) -> None:
    """All renditions of a segment come out of one decode, so they progress together."""
    job.frames_done += job.frames.pop(task_id, 0)
    plan = job.claimed.plan
    total = plan.grid.frames if plan and plan.grid else 1
    share = min(1.0, job.frames_done / total)
    batch.progress(job.claimed, {each.name: share for each in plan.renditions} if plan else {})


def _switch_plan(job: ActiveJob, each: instructions.SaveJob, batch: Batch) -> None:
    """A new encoder means a new plan, since keys of what one encoder made are not another's."""
    before, job.encoder = job.encoder, each.encoder or job.encoder
    plan = job.claimed.plan
    if plan is not None and (own := breakdown.plan_for(plan, before, job.encoder)) is not plan:
        job.claimed = replace(job.claimed, plan=own)
        job.frames_done = 0
        batch.plan(job.claimed)
