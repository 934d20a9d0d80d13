"""The one clock by which leases are judged: the database's, whatever the clocks of those who ask say.

Dispatchers on several machines never agree on the time, and a machine's clock may be set while it works. The database
is one place, so two claimants that read its clock cannot disagree about whether a lease is over. That clock may be set
as well: forwards, leases end early, and fencing tokens make that harmless; backwards, they would outlive their owners,
so a lease that claims to last longer than settings allow (`LONGEST_LEASE_S`) counts as over.
"""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.settings import LONGEST_LEASE_S

_POSTGRESQL = text("SELECT CAST(extract(epoch FROM clock_timestamp()) AS double precision)")
_SQLITE = text("SELECT (julianday('now') - 2440587.5) * 86400.0")
"""Source: SQLite, Date And Time Functions: 2440587.5 is the Julian day of 1970-01-01. Exact to about 0.05 ms."""


async def lease_now(session: AsyncSession) -> float:
    """Epoch seconds by the database's clock, at the moment of the call and not of the transaction's begin."""
    postgresql = session.get_bind().dialect.name == "postgresql"
    return float((await session.execute(_POSTGRESQL if postgresql else _SQLITE)).scalar_one())


def is_over(until: float, now: float) -> bool:
    """Whether a lease that lasts until then has ended; also when its end is further away than any lease's may be."""
    return until < now or until > now + LONGEST_LEASE_S
