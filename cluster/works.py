"""Registered works: from a video's fingerprint to the catalogue that workers compare with.

The rows say which works there are. The catalogue is made of them: a new object for each change, then the pointer to it.
Whatever is broken off in between is made good by the next `sync_catalogue`, which each change and the gateway's
housekeeping call. Workers read pointer and catalogue only; a catalogue comes to a node once, through staging.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import structlog

from cluster import layout
from cluster.errors import IllegalTransition, ObjectMissing
from cluster.metadata import works
from cluster.metadata.database import Database
from cluster.metadata.lifecycle import VideoStatus
from cluster.metadata.schema import Video, Work, new_id
from cluster.staging import Staging
from cluster.storage.base import ObjectStore
from encoders.recognition.catalogue import write_catalogue
from encoders.recognition.fingerprint import Fingerprint, FingerprintInvalid

BINARY = "application/octet-stream"
log = structlog.get_logger()


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
        if not await asyncio.to_thread(_renew, store, rows):
            return changed
        # Rows may have changed while the catalogue was made: it is looked at once more.
        changed = True


def _renew(store: ObjectStore, rows: Sequence[Work]) -> bool:
    key = layout.catalogue_key(_digest(rows))
    before = _pointer(store)
    if key == before or (not rows and before is None):
        return False
    with tempfile.TemporaryDirectory(prefix="reelmill-works-") as folder:
        path = Path(folder) / "catalogue"
        write_catalogue(path, _fingerprints(store, rows))
        store.put_file(key, path, BINARY)
    store.put_bytes(layout.CATALOGUE_POINTER, json.dumps({"catalogue": key}).encode(), "application/json")
    # The one before stays for workers that have just read the pointer; older ones go.
    for old in store.list(layout.catalogue_key("")):
        if old.key not in (key, before):
            store.delete(old.key)
    return True


def _fingerprints(store: ObjectStore, rows: Sequence[Work]) -> Iterator[tuple[str, str, str, Fingerprint]]:
    for row in sorted(rows, key=lambda row: row.id):
        try:
            yield row.id, row.title, row.video_id, Fingerprint.from_bytes(store.get_bytes(layout.work_key(row.id)))
        except (ObjectMissing, FingerprintInvalid) as error:
            log.error("work_left_out", work=row.id, title=row.title, code=error.code, detail=error.detail)


def _digest(rows: Sequence[Work]) -> str:
    named = sorted((row.id, row.title, row.video_id) for row in rows)
    return hashlib.sha256(json.dumps(named).encode()).hexdigest()[:32]


def _pointer(store: ObjectStore) -> str | None:
    try:
        return str(json.loads(store.get_bytes(layout.CATALOGUE_POINTER))["catalogue"])
    except ObjectMissing:
        return None


@contextmanager
def open_works(store: ObjectStore, staging: Staging) -> Iterator[Path | None]:
    """The catalogue that counts now, as a file of this node for as long as the context lasts; None without works.

    Raises:
        ObjectMissing: it was replaced twice in this moment: try again.
    """
    key = _pointer(store)
    if key is None:
        yield None
        return
    with staging.lease(store, key) as staged:
        yield staged.path
