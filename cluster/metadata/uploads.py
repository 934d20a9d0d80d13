"""Upload sessions and their parts. Storage holds the bytes; these rows hold what was agreed and what was seen.

Rule: an upload's status changes through the lifecycle's table, and its video's with it, in one transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.errors import RowMissing
from cluster.metadata import events
from cluster.metadata.lifecycle import UploadStatus, UploadTrigger, VideoStatus, VideoTrigger, next_upload_status
from cluster.metadata.schema import Upload, UploadPart, Video
from cluster.metadata.videos import lock_video, set_video_status
from cluster.storage.base import Part

_OPEN = tuple(str(status) for status in UploadStatus if status.open)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewUpload:
    """A video to come and the upload session for its source; storage has opened the multipart upload already."""

    upload_id: str
    video_id: str
    user_id: str
    title: str
    category: str | None
    visibility: str
    filename: str
    content_type: str
    profile: str
    key: str
    storage_upload_id: str
    size_bytes: int
    part_size_bytes: int
    part_count: int
    expires_at: float

    def __post_init__(self) -> None:
        if self.size_bytes < 1 or self.part_size_bytes < 1:
            raise ValueError(f"{self.size_bytes} bytes in parts of {self.part_size_bytes}: both at least 1")
        if self.part_count != -(-self.size_bytes // self.part_size_bytes):
            raise ValueError(f"{self.part_count} parts of {self.part_size_bytes} are not {self.size_bytes} bytes")


async def create_upload(session: AsyncSession, new: NewUpload, now: float) -> tuple[Video, Upload]:
    """Write the video (DRAFT) and its upload (INITIATED), and an event."""
    video = Video(
        id=new.video_id,
        user_id=new.user_id,
        title=new.title,
        category=new.category,
        visibility=new.visibility,
        filename=new.filename,
        content_type=new.content_type,
        size_bytes=new.size_bytes,
        profile=new.profile,
        status=str(VideoStatus.DRAFT),
        source_key=new.key,
        created_at=now,
        updated_at=now,
    )
    upload = Upload(
        id=new.upload_id,
        video_id=new.video_id,
        user_id=new.user_id,
        status=str(UploadStatus.INITIATED),
        storage_upload_id=new.storage_upload_id,
        key=new.key,
        size_bytes=new.size_bytes,
        content_type=new.content_type,
        part_size_bytes=new.part_size_bytes,
        part_count=new.part_count,
        expires_at=new.expires_at,
        created_at=now,
    )
    session.add(video)
    await session.flush()
    session.add(upload)
    await session.flush()
    body = {"video_id": video.id, "status": video.status}
    events.append(session, now, "video.draft", new.user_id, video_id=video.id, body=body)
    return video, upload


async def upload_of(session: AsyncSession, user_id: str, upload_id: str, *, lock: bool = False) -> Upload:
    """A user's upload session; with `lock`, held until the end of the (write) transaction.

    Raises:
        RowMissing: there is none of that id, or it is another user's.
    """
    query = select(Upload).where(Upload.id == upload_id, Upload.user_id == user_id)
    if lock:
        query = query.with_for_update().execution_options(populate_existing=True)
    upload = await session.scalar(query)
    if upload is None:
        raise RowMissing(f"no upload {upload_id}")
    return upload


async def upload_of_video(session: AsyncSession, user_id: str, video_id: str) -> Upload | None:
    """The newest upload session of a user's video; None when there is none."""
    query = select(Upload).where(Upload.video_id == video_id, Upload.user_id == user_id)
    return await session.scalar(query.order_by(Upload.created_at.desc()).limit(1))


async def parts_of(session: AsyncSession, upload_id: str) -> Sequence[UploadPart]:
    """Parts that URLs were signed for, by number."""
    query = select(UploadPart).where(UploadPart.upload_id == upload_id).order_by(UploadPart.part_number)
    return (await session.scalars(query)).all()


async def record_parts_signed(
    session: AsyncSession, user_id: str, upload_id: str, sizes_bytes: Mapping[int, int], now: float
) -> Upload:
    """Note the parts (number -> size) for which URLs are given out; the session is IN_PROGRESS, its video UPLOADING.

    Raises:
        RowMissing: the user has no such upload.
        IllegalTransition: the session is over.
    """
    upload = await upload_of(session, user_id, upload_id, lock=True)
    upload.status = str(next_upload_status(UploadStatus(upload.status), UploadTrigger.PART_SIGNED))
    known = {part.part_number: part for part in await parts_of(session, upload_id)}
    for number, size_bytes in sizes_bytes.items():
        part = known.get(number)
        if part is None:
            part = UploadPart(upload_id=upload_id, part_number=number)
            session.add(part)
        part.size_bytes, part.signed_at, part.etag, part.received_at = size_bytes, now, None, None
    await session.flush()
    video = await lock_video(session, upload.video_id)
    if video.status == VideoStatus.DRAFT:
        await set_video_status(session, upload.video_id, VideoTrigger.UPLOAD_STARTED, now)
    return upload


async def record_parts_received(session: AsyncSession, upload_id: str, parts: Sequence[Part], now: float) -> None:
    """Note what storage was seen to hold; parts that no URL was signed for are left out."""
    known = {part.part_number: part for part in await parts_of(session, upload_id)}
    for held in parts:
        part = known.get(held.number)
        if part is not None and part.etag != held.etag:
            part.etag, part.received_at = held.etag, now
    await session.flush()


async def complete_upload(
    session: AsyncSession, user_id: str, upload_id: str, parts: Sequence[Part], now: float
) -> tuple[Upload, bool]:
    """Close a session whose object storage has joined; the video is UPLOADED. Enqueue the job in this transaction.

    Returns:
        The upload, and whether this call closed it: False when it was COMPLETED before (then enqueue nothing).

    Raises:
        RowMissing: the user has no such upload.
        IllegalTransition: the session was aborted, has expired, or no part was ever signed.
    """
    upload = await upload_of(session, user_id, upload_id, lock=True)
    if upload.status == UploadStatus.COMPLETED:
        return upload, False
    upload.status = str(next_upload_status(UploadStatus(upload.status), UploadTrigger.COMPLETED))
    upload.completed_at = now
    await record_parts_received(session, upload_id, parts, now)
    await set_video_status(session, upload.video_id, VideoTrigger.UPLOAD_COMPLETED, now)
    return upload, True


async def end_upload(session: AsyncSession, upload: Upload, trigger: UploadTrigger, now: float) -> None:
    """Abort or expire a session, before or after storage drops its parts; its video is a DRAFT again.

    Raises:
        IllegalTransition: the session is over; nothing was changed.
    """
    held = await upload_of(session, upload.user_id, upload.id, lock=True)
    held.status = str(next_upload_status(UploadStatus(held.status), trigger))
    await session.flush()
    video = await lock_video(session, held.video_id)
    if video.status in (VideoStatus.DRAFT, VideoStatus.UPLOADING):
        await set_video_status(session, held.video_id, VideoTrigger.UPLOAD_ABANDONED, now)


async def expired_uploads(session: AsyncSession, now: float, limit: int = 100) -> Sequence[Upload]:
    """Open sessions whose time is over, oldest first, of all users: the sweeper's work."""
    query = select(Upload).where(Upload.status.in_(_OPEN), Upload.expires_at < now)
    return (await session.scalars(query.order_by(Upload.expires_at).limit(limit))).all()


async def count_open_uploads(session: AsyncSession, user_id: str) -> int:
    """Open sessions of a user: what admission limits count."""
    query = select(func.count()).where(Upload.user_id == user_id, Upload.status.in_(_OPEN))
    return (await session.scalar(query)) or 0


async def open_storage_uploads(session: AsyncSession, storage_upload_ids: Sequence[str]) -> set[str]:
    """Which of storage's multipart uploads belong to an open session; the sweeper aborts the others."""
    query = select(Upload.storage_upload_id).where(
        Upload.storage_upload_id.in_(list(storage_upload_ids)), Upload.status.in_(_OPEN)
    )
    return set((await session.scalars(query)).all())
