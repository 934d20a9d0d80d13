"""The gateway's end of the doorbell: ring it, wait for it, and read what the dispatcher says of jobs.

All of it may be lost: without Redis everything goes on by looking at the database each second.
"""

from __future__ import annotations

import asyncio
from typing import Any

from gateway.ports import Bell


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


def open_bell(redis_url: str) -> Bell:
    """The bell of a farm, by its Redis URL."""
    return QuietBell()
