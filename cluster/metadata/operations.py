"""What an operator asks of jobs: order, pauses, and the dead-letter list.

A dead letter is a job that failed although its source may be fine: a device, a worker or the farm's own machinery gave
up on it. Rejections are none: their owners were told what to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.errors import IllegalTransition, RowMissing
from cluster.metadata.jobs import ACTIVE
from cluster.metadata.lifecycle import VideoStatus, VideoTrigger
from cluster.metadata.schema import Job, Task
from cluster.metadata.videos import SOURCE_DROPPED, lock_video, set_video_status
from encoders.errors import Fault
from scheduler.jobs import JobState, TaskState

DROPPED = "dead_letter_dropped"
"""Key in a job's options: an operator has seen it and wants no more of it."""

_FAULTS = (str(Fault.DEVICE), str(Fault.INFRASTRUCTURE))


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """How an operator wants a running job to be treated."""

    job_id: str
    paused: bool
    tier: str
    weight: float


async def wishes(session: AsyncSession, owner: str) -> list[Wish]:
    """What is wanted of each job that this owner holds."""
    query = select(Job.id, Job.paused, Job.tier, Job.weight).where(Job.lease_owner == owner, Job.state.in_(ACTIVE))
    rows = (await session.execute(query)).all()
    return [Wish(job_id=row.id, paused=row.paused, tier=row.tier, weight=row.weight) for row in rows]


async def reprioritise(session: AsyncSession, job_id: str, tier: str | None, weight: float | None) -> None:
    """Move a queued or running job to another tier, another weight among its owner's jobs, or both.

    Raises:
        IllegalTransition: the job is over, or unknown.
    """
    named = {"tier": tier, "weight": weight}
    values: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
    if tier is not None:
        values |= {"turn": 0, "place": 0}  # turns of two tiers have nothing to do with each other: it goes to the front
    changed = await session.scalar(
        update(Job)
        .where(Job.id == job_id, Job.state.in_(ACTIVE))
        .values(values or {"weight": Job.weight})
        .returning(Job.id)
        .execution_options(synchronize_session=False)
    )
    if changed is None:
        raise IllegalTransition(f"job {job_id} is over or unknown: nothing to move")


async def dead_letters(session: AsyncSession, limit: int = 100) -> list[Job]:
    """Newest first; dropped ones and those that succeeded after a replay are not there."""
    query = (
        select(Job)
        .where(
            Job.state == str(JobState.FAILED),
            Job.failure["fault"].as_string().in_(_FAULTS),
            Job.options[DROPPED].as_boolean().is_not(True),
        )
        .order_by(Job.seq.desc())
        .limit(limit)
    )
    return list((await session.scalars(query)).all())


async def dead_letter(session: AsyncSession, job_id: str) -> tuple[Job, Sequence[Task]]:
    """A dead letter by its id or the beginning of it, and those of its tasks that failed.

    Raises:
        RowMissing: there is none, or there are several.
    """
    query = select(Job).where(Job.state == str(JobState.FAILED), Job.id.startswith(job_id, autoescape=True)).limit(2)
    found = (await session.scalars(query)).all()
    if len(found) != 1 or not job_id:
        raise RowMissing(f"{'several dead letters begin' if found else 'no dead letter begins'} with {job_id!r}")
    tasks = select(Task).where(Task.job_id == found[0].id, Task.failure.is_not(None)).order_by(Task.position)
    return found[0], (await session.scalars(tasks)).all()


async def replay(session: AsyncSession, job_id: str, now: float) -> Job:
    """Put a dead letter back into the queue: its finished tasks stay finished, the others get all their tries again.

    Raises:
        RowMissing: there is no such dead letter.
        IllegalTransition: its video was deleted, retried by its owner, or its source is no longer kept.
    """
    job, _ = await dead_letter(session, job_id)
    video = await lock_video(session, job.video_id)
    if not VideoStatus(video.status).rejected or video.source_key == SOURCE_DROPPED:
        kept = "" if video.source_key != SOURCE_DROPPED else " and its source is no longer kept"
        raise IllegalTransition(f"the video of job {job.id} is {video.status}{kept}: there is nothing to replay")
    await set_video_status(session, job.video_id, VideoTrigger.RETRIED, now)
    job.state, job.failure, job.finished_at = str(JobState.QUEUED), None, None
    job.cancel_requested = job.paused = False
    job.options = {name: value for name, value in job.options.items() if name != DROPPED}
    await session.execute(
        update(Task)
        .where(Task.job_id == job.id, Task.state != str(TaskState.DONE))
        .values(state=str(TaskState.READY), deaths=0, failure=None, finished_at=None)
        .execution_options(synchronize_session=False)
    )
    await session.flush()
    return job


async def drop(session: AsyncSession, job_id: str) -> Job:
    """Take a job off the dead-letter list; its owner may still retry the video.

    Raises:
        RowMissing: there is no such dead letter.
    """
    job, _ = await dead_letter(session, job_id)
    job.options = {**job.options, DROPPED: True}
    await session.flush()
    return job
