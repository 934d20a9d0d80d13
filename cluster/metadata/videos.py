"""Videos and their assets: what the gateway shows and what the dispatcher settles.

Rule: a video's status changes in `set_video_status` only, which applies the lifecycle's table, and writes the row and
the event in the caller's transaction. Reads on behalf of a user carry the user's id; another user's video and a
deleted one look like none.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.errors import CursorInvalid, RowMissing
from cluster.metadata import events
from cluster.metadata.lifecycle import VideoStatus, VideoTrigger, next_video_status
from cluster.metadata.schema import Asset, Video

SOURCE_DROPPED = ""
"""`source_key` of a video whose source is no longer kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAsset:
    """An object that a viewer or the owner may fetch."""

    kind: str
    key: str
    content_type: str
    bytes: int
    width: int | None = None
    height: int | None = None
    bandwidth_bps: int | None = None


async def video_of(session: AsyncSession, user_id: str, video_id: str) -> Video:
    """A user's video.

    Raises:
        RowMissing: there is none of that id, it is another user's, or it was deleted.
    """
    query = select(Video).where(
        Video.id == video_id, Video.user_id == user_id, Video.status != str(VideoStatus.DELETED)
    )
    video = await session.scalar(query)
    if video is None:
        raise RowMissing(f"no video {video_id}")
    return video


async def published_video(session: AsyncSession, video_id: str) -> Video:
    """A video that everybody may see.

    Raises:
        RowMissing: there is none of that id, or it is not published.
    """
    video = await session.scalar(select(Video).where(Video.id == video_id, Video.status == str(VideoStatus.PUBLISHED)))
    if video is None:
        raise RowMissing(f"no published video {video_id}")
    return video


async def list_videos(
    session: AsyncSession, user_id: str, cursor: str | None, limit: int
) -> tuple[Sequence[Video], str | None]:
    """A page of a user's videos, newest first, and the cursor of the next page (None on the last).

    Raises:
        CursorInvalid: the cursor is not one of this listing's.
    """
    query = select(Video).where(Video.user_id == user_id, Video.status != str(VideoStatus.DELETED))
    if cursor is not None:
        query = query.where(tuple_(Video.created_at, Video.id) < tuple_(*_read_cursor(cursor)))
    query = query.order_by(Video.created_at.desc(), Video.id.desc()).limit(limit + 1)
    found = (await session.scalars(query)).all()
    page = found[:limit]
    return page, _cursor(page[-1]) if len(found) > limit else None


async def sources(session: AsyncSession, video_ids: Sequence[str]) -> dict[str, tuple[str, int]]:
    """(key, bytes) of the sources of so many videos (at most some hundred), by video."""
    rows = await session.execute(select(Video.id, Video.source_key, Video.size_bytes).where(Video.id.in_(video_ids)))
    return {row.id: (row.source_key, row.size_bytes) for row in rows}


async def lock_video(session: AsyncSession, video_id: str) -> Video:
    """A video as it is now, whoever owns it, held until the end of the transaction.

    Raises:
        RowMissing: there is none.
    """
    query = select(Video).where(Video.id == video_id).with_for_update().execution_options(populate_existing=True)
    video = await session.scalar(query)
    if video is None:
        raise RowMissing(f"no video {video_id}")
    return video


async def set_video_status(
    session: AsyncSession, video_id: str, trigger: VideoTrigger, now: float, **fields: Any
) -> Video:
    """Let a trigger change a video's status; writes `fields` too, and an event "video.<status>".

    Code, detail and hint of an earlier rejection are cleared unless `fields` gives new ones. A trigger that keeps the
    status writes the fields and no event.

    Raises:
        RowMissing: there is no such video.
        IllegalTransition: nothing was changed.
    """
    video = await lock_video(session, video_id)
    before = VideoStatus(video.status)
    after = next_video_status(before, trigger)
    video.status = str(after)
    video.updated_at = now
    if after is VideoStatus.PUBLISHED:
        video.published_at = now
    for name, value in ({"status_code": None, "status_detail": None, "status_hint": None} | fields).items():
        setattr(video, name, value)
    await session.flush()
    if after is not before:
        _append_event(session, video, after, now)
    return video


async def settle_video(
    session: AsyncSession, video_id: str, trigger: VideoTrigger, now: float, **fields: Any
) -> Video | None:
    """As `set_video_status`, for the end of a job; None, and nothing happens, when the owner has deleted the video."""
    video = await lock_video(session, video_id)
    if video.status == VideoStatus.DELETED:
        return None
    return await set_video_status(session, video_id, trigger, now, **fields)


async def add_assets(session: AsyncSession, video_id: str, job_id: str, assets: Iterable[NewAsset]) -> None:
    """Put a finished job's assets in the place of the video's earlier ones."""
    for old in await _assets(session, video_id):
        await session.delete(old)
    await session.flush()
    session.add_all(
        Asset(
            video_id=video_id,
            job_id=job_id,
            kind=str(asset.kind),
            key=asset.key,
            content_type=asset.content_type,
            bytes=asset.bytes,
            width=asset.width,
            height=asset.height,
            bandwidth_bps=asset.bandwidth_bps,
        )
        for asset in assets
    )
    await session.flush()


async def assets_of(session: AsyncSession, user_id: str, video_id: str) -> Sequence[Asset]:
    """Assets of a user's video, by kind and key.

    Raises:
        RowMissing: the user has no such video.
    """
    await video_of(session, user_id, video_id)
    return await _assets(session, video_id)


async def published_assets(session: AsyncSession, video_id: str) -> Sequence[Asset]:
    """Assets of a video that everybody may see.

    Raises:
        RowMissing: it is not published.
    """
    await published_video(session, video_id)
    return await _assets(session, video_id)


async def sources_to_drop(session: AsyncSession, settled_before: float, limit: int) -> Sequence[Video]:
    """Rejected and failed videos whose source's retention is over: their status has not changed since then."""
    rejected = [str(status) for status in VideoStatus if status.rejected]
    query = select(Video).where(
        Video.status.in_(rejected), Video.updated_at < settled_before, Video.source_key != SOURCE_DROPPED
    )
    return (await session.scalars(query.order_by(Video.updated_at).limit(limit))).all()


async def _assets(session: AsyncSession, video_id: str) -> Sequence[Asset]:
    return (
        await session.scalars(select(Asset).where(Asset.video_id == video_id).order_by(Asset.kind, Asset.key))
    ).all()


def _append_event(session: AsyncSession, video: Video, status: VideoStatus, now: float) -> None:
    body: dict[str, Any] = {"video_id": video.id, "status": str(status)}
    if video.status_code is not None:
        body |= {"code": video.status_code, "detail": video.status_detail, "hint": video.status_hint}
    events.append(session, now, f"video.{status.lower()}", video.user_id, video_id=video.id, body=body)


def _cursor(video: Video) -> str:
    return base64.urlsafe_b64encode(f"{video.created_at.hex()} {video.id}".encode()).decode().rstrip("=")


def _read_cursor(cursor: str) -> tuple[float, str]:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        created_at, _, video_id = text.partition(" ")
        return float.fromhex(created_at), video_id
    except (binascii.Error, ValueError, OverflowError):
        raise CursorInvalid("this cursor is not one of this listing's: begin again without one") from None
