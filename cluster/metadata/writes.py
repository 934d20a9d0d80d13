"""Many writes of claimed jobs at once: what a dispatcher decided in a moment, in a handful of statements.

Rule: as in `jobs`, whoever writes a claimed job names the number of its claim. `hold` checks the numbers of all jobs of
a transaction and locks their rows, so that no claim can slip in before the commit; what follows writes rows of those
jobs only. A row that several decisions have changed is written once: `changes` are the columns as they end up.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import CursorResult, Table, bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.errors import FencedOut, RowMissing
from cluster.metadata.schema import Job, Task

_JOBS, _TASKS = cast("Table", Job.__table__), cast("Table", Task.__table__)
_BATCH = 500
"""Jobs named in one statement: far below SQLite's 32766 variables."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskChange:
    """Columns of one task of a claimed job."""

    job_id: str
    task_id: str
    columns: Mapping[str, Any]


async def hold(session: AsyncSession, claims: Mapping[str, int]) -> set[str]:
    """Hold claimed jobs' rows against other claims until the commit.

    Args:
        claims: the number of its claim by job.

    Returns:
        ids of jobs whose claims are stale: nothing of them may be written.
    """
    held = fenced(session)
    wanted = sorted(job_id for job_id, token in claims.items() if (job_id, token) not in held)
    for start in range(0, len(wanted), _BATCH):
        query = (
            select(_JOBS.c.id, _JOBS.c.attempt)
            .where(_JOBS.c.id.in_(wanted[start : start + _BATCH]), _JOBS.c.lease_owner.is_not(None))
            .order_by(_JOBS.c.id)  # so that of two who hold several, one waits for the other
            .with_for_update(key_share=True)
        )
        held.update((row.id, row.attempt) for row in await session.execute(query))
    return {job_id for job_id, token in claims.items() if (job_id, token) not in held}


def fenced(session: AsyncSession) -> set[tuple[str, int]]:
    """Claims that this transaction has found to hold: (job, number). Their rows stay locked until the commit."""
    found: set[tuple[str, int]] = session.info.setdefault("fenced", set())
    return found


async def save_jobs(session: AsyncSession, claims: Mapping[str, int], changes: Mapping[str, Mapping[str, Any]]) -> None:
    """Write columns of claimed jobs, by job.

    Raises:
        FencedOut: one of the claims is stale; the transaction must be rolled back.
    """
    await _hold_all(session, claims, changes)
    for rows in _alike(changes.items()):
        keys = [{"_id": job_id, "_token": claims[job_id], **row} for job_id, row in rows]
        claimed = (_JOBS.c.id == bindparam("_id"), _JOBS.c.attempt == bindparam("_token"))
        await session.execute(update(_JOBS).where(*claimed), keys)


async def save_tasks(session: AsyncSession, claims: Mapping[str, int], changes: Sequence[TaskChange]) -> None:
    """Write columns of steps of claimed jobs (state, attempts, result, failure, worker, ...).

    Raises:
        FencedOut: one of the claims is stale; the transaction must be rolled back.
        RowMissing: a job has no such step; the transaction must be rolled back.
    """
    await _hold_all(session, claims, {change.job_id for change in changes})
    for rows in _alike((change, change.columns) for change in changes):
        keys = [{"_id": change.task_id, "_job": change.job_id, **row} for change, row in rows]
        step = (_TASKS.c.id == bindparam("_id"), _TASKS.c.job_id == bindparam("_job"))
        done = await session.execute(update(_TASKS).where(*step), keys)
        if cast("CursorResult[Any]", done).rowcount != len(rows):
            raise RowMissing(f"not all of these are steps of their jobs: {', '.join(row['_id'] for row in keys)}")


async def _hold_all(session: AsyncSession, claims: Mapping[str, int], job_ids: Iterable[str]) -> None:
    stale = await hold(session, {job_id: claims[job_id] for job_id in job_ids})
    if stale:
        raise FencedOut(f"claims of {', '.join(sorted(stale))} are stale: another dispatcher holds them, or they ended")


def _alike(changes: Iterable[tuple[Any, Mapping[str, Any]]]) -> Iterable[list[tuple[Any, dict[str, Any]]]]:
    """Changes of the same columns together: one statement each, executed with many rows."""
    groups: dict[tuple[str, ...], list[tuple[Any, dict[str, Any]]]] = defaultdict(list)
    for key, columns in changes:
        groups[tuple(sorted(columns))].append((key, plain(columns)))
    return groups.values()


def plain(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Columns with enumerations as the text that they are: drivers differ in what they make of a StrEnum."""
    return {name: str(value) if isinstance(value, str) else value for name, value in columns.items()}
