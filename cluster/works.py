"""Registered works: from a video's fingerprint to the catalogue that workers compare with.

The rows say which works there are; the catalogue (`cluster.catalogue`) is made of them. Whatever is broken off in
between is made good by the next `sync_catalogue`, which each change and the gateway's housekeeping call. Workers read
the catalogue only; each of its parts comes to a node once, through staging.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cluster import layout
from cluster.catalogue import BINARY, read_pointer, renew, tend
from cluster.errors import IllegalTransition, ObjectMissing
from cluster.metadata import works
from cluster.metadata.database import Database
from cluster.metadata.lifecycle import VideoStatus
from cluster.metadata.schema import Video, Work, new_id
from cluster.staging import Staging
from cluster.storage.base import ObjectStore
from encoders.recognition.fingerprint import Fingerprint, FingerprintInvalid


async def register_work(database: Database, store: ObjectStore, video: Video, title: str, by: str, now: float) -> Work:
    """Register what a video shows and plays as a work; again for the same video, only the title changes.

    Raises:
        IllegalTransition: the video is not finished.
        FingerprintInvalid: it has no fingerprint, an empty one, or one of another version: process it again.
        DatabaseUnavailable, StorageError: a fingerprint that no row names may be left; it does no harm.
    """
    if not VideoStatus(video.status).playable:
        raise IllegalTransition(f"a video that is {video.status} cannot be registered; wait until it is READY")
    try:
        data = await asyncio.to_thread(store.get_bytes, layout.fingerprint_key(video.id))
    except ObjectMissing:
        raise FingerprintInvalid("the video has no fingerprint: process it again, then register it") from None
    fingerprint = Fingerprint.from_bytes(data)
    if fingerprint.empty:
        raise FingerprintInvalid("the video shows and plays nothing that it could be recognised by")
    new = works.NewWork(
        work_id=new_id(),
        title=title,
        video_id=video.id,
        duration_ms=video.duration_ms,
        pictures=len(fingerprint.pictures),
        words=len(fingerprint.sound),
        created_by=by,
    )
    await asyncio.to_thread(store.put_bytes, layout.work_key(new.work_id), data, BINARY)
    work = await database.run(partial(works.add_work, new=new, now=now))
    if work.id != new.work_id:
        await asyncio.to_thread(store.delete, layout.work_key(new.work_id))
    await sync_catalogue(database, store)
    return work


async def unregister_work(database: Database, store: ObjectStore, work_id: str) -> Work:
    """Forget a work; videos packaged from now on are no longer compared with it.

    Raises:
        RowMissing: there is none of that id.
    """
    work = await database.run(partial(works.remove_work, work_id=work_id))
    await sync_catalogue(database, store)
    await asyncio.to_thread(store.delete, layout.work_key(work_id))
    return work


async def sync_catalogue(database: Database, store: ObjectStore) -> bool:
    """See to it that the catalogue holds what the rows say; False when it did already."""
    changed = False
    while True:
        async with database.read() as session:
            rows = await works.list_works(session)
        if not await asyncio.to_thread(renew, store, rows, time.time()):
            return changed
        # Rows, or the pointer, may have changed while the catalogue was made: it is looked at once more.
        changed = True


async def tend_catalogue(database: Database, store: ObjectStore, now: float) -> None:
    """Merge parts of the catalogue if they are many, and delete those that are long of no use."""
    if await asyncio.to_thread(tend, store, now):
        await sync_catalogue(database, store)


@dataclass(frozen=True, slots=True)
class OpenWorks:
    """The catalogue as files of this node, the oldest part first, and ids of works in them that count no more."""

    parts: tuple[Path, ...]
    removed: tuple[str, ...]


@contextmanager
def open_works(store: ObjectStore, staging: Staging) -> Iterator[OpenWorks | None]:
    """The catalogue that counts now, staged for as long as the context lasts; None without works.

    Raises:
        ObjectMissing: a part is lost, which the caretaker makes good: try again.
    """
    pointer = read_pointer(store)
    if not pointer.parts:
        yield None
        return
    with ExitStack() as leases:
        parts = tuple(leases.enter_context(staging.lease(store, key)).path for key in pointer.parts)
        yield OpenWorks(parts, pointer.removed)
