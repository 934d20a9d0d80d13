"""Rules of videos and their jobs: what their owner sees, and what may be done in which state."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from cluster.metadata import deletion, events, jobs, overview, videos
from cluster.metadata.lifecycle import VideoStatus, VideoTrigger
from cluster.metadata.schema import Asset, Job, Video
from gateway.admission import admit
from gateway.auth import Principal
from gateway.errors import SourceGone, StateConflict
from gateway.housekeeping import remove_bytes
from gateway.ports import Ports
from gateway.schemas import PublishRequest, RetryRequest, Visibility
from gateway.uploads import wished_job
from scheduler.jobs import JobState


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoView:
    """A video as its owner sees it: the row, its newest job, and the key of its thumbnail."""

    video: Video
    job: Job | None
    thumbnail_key: str | None


async def video_view(session: AsyncSession, who: Principal, video_id: str) -> VideoView:
    """One of the caller's videos.

    Raises:
        RowMissing: the user has no such video.
    """
    video = await videos.video_of(session, who.subject, video_id)
    return (await _views(session, [video]))[0]


async def video_page(
    session: AsyncSession, who: Principal, cursor: str | None, limit: int
) -> tuple[list[VideoView], str | None]:
    """A page of the caller's videos, newest first, and the cursor of the next.

    Raises:
        CursorInvalid: the cursor is not one of this listing's.
    """
    page, following = await videos.list_videos(session, who.subject, cursor, limit)
    return await _views(session, page), following


async def publish_video(
    ports: Ports, who: Principal, video_id: str, wanted: PublishRequest
) -> tuple[Video, Sequence[Asset]]:
    """Show a READY video; on a PUBLISHED one only the visibility changes.

    Raises:
        RowMissing: the user has no such video.
        StateConflict: it is in another state.
    """
    now = ports.clock()

    async def write(session: AsyncSession) -> tuple[Video, Sequence[Asset]]:
        await videos.video_of(session, who.subject, video_id)
        video = await videos.lock_video(session, video_id)
        if video.status == VideoStatus.READY:
            video = await videos.set_video_status(
                session, video_id, VideoTrigger.PUBLISHED, now, visibility=str(wanted.visibility)
            )
        elif video.status == VideoStatus.PUBLISHED:
            video.visibility, video.updated_at = str(wanted.visibility), now
            await session.flush()
        else:
            raise StateConflict(f"a video that is {video.status} cannot be published; wait until it is READY")
        if wanted.notify_followers and wanted.visibility is Visibility.PUBLIC:
            body = {"video_id": video_id, "title": video.title}
            events.append(session, now, "video.followers_to_notify", who.subject, video_id=video_id, body=body)
        return video, await videos.assets_of(session, who.subject, video_id)

    published = await ports.database.run(write)
    await ports.bell.ring()
    return published


async def retry_video(ports: Ports, who: Principal, video_id: str, wanted: RetryRequest) -> tuple[Video, Job]:
    """Queue a rejected or failed video again, with another profile or a trim; the kept source is used.

    Raises:
        RowMissing: the user has no such video.
        StateConflict: it is neither rejected nor failed.
        SourceGone: its source is no longer kept.
        UnknownProfile, TooMuchUnderWay, Overloaded: nothing was changed.
    """
    if wanted.profile is not None:
        ports.profile(wanted.profile)
    async with ports.database.read() as session:
        found = await videos.video_of(session, who.subject, video_id)
    _check_retry(found)
    await admit(ports, who)
    kept = found.source_key != videos.SOURCE_DROPPED
    if not kept or await asyncio.to_thread(ports.store.head, found.source_key) is None:
        raise SourceGone("the source of this video is no longer kept")
    now = ports.clock()

    async def write(session: AsyncSession) -> tuple[Video, Job]:
        locked = await videos.lock_video(session, video_id)
        _check_retry(locked)
        if locked.source_key == videos.SOURCE_DROPPED:
            raise SourceGone("the source of this video is no longer kept")
        profile = wanted.profile or found.profile
        video = await videos.set_video_status(session, video_id, VideoTrigger.RETRIED, now, profile=profile)
        options: dict[str, Any] = {"trim": wanted.trim.model_dump()} if wanted.trim else {}
        new = wished_job(wanted, now, video_id=video_id, who=who, profile=profile, **options)
        return video, await jobs.enqueue_job(session, new, now)

    queued = await ports.database.run(write)
    await ports.bell.ring()
    return queued


async def delete_video(ports: Ports, who: Principal, video_id: str) -> Callable[[], None]:
    """Delete a video and stop its work; answers what removes its bytes from storage, to be called afterwards.

    Raises:
        RowMissing: the user has no such video.
    """
    now = ports.clock()
    video, uploads = await ports.database.run(lambda s: deletion.delete_video(s, who.subject, video_id, now))
    await ports.bell.ring()

    def remove() -> None:
        for upload in uploads:
            ports.store.abort_multipart(upload.key, upload.storage_upload_id)
        remove_bytes(ports, video)

    return remove


async def cancel_job(ports: Ports, who: Principal, job_id: str) -> Job:
    """Ask a job to end; nothing happens when it is over already by cancelling.

    Raises:
        RowMissing: the user has no such job.
        StateConflict: it has ended in another way.
    """
    now = ports.clock()

    async def write(session: AsyncSession) -> Job:
        job = await jobs.job_of(session, who.subject, job_id)
        if not await jobs.request_cancel(session, job_id, now) and job.state != JobState.CANCELLED:
            raise StateConflict(f"the job is {job.state} already")
        return job

    job = await ports.database.run(write)
    await ports.bell.ring()
    return job


def _check_retry(video: Video) -> None:
    if not VideoStatus(video.status).rejected:
        raise StateConflict(f"a video that is {video.status} cannot be retried; only rejected and failed ones can")


async def _views(session: AsyncSession, found: Sequence[Video]) -> list[VideoView]:
    ids = [video.id for video in found]
    newest = await overview.newest_jobs(session, ids)
    thumbnails = await overview.thumbnail_keys(session, ids)
    return [VideoView(video=video, job=newest.get(video.id), thumbnail_key=thumbnails.get(video.id)) for video in found]
