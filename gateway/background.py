"""What a gateway does beside answering: housekeeping and webhooks. One gateway of the farm does each, by a lease.

A round that fails with a typed error is tried again with the next. The lease of a gateway that died goes to another.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import httpx
import structlog

from cluster.metadata import leases
from encoders.errors import FarmError
from gateway.housekeeping import clean_up
from gateway.ports import Ports
from gateway.webhooks import Notifier

log = structlog.get_logger()

LEASE_S = 60.0
"""How long a dead gateway's duties lie idle at most, seconds."""
NOTIFY_EVERY_S = 1.0
"""How often the event table is looked at for webhooks when nobody rings, seconds."""


class Duty:
    """Something that one gateway of the farm does again and again.

    Args:
        name: of the lease.
        work: one round; it may be cut off anywhere and repeated by another gateway.
        pause: waits until the next round.
    """

    def __init__(
        self, ports: Ports, name: str, work: Callable[[], Awaitable[None]], pause: Callable[[], Awaitable[None]]
    ) -> None:
        self._ports = ports
        self._name = f"gateway/{name}"
        self._owner = f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}"
        self._work = work
        self._pause = pause
        self._token: int | None = None
        self._renewed_at = 0.0

    async def run(self) -> None:
        """Work whenever it is this gateway's turn, until cancelled."""
        while True:
            try:
                if await self._mine():
                    await self._work()
            except FarmError as error:
                log.warning("a duty failed and is tried again", duty=self._name, code=error.code, detail=error.detail)
            await self._pause()

    async def release(self) -> None:
        """Let another gateway take over at once; without it the lease ends by itself."""
        if self._token is not None:
            with suppress(FarmError):
                async with self._ports.database.write() as session:
                    await leases.release(session, self._name, self._owner, self._token)
            self._token = None

    async def _mine(self) -> bool:
        now = self._ports.clock()
        # A clock that was set back is before the renewal: who could say how long ago that was?
        if self._token is not None and self._renewed_at <= now < self._renewed_at + LEASE_S / 3:
            return True
        async with self._ports.database.write() as session:
            if self._token is None or not await leases.renew(
                session, self._name, self._owner, self._token, now, LEASE_S
            ):
                self._token = await leases.acquire(session, self._name, self._owner, now, LEASE_S)
        self._renewed_at = now
        return self._token is not None


@asynccontextmanager
async def duties(ports: Ports) -> AsyncIterator[None]:
    """Do all duties for the length of the block."""
    settings = ports.settings
    async with httpx.AsyncClient(follow_redirects=False) as http:
        todo = [
            Duty(ports, "housekeeping", lambda: clean_up(ports), lambda: asyncio.sleep(settings.housekeeping_every_s))
        ]
        if settings.webhook_url:
            notifier = Notifier(ports, http)
            todo.append(Duty(ports, "webhooks", notifier.deliver_all, lambda: ports.bell.wait(NOTIFY_EVERY_S)))
        running = [asyncio.create_task(duty.run(), name=f"duty-{index}") for index, duty in enumerate(todo)]
        for task in running:
            task.add_done_callback(_tell_if_broken)
        try:
            yield
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            for duty in todo:
                await duty.release()


def _tell_if_broken(task: asyncio.Task[None]) -> None:
    """A duty ends by being cancelled; anything else is a bug that must be seen."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("a duty has stopped for good", duty=task.get_name(), exc_info=error)
