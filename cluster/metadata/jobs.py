"""The queue: jobs are rows, claimed under a lease; a claim's number (`attempt`) fences every later write.

Rule: whoever writes a claimed job names the number of its claim. When another dispatcher has claimed the job since,
the number is stale, nothing is written, and the writer learns it: `FencedOut`, or False where losing is ordinary.
The fence locks the job's row, so that a claim cannot slip in between the check and the write. Many at once: `writes`.
States are those of `scheduler.jobs`: the scheduler decides them, these functions write them down. A claim does not
hang on the state: it is the lease's owner and the number.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, and_, func, insert, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.errors import FencedOut, IllegalTransition, RowMissing
from cluster.metadata.lifecycle import VideoStatus, VideoTrigger
from cluster.metadata.schema import JOB_SEQ, Job, Task, new_id
from cluster.metadata.turns import next_turn, of_affinity, take_waiting
from cluster.metadata.videos import lock_video, set_video_status
from cluster.metadata.writes import hold, plain
from cluster.settings import LONGEST_LEASE_S
from scheduler.jobs import JobState

QUEUED, RUNNING = str(JobState.QUEUED), str(JobState.RUNNING)
ACTIVE = (QUEUED, RUNNING)
ENDS = frozenset({str(JobState.COMPLETED), str(JobState.FAILED), str(JobState.CANCELLED)})

_BATCH = 500
"""Rows named in one statement: below SQLite's 32766 variables at two a row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """What a caller submits. `gpu`: require, prefer or never; `deadline_at` in epoch seconds."""

    video_id: str
    user_id: str
    tier: str
    profile: str
    options: Mapping[str, Any] = field(default_factory=dict)
    gpu: str = "prefer"
    weight: float = 1.0
    deadline_at: float | None = None
    affinity: str | None = None
    job_id: str = field(default_factory=new_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTask:
    """A step to be remembered; the id is "job/kind/n" and `spec` whatever the dispatcher needs to start it again."""

    task_id: str
    kind: str
    position: int
    state: str
    needs: tuple[str, ...] = ()
    spec: Mapping[str, Any] = field(default_factory=dict)


class TaskStand(NamedTuple):
    """Where a step stands."""

    id: str
    kind: str
    state: str
    attempts: int
    deaths: int


async def enqueue_job(session: AsyncSession, job: NewJob, now: float) -> Job:
    """Add a job to the queue, in the transaction that completed its upload; its turn is by `turns`."""
    turn, place = await next_turn(session, job.tier, job.user_id)
    row = Job(
        id=job.job_id,
        video_id=job.video_id,
        user_id=job.user_id,
        tier=str(job.tier),
        state=QUEUED,
        profile=job.profile,
        options=dict(job.options),
        gpu=str(job.gpu),
        weight=job.weight,
        deadline_at=job.deadline_at,
        affinity=job.affinity,
        seq=await _next_seq(session),
        turn=turn,
        place=place,
        created_at=now,
    )
    session.add(row)
    await session.flush()
    return row


async def claim_jobs(
    session: AsyncSession,
    owner: str,
    now: float,
    lease_s: float,
    limit: int,
    affinity: str | None = None,
    exclude: Collection[str] = (),
    tier: str | None = None,
    also: Collection[str] = (),
    rooms: Mapping[str, int] | None = None,
) -> list[Job]:
    """Take jobs nobody holds: those whose lease is over, then queued ones, users in turn. They are RUNNING now.

    Their `attempt` has risen: it is the fencing token of this claim. A paused job is left where it is, unless it must
    be cancelled. Two callers at once never get the same job.

    Args:
        now: by the database's clock (`clock.lease_now`). A lease that ends further away than any may was written before
            that clock was set back, and is over.
        affinity: jobs of this cluster or region and of none; None: only those of none.
        exclude: jobs to leave alone.
        tier: of this tier only.
        also: affinities of others that may be claimed too.
        rooms: how many more jobs of each tier the caller wants to hold; of waiting jobs beyond that, only the first few
            of each user are taken. None: as many as there are.
    """
    wanted = [or_(Job.paused.is_(False), Job.cancel_requested.is_(True))]
    wanted.append(of_affinity(affinity, also))
    if tier is not None:
        wanted.append(Job.tier == str(tier))
    if exclude:
        wanted.append(Job.id.not_in(list(exclude)))
    abandoned = and_(Job.state.in_(ACTIVE), or_(Job.lease_until < now, Job.lease_until > now + LONGEST_LEASE_S))
    claimed = await _lock_free(session, [abandoned, *wanted], limit)
    claimed += await take_waiting(session, wanted, limit - len(claimed), rooms or {})
    for job in claimed:
        job.state = RUNNING
        job.attempt += 1
        job.lease_owner = owner
        job.lease_until = now + lease_s
        job.started_at = job.started_at or now
    await session.flush()
    return claimed


async def renew_leases(
    session: AsyncSession, owner: str, claims: Mapping[str, int], now: float, lease_s: float
) -> set[str]:
    """Hold on to claimed jobs for another `lease_s`; answers the ids that are no longer this owner's.

    A lease that ran out, but that nobody took, is renewed: the claim's number still holds.
    """
    lost = set(claims)
    for batch in _batches(sorted(claims.items())):
        renewed = await session.scalars(
            update(Job)
            .where(tuple_(Job.id, Job.attempt).in_(batch), Job.lease_owner == owner)
            .values(lease_until=now + lease_s)
            .returning(Job.id)
            .execution_options(synchronize_session=False)
        )
        lost.difference_update(renewed.all())
    return lost


async def release_job(session: AsyncSession, job_id: str, token: int) -> bool:
    """Hand a claimed job back, so that another dispatcher claims it at once; False when the claim is stale."""
    return await _write(session, job_id, token, state=QUEUED, lease_owner=None, lease_until=None)


async def free_claims(session: AsyncSession, prefix: str, keep: str) -> int:
    """End the leases of owners whose names start with `prefix`, but for `keep`; answers how many.

    For a dispatcher that has just won its name's leadership: whoever held it before leads no more, so its jobs need
    not wait for their leases to run out. What the old one still writes is fenced off by the next claim's number.
    """
    freed = await session.scalars(
        update(Job)
        .where(Job.state.in_(ACTIVE), Job.lease_owner.startswith(prefix, autoescape=True), Job.lease_owner != keep)
        .values(lease_until=0.0)
        .returning(Job.id)
        .execution_options(synchronize_session=False)
    )
    return len(freed.all())


async def save_job(session: AsyncSession, job_id: str, token: int, **fields: Any) -> None:
    """Write columns of a claimed job (encoder, options, ...).

    Raises:
        FencedOut: the claim is stale; nothing was written.
    """
    if not await _write(session, job_id, token, **fields):
        raise _fenced_out(job_id, token)


async def save_plan(
    session: AsyncSession,
    job_id: str,
    token: int,
    info: Mapping[str, Any],
    plan: Mapping[str, Any],
    tasks: Iterable[NewTask],
) -> None:
    """Write what the source is, what will be made of it, and the steps; steps already there stay as they are.

    Raises:
        FencedOut: the claim is stale; nothing was written.
    """
    await save_job(session, job_id, token, info=dict(info), plan=dict(plan))
    await add_tasks(session, job_id, token, tasks)


async def add_tasks(session: AsyncSession, job_id: str, token: int, tasks: Iterable[NewTask]) -> None:
    """Add steps to a claimed job; those already there stay as they are.

    Raises:
        FencedOut: the claim is stale; nothing was written.
    """
    await _fence(session, job_id, token)
    known = set((await session.scalars(select(Task.id).where(Task.job_id == job_id))).all())
    rows = [_row(job_id, task) for task in tasks if task.task_id not in known]
    if rows:
        await session.execute(insert(Task), rows)


async def finish_job(
    session: AsyncSession, job_id: str, token: int, state: str, failure: Mapping[str, Any] | None, now: float
) -> bool:
    """End a claimed job; False when the claim is stale (roll the transaction back then).

    Assets, the video's status and its event belong in the same transaction: `videos.add_assets`,
    `videos.settle_video`.
    """
    if str(state) not in ENDS:
        raise ValueError(f"{state} is not an end of a job")
    kept = dict(failure) if failure is not None else None
    return await _write(
        session, job_id, token, state=state, failure=kept, finished_at=now, lease_owner=None, lease_until=None
    )


async def request_cancel(session: AsyncSession, job_id: str, now: float) -> bool:
    """Ask for a job's end. One that nobody claimed ends here, with its video; another when its dispatcher sees it.

    Returns:
        False when the job is over already, or unknown.
    """
    job = await session.scalar(select(Job).where(Job.id == job_id).with_for_update().execution_options(**_FRESH))
    if job is None or job.state not in ACTIVE:
        return False
    job.cancel_requested = True
    if job.lease_owner is None:
        job.state = str(JobState.CANCELLED)
        job.finished_at = now
        video = await lock_video(session, job.video_id)
        if video.status in (VideoStatus.UPLOADED, VideoStatus.PROCESSING):
            await set_video_status(
                session,
                job.video_id,
                VideoTrigger.FAILED,
                now,
                status_code="cancelled",
                status_detail="The job was cancelled before it started.",
                status_hint="Retry the video to process it again.",
            )
    await session.flush()
    return True


async def cancel_requests(session: AsyncSession, owner: str) -> list[str]:
    """Jobs that this owner runs and somebody wants to end."""
    wanted = (Job.lease_owner == owner, Job.state.in_(ACTIVE), Job.cancel_requested.is_(True))
    return list((await session.scalars(select(Job.id).where(*wanted).order_by(Job.seq))).all())


async def set_paused(session: AsyncSession, job_id: str, paused: bool) -> None:
    """Hold a job back, or let it go on. A queued one is not claimed; a running one's dispatcher looks by itself.

    Raises:
        IllegalTransition: the job is over, or unknown.
    """
    changed = await session.scalar(
        update(Job)
        .where(Job.id == job_id, Job.state.in_(ACTIVE))
        .values(paused=paused)
        .returning(Job.id)
        .execution_options(synchronize_session=False)
    )
    if changed is None:
        raise IllegalTransition(f"job {job_id} is over or unknown: nothing to pause or resume")


async def tasks_of(session: AsyncSession, job_id: str) -> Sequence[Task]:
    """The steps of a job, in order."""
    query = select(Task).where(Task.job_id == job_id).order_by(Task.position, Task.id).execution_options(**_FRESH)
    return (await session.scalars(query)).all()


async def tasks_of_jobs(session: AsyncSession, job_ids: Sequence[str]) -> Mapping[str, list[TaskStand]]:
    """Where the steps of several jobs stand, by job; a job without steps has an empty list."""
    found: dict[str, list[TaskStand]] = {job_id: [] for job_id in job_ids}
    columns = (Task.job_id, Task.id, Task.kind, Task.state, Task.attempts, Task.deaths)
    for start in range(0, len(job_ids), _BATCH):
        rows = await session.execute(select(*columns).where(Task.job_id.in_(job_ids[start : start + _BATCH])))
        for row in rows:
            stand = TaskStand(row.id, row.kind, row.state, row.attempts, row.deaths)
            found[row.job_id].append(stand)
    return found


async def insert_tasks(session: AsyncSession, tasks: Mapping[str, NewTask]) -> None:
    """Add a new step to each of several jobs that were claimed in this transaction."""
    if tasks:
        await session.execute(insert(Task), [_row(job_id, task) for job_id, task in tasks.items()])


async def queue_depths(session: AsyncSession) -> dict[tuple[str, str], int]:
    """How many jobs are queued and running: (tier, state) -> count; pairs without jobs are absent."""
    query = select(Job.tier, Job.state, func.count()).where(Job.state.in_(ACTIVE)).group_by(Job.tier, Job.state)
    return {(tier, state): count for tier, state, count in (await session.execute(query)).all()}


async def job_of(session: AsyncSession, user_id: str, job_id: str) -> Job:
    """A user's job.

    Raises:
        RowMissing: there is none of that id, or it is another user's.
    """
    job = await session.scalar(select(Job).where(Job.id == job_id, Job.user_id == user_id))
    if job is None:
        raise RowMissing(f"no job {job_id}")
    return job


async def latest_job(session: AsyncSession, user_id: str, video_id: str) -> Job | None:
    """The newest job of a user's video; None before the first."""
    query = select(Job).where(Job.video_id == video_id, Job.user_id == user_id).order_by(Job.seq.desc()).limit(1)
    return await session.scalar(query)


async def jobs_ahead(session: AsyncSession, job: Job) -> int:
    """Queued jobs of the same tier that came before this one: an upper bound of its place."""
    query = select(func.count()).where(Job.state == QUEUED, Job.tier == job.tier, Job.seq < job.seq)
    return (await session.scalar(query)) or 0


async def count_active_jobs(session: AsyncSession, user_id: str | None) -> int:
    """Jobs queued or running, of a user or (None) of everybody: what admission limits count."""
    query = select(func.count()).where(Job.state.in_(ACTIVE))
    if user_id is not None:
        query = query.where(Job.user_id == user_id)
    return (await session.scalar(query)) or 0


_FRESH: dict[str, Any] = {"populate_existing": True}
"""Rows as the database has them now, also when the session has seen them before."""


async def _lock_free(session: AsyncSession, wanted: Sequence[ColumnElement[bool]], limit: int) -> list[Job]:
    """The first jobs of that kind by `seq` which no other transaction holds, locked."""
    query = select(Job).where(*wanted).order_by(Job.seq).limit(limit).with_for_update(skip_locked=True)
    return list((await session.scalars(query.execution_options(**_FRESH))).all())


async def _next_seq(session: AsyncSession) -> int:
    """The next place in the queue. A sequence on PostgreSQL; on SQLite the one writer counts."""
    if session.get_bind().dialect.name == "postgresql":
        return int((await session.execute(select(JOB_SEQ.next_value()))).scalar_one())
    return int((await session.scalar(select(func.coalesce(func.max(Job.seq), 0)))) or 0) + 1


def _claimed(job_id: str, token: int) -> tuple[ColumnElement[bool], ...]:
    """That this claim is the present one. A released or finished job has no owner."""
    return (Job.id == job_id, Job.attempt == token, Job.lease_owner.is_not(None))


async def _fence(session: AsyncSession, job_id: str, token: int) -> None:
    """Hold the job's row against other claims until the commit, or say that the claim is stale."""
    if await hold(session, {job_id: token}):
        raise _fenced_out(job_id, token)


async def _write(session: AsyncSession, job_id: str, token: int, **fields: Any) -> bool:
    """Write columns of a claimed job; False when the claim is stale."""
    written = await session.scalar(
        update(Job)
        .where(*_claimed(job_id, token))
        .values(**plain(fields))
        .returning(Job.id)
        .execution_options(synchronize_session=False)
    )
    return written is not None


def _row(job_id: str, task: NewTask) -> dict[str, Any]:
    return {
        "id": task.task_id,
        "job_id": job_id,
        "kind": str(task.kind),
        "position": task.position,
        "needs": list(task.needs),
        "spec": dict(task.spec),
        "state": str(task.state),
        "attempts": 0,
        "deaths": 0,
    }


def _fenced_out(job_id: str, token: int) -> FencedOut:
    return FencedOut(f"claim {token} of job {job_id} is stale: another dispatcher holds it, or it is over")


def _batches(items: Sequence[tuple[str, int]]) -> Iterable[Sequence[tuple[str, int]]]:
    return (items[start : start + _BATCH] for start in range(0, len(items), _BATCH))
