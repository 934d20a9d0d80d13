"""How many uploads a user may start: a sliding window by user and tier, shared through Redis when there is one.

Losing Redis must not stop uploads: when it does not answer, the gateway counts in its own memory until it does, so the
limit is then per process instead of per farm.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import cast

import structlog
from limits import RateLimitItem, parse
from limits.aio.storage import MemoryStorage, Storage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from limits.errors import StorageError
from limits.storage import storage_from_string

from gateway.auth import Principal

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What one hit left of a user's limit."""

    allowed: bool
    limit: int
    window_s: int
    remaining: int
    reset_s: int

    def headers(self) -> dict[str, str]:
        """Response headers. Source: draft-ietf-httpapi-ratelimit-headers-10; RFC 9110 section 10.2.3 (Retry-After)."""
        named = {
            "RateLimit-Policy": f'"initiate";q={self.limit};w={self.window_s}',
            "RateLimit": f'"initiate";r={self.remaining};t={self.reset_s}',
        }
        return named if self.allowed else {**named, "Retry-After": str(max(1, self.reset_s))}


class UploadLimiter:
    """Counts started uploads.

    Args:
        rates: tier -> "count/period"; a tier that is missing has no limit.
        redis_url: `redis://…` or `unix://…` for one count across gateways; empty counts in this process.
    """

    def __init__(self, rates: dict[str, str], redis_url: str = "") -> None:
        self._rates: dict[str, RateLimitItem] = {tier: parse(rate) for tier, rate in rates.items()}
        self._local = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._shared = SlidingWindowCounterRateLimiter(_redis_storage(redis_url)) if redis_url else None

    async def hit(self, who: Principal) -> Allowance | None:
        """Count one started upload; None when the tier has no limit. A refused hit is not counted."""
        rate = self._rates.get(who.tier)
        if rate is None:
            return None
        if self._shared is not None:
            try:
                return await _hit(self._shared, rate, who.subject)
            except StorageError:
                log.warning("rate limit counted in this process: Redis does not answer")
        return await _hit(self._local, rate, who.subject)


async def _hit(limiter: SlidingWindowCounterRateLimiter, rate: RateLimitItem, subject: str) -> Allowance:
    allowed = await limiter.hit(rate, "initiate", subject)
    stats = await limiter.get_window_stats(rate, "initiate", subject)
    return Allowance(
        allowed=allowed,
        limit=rate.amount,
        window_s=rate.get_expiry(),
        remaining=stats.remaining,
        reset_s=max(0, math.ceil(stats.reset_time - time.time())),
    )


def _redis_storage(url: str) -> Storage:
    uri = url.replace("unix://", "redis+unix://", 1) if url.startswith("unix://") else url
    storage = storage_from_string(f"async+{uri}", implementation="redispy", wrap_exceptions=True)
    return cast(Storage, storage)
