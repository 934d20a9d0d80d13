"""The gateway's end of the doorbell: ring it, wait for it, and read what the dispatcher says of jobs.

All of it may be lost: without Redis everything goes on by looking at the database each second.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from cluster import doorbell
from gateway.ports import Bell

ANSWER_S = 2.0
"""How long Redis may take to answer before it counts as absent, seconds."""
EXPLAIN_KEY = "reelmill:explain:"
"""Prefix of the keys under which the dispatcher keeps what it says of a job, as JSON."""
LISTEN_S = 60.0


class QuietBell:
    """For a farm without Redis: nobody rings, waiting is sleeping."""

    async def ring(self) -> None:
        """See `Bell`."""

    async def wait(self, timeout_s: float) -> None:
        """See `Bell`."""
        await asyncio.sleep(timeout_s)

    async def explanation(self, job_id: str) -> dict[str, Any] | None:
        """See `Bell`."""
        return None

    async def state(self) -> str:
        """See `Bell`."""
        return "not used"

    async def close(self) -> None:
        """See `Bell`."""


class RedisBell:
    """For a farm with Redis. One subscription wakes all event streams of the process."""

    def __init__(self, url: str) -> None:
        self._commands = Redis.from_url(url, socket_timeout=ANSWER_S, socket_connect_timeout=ANSWER_S)
        # Its own connection, without a limit on silence: a subscription may be quiet for hours.
        self._subscriber = Redis.from_url(url, socket_connect_timeout=ANSWER_S)
        self._bell = doorbell.Doorbell(self._subscriber, [doorbell.EVENTS])
        self._rung = asyncio.Event()
        self._listener: asyncio.Task[None] | None = None

    async def ring(self) -> None:
        """See `Bell`."""
        await doorbell.ring(self._commands, doorbell.JOBS)
        await doorbell.ring(self._commands, doorbell.EVENTS)

    async def wait(self, timeout_s: float) -> None:
        """See `Bell`."""
        if self._listener is None:
            self._listener = asyncio.create_task(self._listen(), name="gateway-bell")
        try:
            async with asyncio.timeout(timeout_s):
                await self._rung.wait()
        except TimeoutError:
            return

    async def explanation(self, job_id: str) -> dict[str, Any] | None:
        """See `Bell`."""
        try:
            told = await self._commands.get(EXPLAIN_KEY + job_id)
        except (RedisError, OSError):
            return None
        value = json.loads(told) if told else None
        return value if isinstance(value, dict) else None

    async def state(self) -> str:
        """See `Bell`."""
        try:
            await self._commands.ping()
        except (RedisError, OSError) as error:
            return type(error).__name__
        return "ok"

    async def close(self) -> None:
        """See `Bell`."""
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.gather(self._listener, return_exceptions=True)
        await self._bell.close()
        for client in (self._commands, self._subscriber):
            await client.aclose()

    async def _listen(self) -> None:
        while True:
            if await self._bell.wait(LISTEN_S):
                # A fresh event for those who wait from now on; the old one wakes those who wait already.
                waiting, self._rung = self._rung, asyncio.Event()
                waiting.set()


def open_bell(redis_url: str) -> Bell:
    """The bell of a farm, by its Redis URL; nothing is connected yet."""
    return RedisBell(redis_url) if redis_url else QuietBell()
