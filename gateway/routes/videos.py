"""Videos: list, look, publish, retry, delete, and follow their events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable
from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Depends, Header, Path, Query, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent

from cluster.metadata import videos as rows
from cluster.metadata.lifecycle import VideoStatus
from gateway import events, publish, schemas, videos, views
from gateway.auth import Caller, Principal
from gateway.ports import ports_of
from gateway.routes.answers import refusals
from gateway.schemas import HEX_ID, moment

router = APIRouter(prefix="/v1/videos", tags=["videos"])

VideoId = Annotated[str, Path(pattern="^[0-9a-f]{32}$", examples=[HEX_ID])]


@router.get("", summary="List videos", responses=refusals(400, 401, 422))
async def list_videos(
    request: Request,
    who: Caller,
    cursor: Annotated[str | None, Query(max_length=200, description="`next_cursor` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> schemas.VideoPage:
    """The caller's videos, newest first, in pages."""
    ports = ports_of(request)
    async with ports.database.read() as session:
        page, following = await videos.video_page(session, who, cursor, limit)
    now = ports.clock()
    return schemas.VideoPage(videos=[views.summary(view, ports.links, now) for view in page], next_cursor=following)


@router.get("/{video_id}", summary="See a video and its assets", responses=refusals(401, 404))
async def describe(request: Request, who: Caller, video_id: VideoId) -> schemas.VideoResponse:
    """The video with addresses of all that was made of it."""
    ports = ports_of(request)
    async with ports.database.read() as session:
        view = await videos.video_view(session, who, video_id)
        assets = await rows.assets_of(session, who.subject, video_id)
    now = ports.clock()
    shown = views.summary(view, ports.links, now)
    return schemas.VideoResponse(**shown.model_dump(), assets=publish.addresses(ports.links, view.video, assets, now))


@router.get("/{video_id}/status", summary="See how far a video is", responses=refusals(401, 404))
async def status(request: Request, who: Caller, video_id: VideoId) -> schemas.StatusResponse:
    """Status, progress by rendition, and the reason of a rejection. Cheap: made to be polled."""
    ports = ports_of(request)
    async with ports.database.read() as session:
        view = await videos.video_view(session, who, video_id)
    return views.status(view, ports.links, ports.clock())


@router.post("/{video_id}/publish", summary="Publish a video", responses=refusals(401, 404, 409, 422))
async def publish_video(
    request: Request, who: Caller, video_id: VideoId, body: schemas.PublishRequest | None = None
) -> schemas.PublishResponse:
    """Shows a READY video with the given visibility; on a published one only the visibility changes."""
    ports = ports_of(request)
    video, assets = await videos.publish_video(ports, who, video_id, body or schemas.PublishRequest())
    assert video.published_at is not None
    return schemas.PublishResponse(
        video_id=video.id,
        status=VideoStatus(video.status),
        visibility=schemas.Visibility(video.visibility),
        published_at=moment(video.published_at),
        assets=publish.addresses(ports.links, video, assets, ports.clock()),
    )


@router.post(
    "/{video_id}/retry", status_code=202, summary="Process again", responses=refusals(401, 404, 409, 410, 422, 429, 503)
)
async def retry(
    request: Request, who: Caller, video_id: VideoId, body: schemas.RetryRequest | None = None
) -> schemas.RetryResponse:
    """Queues a rejected or failed video again, with another profile or a trim; the bytes need not be sent again."""
    video, job = await videos.retry_video(ports_of(request), who, video_id, body or schemas.RetryRequest())
    return schemas.RetryResponse(video_id=video.id, status=VideoStatus(video.status), job_id=job.id)


@router.delete("/{video_id}", status_code=204, summary="Delete a video", responses=refusals(401, 404))
async def delete(request: Request, who: Caller, video_id: VideoId, after: BackgroundTasks) -> None:
    """Stops its work and removes source and assets. Its addresses answer 404 from now on."""
    after.add_task(asyncio.to_thread, await videos.delete_video(ports_of(request), who, video_id))


async def _owned(request: Request, who: Caller, video_id: VideoId) -> Principal:
    """The caller, when the video is theirs: checked before an event stream has begun to answer."""
    async with ports_of(request).database.read() as session:
        await rows.video_of(session, who.subject, video_id)
    return who


@router.get(
    "/{video_id}/events",
    summary="Follow a video",
    response_class=EventSourceResponse,
    responses=refusals(401, 404),
)
async def follow(
    request: Request,
    who: Annotated[Principal, Depends(_owned)],
    video_id: VideoId,
    last_event_id: Annotated[str | None, Header(description="Go on behind this event.")] = None,
) -> AsyncIterable[ServerSentEvent]:
    """Server-sent events: what happened to the video from its beginning, then what happens.

    The events `video.*` have the id that `Last-Event-ID` takes; `progress` has none, as only the newest counts.
    The stream ends when the video is settled.
    """
    ports = ports_of(request)
    async for event in events.follow_video(ports, who, video_id, events.last_seen(last_event_id)):
        yield event
