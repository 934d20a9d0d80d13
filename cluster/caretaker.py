"""Gives back what the farm's work leaves in the store: records, and half-made assets. Run by the leading dispatcher.

What users leave (sessions, sources, deleted videos, events) is the gateway's housekeeping; what workers leave on their
nodes' disks is removed by the next worker there (`staging.py`, `scratch.py`).

Everything here may be done twice, broken off at any step, or done by two at once: it removes only what no task can ask
for any more, decided by the database. What fails is logged and comes again with the next round.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog

from cluster import layout
from cluster.metadata.database import Database
from cluster.metadata.lifecycle import VideoStatus
from cluster.metadata.upkeep import Place, settled_videos
from cluster.storage.base import ObjectStore
from cluster.works import tend_catalogue
from encoders.errors import FarmError

log = structlog.get_logger()

EVERY_S = 60.0
"""Pause between rounds."""
PAGE = 100
"""Videos of one status in one round: a backlog is worked off minute by minute, beside the farm's work."""
REST_S = 3_600.0
"""How long after its last change a video is left alone: attempts that were still under way then have ended."""
LOOK_BACK_S = 7 * 86_400.0
"""How far back a walk begins after a restart; what is older was looked at before it."""

FINISHED = (VideoStatus.READY, VideoStatus.PUBLISHED)
REJECTED = tuple(status for status in VideoStatus if status.rejected)


class Caretaker:
    """One walk over the videos of each status that has something to give back.

    Args:
        retention_s: how long a rejected or failed video may be retried, and would find finished segments.
        clock: epoch seconds.
    """

    def __init__(
        self, database: Database, store: ObjectStore, retention_s: float, clock: Callable[[], float] = time.time
    ) -> None:
        self.database = database
        self.store = store
        self.clock = clock
        self._rest_s = dict.fromkeys(FINISHED, REST_S) | dict.fromkeys(REJECTED, max(REST_S, retention_s))
        self._places: dict[VideoStatus, Place] = {}

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            removed = await self.round()
            if removed:
                log.info("records_removed", objects=removed)
            await asyncio.sleep(EVERY_S)

    async def round(self) -> int:
        """One page of each walk, and a look at the catalogue of works; how many objects of videos were removed.

        No typed error leaves.
        """
        removed = 0
        for status in self._rest_s:
            try:
                removed += await self._walk(status)
            except FarmError as error:
                log.warning("caretaking_failed", status=status, code=error.code, detail=error.detail)
        try:
            await tend_catalogue(self.database, self.store, self.clock())
        except FarmError as error:
            log.warning("catalogue_not_tended", code=error.code, detail=error.detail)
        return removed

    async def _walk(self, status: VideoStatus) -> int:
        """One page further. The place is kept in memory only: after a restart some videos are looked at again."""
        before = self.clock() - self._rest_s[status]
        after = self._places.get(status, (before - LOOK_BACK_S, ""))
        async with self.database.read() as session:
            page = await settled_videos(session, status, after, before, PAGE)
        removed = 0
        for video in page:
            removed += await asyncio.to_thread(self.store.delete_prefix, layout.record_root(video.id))
            if status in REJECTED:
                # Without its source it cannot be retried, so nobody will ever finish what was begun.
                removed += await asyncio.to_thread(self.store.delete_prefix, layout.asset_root(video.id))
                await asyncio.to_thread(self.store.delete, layout.fingerprint_key(video.id))
            self._places[status] = (video.updated_at, video.id)
        return removed
