"""Jobs: look, ask why, cancel; and who the caller is."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request

from cluster.metadata import jobs as rows
from gateway import explain, schemas, videos, views
from gateway.auth import Caller
from gateway.ports import ports_of
from gateway.routes.answers import refusals
from gateway.schemas import HEX_ID
from scheduler.jobs import JobState

router = APIRouter(prefix="/v1", tags=["jobs"])

JobId = Annotated[str, Path(pattern="^[0-9a-f]{32}$", examples=[HEX_ID])]


@router.get("/jobs/{job_id}", summary="See a job", responses=refusals(401, 404))
async def describe(request: Request, who: Caller, job_id: JobId) -> schemas.JobResponse:
    """State, progress and failure of one job."""
    async with ports_of(request).database.read() as session:
        return views.job(await rows.job_of(session, who.subject, job_id))


@router.get("/jobs/{job_id}/explain", summary="Why is a job where it is?", responses=refusals(401, 404))
async def explain_job(request: Request, who: Caller, job_id: JobId) -> schemas.ExplainResponse:
    """Its place in the queue, what holds it, and how long it may take."""
    return await explain.explain_job(ports_of(request), who, job_id)


@router.post("/jobs/{job_id}/cancel", status_code=202, summary="Cancel a job", responses=refusals(401, 404, 409))
async def cancel(request: Request, who: Caller, job_id: JobId) -> schemas.CancelResponse:
    """Asks a job to end. A queued one ends at once, a running one within a segment's time; the source is kept."""
    job = await videos.cancel_job(ports_of(request), who, job_id)
    return schemas.CancelResponse(job_id=job.id, state=JobState(job.state), cancel_requested=job.cancel_requested)


@router.get("/me", tags=["me"], summary="Who am I?", responses=refusals(401))
async def me(request: Request, who: Caller) -> schemas.MeResponse:
    """Who the token speaks for, and the profiles that uploads may name."""
    profiles = [
        schemas.ProfileInfo(
            name=profile.name,
            description=profile.description,
            max_duration_s=profile.limits.max_duration_s,
            max_bytes=profile.limits.max_bytes,
            content_types=list(profile.limits.content_types) if profile.limits.content_types else None,
        )
        for profile in ports_of(request).profiles.values()
    ]
    return schemas.MeResponse(subject=who.subject, tier=who.tier, profiles=profiles)
