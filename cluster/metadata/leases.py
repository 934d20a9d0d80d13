"""Leadership among dispatchers: one owner a name, for a time, with a fencing token that rises with each taking.

A paused old leader wakes up with an old token: `renew` says no, and whoever checks the token ignores it. `now` is the
database's clock (`clock.lease_now`), so that claimants agree on it; should that clock be set, a lease ends early or,
at the latest, after `settings.LONGEST_LEASE_S`. A handover that comes early is safe by the token.
"""

from __future__ import annotations

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.metadata.clock import is_over
from cluster.metadata.schema import Lease
from cluster.settings import LONGEST_LEASE_S

_FIRST = -1.0
"""`until` of a row just made: over, so that the same statement takes it as any other free lease."""


async def acquire(session: AsyncSession, name: str, owner: str, now: float, ttl_s: float) -> int | None:
    """Take a lease that is free, over, or one's own.

    Returns:
        The fencing token, one more than the last: an owner that starts anew under its old name fences off the process
        that it was before. None when another owner holds the lease.
    """
    await _ensure_row(session, name)
    lease = await session.scalar(
        select(Lease).where(Lease.name == name).with_for_update().execution_options(populate_existing=True)
    )
    if lease is None or (lease.owner != owner and not is_over(lease.until, now)):
        return None
    lease.token += 1
    lease.owner = owner
    lease.until = now + ttl_s
    await session.flush()
    return lease.token


async def renew(session: AsyncSession, name: str, owner: str, token: int, now: float, ttl_s: float) -> bool:
    """Hold on for another `ttl_s`; False when somebody else has taken over since.

    A lease that ran out, but that nobody took, is renewed under the same token.
    """
    return await _update(session, name, owner, token, now + ttl_s)


async def release(session: AsyncSession, name: str, owner: str, token: int) -> bool:
    """Let go at once, for an orderly shutdown; False when it was not held."""
    return await _update(session, name, owner, token, 0.0)


async def holder(session: AsyncSession, name: str, now: float) -> Lease | None:
    """Who holds the lease now; None when nobody does."""
    return await session.scalar(
        select(Lease).where(Lease.name == name, Lease.until.between(now, now + LONGEST_LEASE_S))
    )


async def _update(session: AsyncSession, name: str, owner: str, token: int, until: float) -> bool:
    written = await session.scalar(
        update(Lease)
        .where(Lease.name == name, Lease.owner == owner, Lease.token == token)
        .values(until=until)
        .returning(Lease.name)
        .execution_options(synchronize_session=False)
    )
    return written is not None


async def _ensure_row(session: AsyncSession, name: str) -> None:
    """Make the lease's row unless it is there; of two at once, one waits for the other's commit."""
    insert = postgresql_insert if session.get_bind().dialect.name == "postgresql" else sqlite_insert
    row = {"name": name, "owner": "", "token": 0, "until": _FIRST}
    await session.execute(insert(Lease).values(row).on_conflict_do_nothing())
