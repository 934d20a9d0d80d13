"""What the caretaker asks of the metadata: videos that have settled, oldest change first."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.metadata.lifecycle import VideoStatus
from cluster.metadata.schema import Video

Place = tuple[float, str]
"""Where a walk over settled videos stands: the last one's `updated_at` and id."""


async def settled_videos(
    session: AsyncSession, status: VideoStatus, after: Place, before: float, limit: int
) -> Sequence[Video]:
    """Videos of a status which last changed behind `after` and earlier than `before`: the next page of a walk."""
    query = select(Video).where(
        Video.status == str(status),
        Video.updated_at < before,
        tuple_(Video.updated_at, Video.id) > tuple_(*after),
    )
    return (await session.scalars(query.order_by(Video.updated_at, Video.id).limit(limit))).all()
