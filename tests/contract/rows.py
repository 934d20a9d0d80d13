"""Rows that tests begin with."""

from __future__ import annotations

from typing import Any

from cluster.metadata.database import Database
from cluster.metadata.jobs import NewJob, enqueue_job
from cluster.metadata.schema import new_id
from cluster.metadata.uploads import NewUpload, complete_upload, create_upload, record_parts_signed
from cluster.storage.base import Part

NOW = 1_800_000_000.0
"""A moment; the code under test asks no clock."""


def new_upload(user_id: str = "ann", **changes: Any) -> NewUpload:
    """An upload of 25 bytes in three parts of ten."""
    upload_id = new_id()
    fields: dict[str, Any] = {
        "upload_id": upload_id,
        "video_id": new_id(),
        "user_id": user_id,
        "title": "A day",
        "category": None,
        "visibility": "private",
        "filename": "day.mp4",
        "content_type": "video/mp4",
        "profile": "default",
        "key": f"raw/{upload_id}/source",
        "storage_upload_id": f"s-{upload_id}",
        "size_bytes": 25,
        "part_size_bytes": 10,
        "part_count": 3,
        "expires_at": NOW + 3600,
    }
    return NewUpload(**fields | changes)


async def uploaded_video(db: Database, user_id: str = "ann", now: float = NOW) -> str:
    """A video that is UPLOADED; its id."""
    new = new_upload(user_id)
    parts = [Part(number=n, size_bytes=size, etag=f"{n:032x}") for n, size in ((1, 10), (2, 10), (3, 5))]
    async with db.write() as session:
        await create_upload(session, new, now)
        await record_parts_signed(
            session, user_id, new.upload_id, {part.number: part.size_bytes for part in parts}, now
        )
        await complete_upload(session, user_id, new.upload_id, parts, now)
    return new.video_id


async def queued_jobs(db: Database, count: int, user_id: str = "ann", **changes: Any) -> list[str]:
    """So many queued jobs of one video, in order; their ids."""
    video_id = await uploaded_video(db, user_id)
    fields: dict[str, Any] = {"video_id": video_id, "user_id": user_id, "tier": "free", "profile": "default"}
    async with db.write() as session:
        return [(await enqueue_job(session, NewJob(**fields | changes), NOW)).id for _ in range(count)]
