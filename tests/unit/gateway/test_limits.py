"""Rate limits: by user and tier, told in headers."""

from __future__ import annotations

from gateway.auth import Principal
from gateway.limits import UploadLimiter
from scheduler.jobs import Tier

ANN = Principal(subject="ann", tier=Tier.FREE)
BOB = Principal(subject="bob", tier=Tier.FREE)
PAYING = Principal(subject="ann", tier=Tier.PAID)


async def test_a_user_gets_as_many_uploads_as_the_tier_allows_and_others_are_not_touched() -> None:
    limiter = UploadLimiter({"free": "2/hour"})
    hits = [await limiter.hit(ANN) for _ in range(3)]
    assert [hit.allowed for hit in hits if hit] == [True, True, False]
    other = await limiter.hit(BOB)
    assert other is not None
    assert other.allowed


async def test_a_tier_without_a_rate_has_no_limit() -> None:
    assert await UploadLimiter({"free": "2/hour"}).hit(PAYING) is None


async def test_headers_tell_the_limit_and_when_to_come_back() -> None:
    limiter = UploadLimiter({"free": "1/hour"})
    allowed, refused = await limiter.hit(ANN), await limiter.hit(ANN)
    assert allowed is not None
    assert refused is not None
    assert allowed.headers()["RateLimit-Policy"] == '"initiate";q=1;w=3600'
    assert allowed.headers()["RateLimit"].startswith('"initiate";r=0;t=')
    assert "Retry-After" not in allowed.headers()
    assert 1 <= int(refused.headers()["Retry-After"]) <= 7200
