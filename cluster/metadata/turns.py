"""The order in which waiting jobs are claimed: tiers beside each other, within a tier users in turn.

The scheduler is fair among the jobs that its dispatcher holds; what it holds must not depend on who queued first. So a
job gets a turn when it is queued: the turn that its tier has reached, plus the number of jobs that its owner has there
already. Claiming by turn is start-time fair queueing with jobs of equal size (Source: Goyal, Vin and Cheng, "Start-time
fair queueing", SIGCOMM 1996): ten thousand jobs of one user take ten thousand turns, and whoever comes next is claimed
in the present one. It costs two index look-ups when a job is queued, and none but the index's own order when it is
claimed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.metadata.schema import Job
from scheduler.jobs import JobState, Tier

GUARANTEED = 4
"""Jobs of each user that are claimed although the dispatcher holds as many of the tier as it wants: enough that a user
has work to start while one of the jobs is inspected or packaged."""

_QUEUED, _RUNNING = str(JobState.QUEUED), str(JobState.RUNNING)


async def next_turn(session: AsyncSession, tier: str, user_id: str) -> tuple[int, int]:
    """(turn, place) of a job that is queued now.

    The turn reached is that of the latest claimed job that is not over, or else of the first that waits.
    """
    of_tier = Job.tier == str(tier)
    reached = await session.scalar(select(func.max(Job.turn)).where(Job.state == _RUNNING, of_tier))
    if reached is None:
        reached = await session.scalar(select(func.min(Job.turn)).where(Job.state == _QUEUED, of_tier))
    own = select(func.count()).where(Job.user_id == user_id, Job.state.in_((_QUEUED, _RUNNING)), of_tier)
    place = int(await session.scalar(own) or 0)
    return int(reached or 0) + place, place


async def take_waiting(
    session: AsyncSession, wanted: Sequence[ColumnElement[bool]], limit: int, rooms: Mapping[str, int]
) -> list[Job]:
    """Up to `limit` waiting jobs, locked and RUNNING from now on.

    Every tier gets a part of the limit; what one does not need, the others get.

    Args:
        wanted: what else must hold of them.
        rooms: how many more of a tier may be held; beyond it only the first few jobs of each user are taken. A tier
            that is missing has room.
    """
    taken: list[Job] = []
    full: set[Tier] = set()
    for part in (max(1, limit // len(Tier)), limit):
        for tier in Tier:
            count = min(part, limit - len(taken))
            if tier in full or count <= 0:
                continue
            room = rooms.get(tier, limit) - sum(1 for job in taken if job.tier == tier)
            found = await _first(session, [*wanted, Job.tier == str(tier)], min(count, max(0, room)))
            if len(found) == room < count:
                found += await _guaranteed(session, wanted, tier, count - len(found))
            taken += found
            if len(found) < count:
                full.add(tier)
    return taken


async def _guaranteed(
    session: AsyncSession, wanted: Sequence[ColumnElement[bool]], tier: Tier, limit: int
) -> list[Job]:
    """The first jobs of users who came lately, near the front of the tier's queue."""
    front = select(func.min(Job.turn)).where(Job.state == _QUEUED, Job.tier == str(tier), *wanted).scalar_subquery()
    near = [Job.tier == str(tier), Job.place < GUARANTEED, Job.turn < front + GUARANTEED]
    return await _first(session, [*wanted, *near], limit)


async def _first(session: AsyncSession, wanted: Sequence[ColumnElement[bool]], limit: int) -> list[Job]:
    if limit <= 0:
        return []
    query = select(Job).where(Job.state == _QUEUED, Job.lease_owner.is_(None), *wanted).order_by(Job.turn, Job.seq)
    query = query.limit(limit).with_for_update(skip_locked=True).execution_options(populate_existing=True)
    found = list((await session.scalars(query)).all())
    for job in found:
        job.state = _RUNNING  # so that the next query of this transaction does not see them
    return found


def of_affinity(affinity: str | None, also: Collection[str] = ()) -> ColumnElement[bool]:
    """Jobs that a dispatcher of a cluster or region may claim: its own, those of none, and those of `also`."""
    allowed = [name for name in (affinity, *also) if name]
    return or_(Job.affinity.is_(None), Job.affinity.in_(allowed)) if allowed else Job.affinity.is_(None)
