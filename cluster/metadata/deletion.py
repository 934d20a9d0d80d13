"""Deleting a video: its uploads end, its jobs are cancelled, and its row stays, as DELETED."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.metadata.jobs import ACTIVE, request_cancel
from cluster.metadata.lifecycle import UploadStatus, UploadTrigger, VideoTrigger
from cluster.metadata.schema import Job, Upload, Video
from cluster.metadata.uploads import end_upload
from cluster.metadata.videos import set_video_status, video_of


async def delete_video(session: AsyncSession, user_id: str, video_id: str, now: float) -> tuple[Video, list[Upload]]:
    """Mark a user's video as deleted and stop all that happens to it.

    Returns:
        The video, whose `source_key` and `asset_prefix` the caller removes from storage after the commit, and the
        uploads that were open, whose multipart uploads it aborts.

    Raises:
        RowMissing: the user has no such video.
    """
    await video_of(session, user_id, video_id)
    jobs = await session.scalars(select(Job.id).where(Job.video_id == video_id, Job.state.in_(ACTIVE)))
    for job_id in jobs.all():
        await request_cancel(session, job_id, now)
    uploads = (await session.scalars(select(Upload).where(Upload.video_id == video_id))).all()
    ended = [upload for upload in uploads if UploadStatus(upload.status).open]
    for upload in ended:
        await end_upload(session, upload, UploadTrigger.ABORTED, now)
    return await set_video_status(session, video_id, VideoTrigger.DELETED, now), ended
