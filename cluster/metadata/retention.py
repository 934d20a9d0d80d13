"""What time has made superfluous, for whoever cleans up: sources past their retention, bytes of deleted videos."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.metadata.lifecycle import VideoStatus
from cluster.metadata.schema import Video
from cluster.metadata.videos import SOURCE_DROPPED, lock_video


async def deleted_with_bytes(session: AsyncSession, deleted_before: float, limit: int) -> Sequence[Video]:
    """Videos deleted before then whose bytes nobody has seen gone; those that were deleted first come first."""
    query = select(Video).where(
        Video.status == str(VideoStatus.DELETED),
        Video.updated_at < deleted_before,
        Video.source_key != SOURCE_DROPPED,
    )
    return (await session.scalars(query.order_by(Video.updated_at).limit(limit))).all()


async def mark_source_dropped(session: AsyncSession, video_id: str) -> bool:
    """Note that a video's source is not kept any longer; its time of change stays.

    Returns:
        False, and nothing is noted, when its owner has retried it meanwhile: then the source is needed.
    """
    video = await lock_video(session, video_id)
    status = VideoStatus(video.status)
    if not status.rejected and status is not VideoStatus.DELETED:
        return False
    video.source_key = SOURCE_DROPPED
    await session.flush()
    return True
