"""The outbox: what happened, written in the transaction that made it so; SSE and webhooks read on from an id.

Ids rise in the order of commits: a transaction's events are held back until just before its commit
(`Database.write` calls `flush_pending`), and on PostgreSQL an advisory lock then keeps other writers of events out
until the commit. Without it, event 6 could be seen before event 5, and a reader that went on from 6 would miss 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.metadata.schema import Event

_PENDING = "reelmill_pending_events"
_COMMIT_ORDER_LOCK = 0x7265656C
"""Any constant that no other advisory lock of the database uses ("reel")."""


def append(
    session: AsyncSession,
    now: float,
    type: str,  # noqa: A002 - the column's name
    user_id: str,
    *,
    video_id: str | None = None,
    job_id: str | None = None,
    body: dict[str, Any] | None = None,
) -> None:
    """Add an event ("video.ready") to this transaction; it has an id and is seen once that is committed."""
    row = Event(at=now, type=type, user_id=user_id, video_id=video_id, job_id=job_id, body=body or {})
    session.info.setdefault(_PENDING, []).append(row)


async def flush_pending(session: AsyncSession) -> None:
    """Write the events appended so far. Called by `Database.write` before each commit."""
    rows = session.info.pop(_PENDING, [])
    if not rows:
        return
    if session.get_bind().dialect.name == "postgresql":
        await session.execute(select(func.pg_advisory_xact_lock(_COMMIT_ORDER_LOCK)))
    session.add_all(rows)
    await session.flush()


async def read_after(
    session: AsyncSession, after_id: int, limit: int, *, user_id: str | None, video_id: str | None = None
) -> Sequence[Event]:
    """The next events, oldest first.

    Args:
        after_id: the last id seen; 0 for all.
        user_id: whose events; None for everybody's, which only the notifier may ask.
        video_id: of one video only.
    """
    query = select(Event).where(Event.id > after_id).order_by(Event.id).limit(limit)
    if user_id is not None:
        query = query.where(Event.user_id == user_id)
    if video_id is not None:
        query = query.where(Event.video_id == video_id)
    return (await session.scalars(query)).all()


async def last_id(session: AsyncSession) -> int:
    """Id of the newest event; 0 when there is none."""
    return (await session.scalar(select(func.max(Event.id)))) or 0


async def prune(session: AsyncSession, before: float) -> None:
    """Forget events older than `before` (epoch seconds)."""
    await session.execute(delete(Event).where(Event.at < before).execution_options(synchronize_session=False))
