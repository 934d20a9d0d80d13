"""Upload sessions: start, sign parts, look, complete, abort."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from gateway import idempotency, schemas, uploads, views
from gateway.admission import admit
from gateway.auth import Caller
from gateway.errors import RateLimited
from gateway.ports import ports_of
from gateway.routes.answers import refusals
from gateway.schemas import HEX_ID, moment

router = APIRouter(prefix="/v1/uploads", tags=["uploads"])

UploadId = Annotated[str, Path(pattern="^[0-9a-f]{32}$", examples=[HEX_ID])]


@router.post(
    "/initiate",
    status_code=201,
    summary="Start an upload",
    response_model=schemas.InitiateResponse,
    responses=refusals(401, 413, 415, 422, 429, 503),
)
async def initiate(
    request: Request,
    response: Response,
    who: Caller,
    body: schemas.InitiateRequest,
    idempotency_key: idempotency.IdempotencyHeader = None,
) -> Any:
    """Checks the file against the profile's limits and opens a session; its parts go to URLs from `presign`."""
    ports = ports_of(request)

    async def work() -> schemas.InitiateResponse:
        await admit(ports, who)
        allowance = await ports.limiter.hit(who)
        if allowance is not None:
            request.state.answer_headers = allowance.headers()
            response.headers.update(allowance.headers())
            if not allowance.allowed:
                raise RateLimited(
                    f"{allowance.limit} uploads in {allowance.window_s} s are allowed for tier {who.tier}"
                )
        upload = await uploads.start_upload(ports, who, body)
        return schemas.InitiateResponse(
            upload_id=upload.id,
            video_id=upload.video_id,
            s3_upload_id=upload.storage_upload_id,
            part_size_bytes=upload.part_size_bytes,
            part_count=upload.part_count,
            expires_at=moment(upload.expires_at),
        )

    return await idempotency.once(ports, who, idempotency_key, "initiate", body, work)


@router.post(
    "/{upload_id}/parts/presign",
    summary="Get URLs to send parts to",
    responses=refusals(401, 404, 409, 410, 422),
)
async def presign(
    request: Request, who: Caller, upload_id: UploadId, body: schemas.PresignRequest
) -> schemas.SignedPart | schemas.SignedParts:
    """Signs one part, or several at once. Sign a part just before it is sent: the URLs hold for minutes."""
    wanted = [(part.part_number, part.content_length) for part in body.wanted()]
    signed = await uploads.sign_parts(ports_of(request), who, upload_id, wanted)
    parts = [views.signed_part(number, url) for number, url in signed]
    return schemas.SignedParts(parts=parts) if body.parts is not None else parts[0]


@router.get("/{upload_id}", summary="See what has arrived", responses=refusals(401, 404))
async def describe(request: Request, who: Caller, upload_id: UploadId) -> schemas.UploadResponse:
    """The session and the parts that storage holds: send the others, then complete."""
    upload, status, parts = await uploads.describe_upload(ports_of(request), who, upload_id)
    return views.upload(upload, status, list(parts))


@router.post("/{upload_id}/complete", summary="Finish an upload", responses=refusals(401, 404, 409, 410, 422))
async def complete(
    request: Request, who: Caller, upload_id: UploadId, body: schemas.CompleteRequest
) -> schemas.CompleteResponse:
    """Compares the parts with what storage holds, joins them, and queues the job. Calling it again answers alike."""
    named = [(part.part_number, part.etag) for part in body.parts]
    video_id, status, job_id = await uploads.complete_upload(ports_of(request), who, upload_id, named, body)
    return schemas.CompleteResponse(video_id=video_id, status=status, job_id=job_id)


@router.delete("/{upload_id}", status_code=204, summary="Abort an upload", responses=refusals(401, 404, 409))
async def abort(request: Request, who: Caller, upload_id: UploadId) -> None:
    """Ends the session and drops its parts; calling it again does nothing."""
    await uploads.abort_upload(ports_of(request), who, upload_id)
