"""The doorbell: "look at the database now". A ring is a hint: it may be lost or come twice, and carries nothing.

Who waits polls the database anyway, at his own pace; rings only shorten the wait. So Redis may be slow, restarted or
gone: nobody notices but the clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

JOBS = "reelmill:jobs"
"""A job was enqueued, or one is to be cancelled, paused or resumed: for dispatchers."""
EVENTS = "reelmill:events"
"""Events were appended: for SSE and webhooks."""

RETRY_S = 1.0
"""Pause before subscribing again after Redis was lost."""

log = structlog.get_logger()


async def ring(redis: Redis, channel: str) -> bool:
    """Ring after the commit that there is something to see. False when Redis is not there: the poll will find it."""
    try:
        await redis.publish(channel, "")
    except (RedisError, OSError) as error:
        log.debug("doorbell not rung", channel=channel, error=str(error))
        return False
    return True


class Doorbell:
    """Waits for rings on some channels. One waiter each; `close` when done.

    Example:
        >>> bell = Doorbell(redis, [JOBS])
        >>> while running:
        ...     await look_at_the_database()
        ...     await bell.wait(poll_s)
    """

    def __init__(self, redis: Redis, channels: Iterable[str]) -> None:
        self._redis = redis
        self._channels = tuple(channels)
        self._rung = asyncio.Event()
        self._listener: asyncio.Task[None] | None = None

    async def wait(self, timeout_s: float) -> bool:
        """Wait for a ring, at most `timeout_s`; rings since the last wait count. True when it rang."""
        if self._listener is None:
            self._listener = asyncio.create_task(self._listen(), name="doorbell")
        try:
            async with asyncio.timeout(timeout_s):
                await self._rung.wait()
        except TimeoutError:
            return False
        self._rung.clear()
        return True

    async def close(self) -> None:
        """Stop listening."""
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.gather(self._listener, return_exceptions=True)
            self._listener = None

    async def _listen(self) -> None:
        """Subscribe, and again whenever Redis was lost. A subscription counts as a ring: some may have been missed."""
        while True:
            pubsub = self._redis.pubsub()
            try:
                await self._follow(pubsub)
            except (RedisError, OSError) as error:
                log.debug("doorbell is out", error=str(error))
            finally:
                await _quietly_close(pubsub)
            await asyncio.sleep(RETRY_S)

    async def _follow(self, pubsub: PubSub) -> None:
        await pubsub.subscribe(*self._channels)
        async for message in pubsub.listen():
            if message["type"] in ("subscribe", "message"):
                self._rung.set()


async def _quietly_close(pubsub: PubSub) -> None:
    """Give the connection back; that it is broken is known already."""
    try:
        await pubsub.aclose()  # type: ignore[no-untyped-call]
    except (RedisError, OSError):
        return
