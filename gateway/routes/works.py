"""Registered works, for operators: what videos are compared with. Works are registered from finished videos."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request
from pydantic import Field

from cluster.metadata import works as rows
from cluster.metadata.schema import Video, Work
from cluster.metadata.videos import lock_video
from cluster.works import register_work, unregister_work
from gateway import schemas
from gateway.auth import Caller, Principal
from gateway.errors import OperatorsOnly
from gateway.ports import ports_of
from gateway.routes.answers import refusals
from gateway.schemas import HEX_ID, moment

router = APIRouter(prefix="/v1/works", tags=["works"])

WorkId = Annotated[str, Path(pattern="^[0-9a-f]{32}$", examples=[HEX_ID])]


class WorkRequest(schemas.Request):
    """A finished video, whoever owns it, and what the work is called in matches."""

    video_id: str = Field(pattern="^[0-9a-f]{32}$", examples=[HEX_ID])
    title: str = Field(min_length=1, max_length=500, pattern=schemas.NO_NUL, examples=["Big Buck Bunny"])


class WorkResponse(schemas.Response):
    """A registered work."""

    work_id: str = Field(examples=[HEX_ID])
    title: str
    video_id: str = Field(description="It was registered from this video, which it never matches.")
    duration_ms: int | None
    pictures: int = Field(description="Sampled pictures in its fingerprint.")
    words: int = Field(description="Words of sound in its fingerprint, eight a second.")
    created_by: str
    created_at: datetime


class WorkList(schemas.Response):
    """All works, the newest first."""

    works: list[WorkResponse]


def _operator(request: Request, who: Caller) -> Principal:
    if who.subject not in ports_of(request).settings.operators:
        raise OperatorsOnly("registered works are for the farm's operators")
    return who


Operator = Annotated[Principal, Depends(_operator)]


@router.post("", status_code=201, summary="Register a work", responses=refusals(401, 403, 404, 409, 422))
async def register(request: Request, who: Operator, body: WorkRequest) -> WorkResponse:
    """Videos packaged from now on are compared with it. The same video again changes the title only."""
    ports = ports_of(request)

    async with ports.database.write() as session:
        video: Video = await lock_video(session, body.video_id)
    work = await register_work(ports.database, ports.store, video, body.title, who.subject, ports.clock())
    return _shown(work)


@router.get("", summary="List works", responses=refusals(401, 403))
async def list_works(request: Request, who: Operator) -> WorkList:
    """All registered works."""
    async with ports_of(request).database.read() as session:
        return WorkList(works=[_shown(work) for work in await rows.list_works(session)])


@router.delete("/{work_id}", status_code=204, summary="Forget a work", responses=refusals(401, 403, 404))
async def forget(request: Request, who: Operator, work_id: WorkId) -> None:
    """Videos packaged from now on are no longer compared with it; what was found stays."""
    ports = ports_of(request)
    await unregister_work(ports.database, ports.store, work_id)


def _shown(work: Work) -> WorkResponse:
    return WorkResponse(
        work_id=work.id,
        title=work.title,
        video_id=work.video_id,
        duration_ms=work.duration_ms,
        pictures=work.pictures,
        words=work.words,
        created_by=work.created_by,
        created_at=moment(work.created_at),
    )
