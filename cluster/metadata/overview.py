"""For many videos at once, what a list shows beside their rows: the newest job and the thumbnail of each.

The callers have checked that the videos are their user's.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.metadata.schema import Asset, Job


async def newest_jobs(session: AsyncSession, video_ids: Sequence[str]) -> dict[str, Job]:
    """Video id -> its newest job; videos without a job are absent."""
    newest = select(func.max(Job.seq)).where(Job.video_id.in_(list(video_ids))).group_by(Job.video_id)
    rows = await session.scalars(select(Job).where(Job.seq.in_(newest)))
    return {job.video_id: job for job in rows.all()}


async def thumbnail_keys(session: AsyncSession, video_ids: Sequence[str]) -> dict[str, str]:
    """Video id -> key of its thumbnail; videos without one are absent."""
    rows = await session.execute(
        select(Asset.video_id, Asset.key).where(Asset.video_id.in_(list(video_ids)), Asset.kind == "THUMB")
    )
    return {row.video_id: row.key for row in rows}
