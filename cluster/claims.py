"""What a dispatcher holds: jobs under its lease, claimed in turn, kept alive, handed back. Rows become claims here.

What is written of a claimed job is `ledger`'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import TypeAdapter
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.breakdown import inspect_task
from cluster.metadata import jobs, videos
from cluster.metadata.clock import lease_now
from cluster.metadata.database import Database
from cluster.metadata.schema import Job
from cluster.settings import ClusterSettings
from encoders.media import MediaInfo
from encoders.plan import Plan
from encoders.trim import Trim
from scheduler.jobs import TaskKind, TaskState, Tier

PLAN = TypeAdapter(Plan)
INFO = TypeAdapter(MediaInfo)
TRIM = TypeAdapter(Trim)
INSPECT = str(TaskKind.INSPECT)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedJob:
    """A job under this dispatcher's lease.

    Attributes:
        token: fencing token of the claim; part of every write.
        trim: the span of the source that the owner wants; None: all of it.
        early_playback: first segments first; else the longest first.
        plan, info: None until the source has been inspected.
        done: ids of tasks that are finished, with their results in the store.
        attempts, deaths: so far, by task id.
    """

    job_id: str
    video_id: str
    user_id: str
    tier: str
    owner: str
    token: int
    profile: str
    source_key: str
    size_bytes: int
    trim: Trim | None
    early_playback: bool
    gpu: str
    weight: float
    deadline_at: float | None
    created_at: float
    encoder: str | None
    plan: Plan | None
    info: MediaInfo | None
    done: frozenset[str]
    attempts: Mapping[str, int]
    deaths: Mapping[str, int]


async def claim(
    database: Database, owner: str, settings: ClusterSettings, limit: int, held: Mapping[str, int]
) -> list[ClaimedJob]:
    """Take up to `limit` jobs that nobody holds: abandoned ones, then waiting ones in turn.

    Args:
        held: how many jobs of each tier the caller holds already.
    """
    rooms = {str(tier): max(0, settings.claim_window - held.get(tier, 0)) for tier in Tier}
    async with database.write() as session:
        rows = await jobs.claim_jobs(
            session,
            owner,
            await lease_now(session),
            settings.job_lease_s,
            limit,
            affinity=settings.affinity or None,
            also=settings.also_affinities,
            rooms=rooms,
        )
        return await _claimed(session, rows, owner)


async def _claimed(session: AsyncSession, rows: Sequence[Job], owner: str) -> list[ClaimedJob]:
    """What is known of claimed jobs, read for all of them at once; each has its first step from now on."""
    job_ids = [row.id for row in rows]
    sources = await videos.sources(session, [row.video_id for row in rows])
    known = await jobs.tasks_of_jobs(session, job_ids)
    fresh = [inspect_task(job_id) for job_id in job_ids if not any(task.kind == INSPECT for task in known[job_id])]
    await jobs.insert_tasks(
        session,
        {
            task.task_id.partition("/")[0]: jobs.NewTask(
                task_id=task.task_id, kind=task.kind, position=0, state=TaskState.READY
            )
            for task in fresh
        },
    )
    return [_claim_of(row, owner, *sources[row.video_id], known[row.id]) for row in rows]


def _claim_of(row: Job, owner: str, source_key: str, size_bytes: int, tasks: Sequence[jobs.TaskStand]) -> ClaimedJob:
    return ClaimedJob(
        job_id=row.id,
        video_id=row.video_id,
        user_id=row.user_id,
        tier=row.tier,
        owner=owner,
        token=row.attempt,
        profile=row.profile,
        source_key=source_key,
        size_bytes=size_bytes,
        trim=TRIM.validate_python(row.options["trim"]) if row.options.get("trim") else None,
        early_playback=bool(row.options.get("early_playback", True)),
        gpu=row.gpu,
        weight=row.weight,
        deadline_at=row.deadline_at,
        created_at=row.created_at,
        encoder=row.encoder,
        plan=PLAN.validate_python(row.plan) if row.plan else None,
        info=INFO.validate_python(row.info) if row.info else None,
        done=frozenset(task.id for task in tasks if task.state == TaskState.DONE),
        attempts={task.id: task.attempts for task in tasks if task.attempts},
        deaths={task.id: task.deaths for task in tasks if task.deaths},
    )


async def renew(database: Database, owner: str, tokens: Mapping[str, int], lease_s: float) -> set[str]:
    """Keep claims alive; the ids of those that were lost."""
    async with database.write() as session:
        return await jobs.renew_leases(session, owner, dict(tokens), await lease_now(session), lease_s)


async def release(database: Database, owner: str, tokens: Mapping[str, int]) -> None:
    """Hand jobs back: anybody may claim them at once."""
    async with database.write() as session:
        for job_id, token in sorted(tokens.items()):
            await jobs.release_job(session, job_id, token)


async def cancelled(database: Database, owner: str) -> list[str]:
    """Jobs of this owner whose cancellation was asked for."""
    async with database.read() as session:
        return list(await jobs.cancel_requests(session, owner))
