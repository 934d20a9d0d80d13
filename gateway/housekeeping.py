"""What time has made superfluous, removed: expired sessions, multiparts nobody knows, sources past their retention.

Every step can be repeated and can be cut off anywhere: rows say first what is no longer wanted, bytes go afterwards,
and what a killed process left is found by the next round.
"""

from __future__ import annotations

import asyncio
from functools import partial

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from cluster import layout
from cluster.errors import IllegalTransition
from cluster.metadata import events, idempotency, retention, uploads, videos
from cluster.metadata.lifecycle import UploadTrigger
from cluster.metadata.schema import Upload, Video
from cluster.storage.local import LocalStore
from cluster.works import sync_catalogue
from gateway.ports import Ports

log = structlog.get_logger()

BATCH = 100
HOUR_S, DAY_S = 3600.0, 86_400.0
SETTLED_S = HOUR_S
"""After this a deleted video's workers have stopped, so nothing new appears under its keys."""
ORPHAN_S = HOUR_S
"""Beyond the life of a session: an open multipart that old and without a session has lost its owner."""


async def clean_up(ports: Ports) -> None:
    """One round of everything.

    Raises:
        FarmError: database or storage do not answer; the next round goes on.
    """
    now = ports.clock()
    await expire_uploads(ports, now)
    await drop_orphans(ports, now)
    await drop_sources(ports, now)
    await drop_deleted(ports, now)
    await forget(ports, now)
    await sync_catalogue(ports.database, ports.store)


async def expire_uploads(ports: Ports, now: float) -> None:
    """End sessions whose time is over and drop what had arrived of them."""
    async with ports.database.read() as session:
        over = await uploads.expired_uploads(session, now, BATCH)
    for upload in over:
        try:
            await ports.database.run(partial(_expire, upload=upload, now=now))
        except IllegalTransition:
            continue  # completed or aborted meanwhile
        await asyncio.to_thread(_drop_upload, ports, upload)
        ports.metrics.uploads.labels(outcome="expired").inc()
        log.info("upload expired", upload_id=upload.id)


async def drop_orphans(ports: Ports, now: float) -> None:
    """Abort multipart uploads that no open session knows: their process was killed before it wrote the row."""
    old = await asyncio.to_thread(ports.store.list_multiparts, now - ports.settings.upload_ttl_s - ORPHAN_S)
    for start in range(0, len(old), BATCH):
        batch = old[start : start + BATCH]
        async with ports.database.read() as session:
            known = await uploads.open_storage_uploads(session, [each.upload_id for each in batch])
        for each in batch:
            if each.upload_id not in known:
                await asyncio.to_thread(ports.store.abort_multipart, each.key, each.upload_id)
                log.info("orphaned multipart aborted", key=each.key)


async def drop_sources(ports: Ports, now: float) -> None:
    """Remove the sources of rejected and failed videos whose retention is over; they can no longer be retried."""
    async with ports.database.read() as session:
        found = await videos.sources_to_drop(session, now - ports.cluster.source_retention_s, BATCH)
    for video in found:
        # The row first: a retry that comes between would queue a job for a source that is gone.
        if await ports.database.run(partial(retention.mark_source_dropped, video_id=video.id)):
            await asyncio.to_thread(ports.store.delete, video.source_key)
            log.info("source dropped", video_id=video.id)


async def drop_deleted(ports: Ports, now: float) -> None:
    """Remove what is left of deleted videos, also what a worker wrote while the video was being deleted."""
    async with ports.database.read() as session:
        found = await retention.deleted_with_bytes(session, now - SETTLED_S, BATCH)
    for video in found:
        await asyncio.to_thread(remove_bytes, ports, video)
        await ports.database.run(partial(retention.mark_source_dropped, video_id=video.id))


async def forget(ports: Ports, now: float) -> None:
    """Prune the events and kept answers that nobody asks for any more, and a killed process's temporary files."""

    async def prune(session: AsyncSession) -> None:
        await events.prune(session, now - ports.settings.event_retention_s)
        await idempotency.prune_requests(session, now - DAY_S)

    await ports.database.run(prune)
    if isinstance(ports.store, LocalStore):
        await asyncio.to_thread(ports.store.sweep, now - DAY_S)


def remove_bytes(ports: Ports, video: Video) -> None:
    """Remove all that storage holds of a video. Blocks; can be repeated."""
    for folder in ("sources", "assets", "work"):
        ports.store.delete_prefix(f"{folder}/{video.id}/")
    ports.store.delete(layout.fingerprint_key(video.id))


async def _expire(session: AsyncSession, upload: Upload, now: float) -> None:
    await uploads.end_upload(session, upload, UploadTrigger.EXPIRED, now)


def _drop_upload(ports: Ports, upload: Upload) -> None:
    ports.store.abort_multipart(upload.key, upload.storage_upload_id)
    # Joined by a `complete` that was killed before its transaction: nobody will ask for it any more.
    ports.store.delete(upload.key)
