"""Whether the farm takes more work: limits of what a user may have under way, and of what all have together.

Work under way is an open upload session or a job that is not over. It is refused at its beginning only, before a byte
is sent; what was begun is never refused later. When the farm fills up, free work is refused first, then verified, and
paid only when it is full. Requests that come at the same moment may pass the limit by their number.
"""

from __future__ import annotations

from cluster.metadata import jobs, uploads
from gateway.auth import Principal
from gateway.errors import Overloaded, TooMuchUnderWay
from gateway.ports import Ports
from scheduler.jobs import Tier

REFUSED_AT = {Tier.FREE: 0.7, Tier.VERIFIED: 0.85, Tier.PAID: 1.0}
"""Share of the farm's limit from which on a tier's new work is refused: the rest is kept for those who pay."""


async def admit(ports: Ports, who: Principal) -> None:
    """Return when the user may begin another upload or retry.

    Raises:
        TooMuchUnderWay: the user has as much under way as the tier allows.
        Overloaded: all users together have; for this tier.
    """
    settings, tier = ports.settings, Tier(who.tier)
    own_limit = settings.active_jobs.get(tier)
    async with ports.database.read() as session:
        if own_limit is not None:
            own = await jobs.count_active_jobs(session, who.subject)
            own += await uploads.count_open_uploads(session, who.subject)
            if own >= own_limit:
                raise TooMuchUnderWay(
                    f"{own} uploads and jobs are under way; {own_limit} are allowed at once for tier {tier}"
                )
        under_way = await jobs.count_active_jobs(session, None)
    if under_way >= settings.farm_active_jobs * REFUSED_AT[tier]:
        raise Overloaded(f"{under_way} of {settings.farm_active_jobs} jobs are under way; tier {tier} has to wait")
