"""How an error leaves the farm: RFC 9457 problem details, from one table of error classes.

Everything that a client may act on is here: `status`, the stable `code`, a sentence in `detail`, a `hint` what to do,
and an `error_id` that stands beside the full error in the log. What is not in the table is answered by its fault; what
is not even typed is a 500 that tells nothing but its `error_id`.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from cluster import errors as cluster_errors
from encoders.errors import FarmError, Fault
from encoders.recognition.fingerprint import FingerprintInvalid
from gateway import errors

log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and words of an error class; `hint` says what the client can do."""

    status: int
    title: str
    hint: str | None = None


ANSWERS: dict[type[FarmError], Answer] = {
    errors.NotAuthenticated: Answer(401, "Not authenticated", "Make a token with `reelmill token`."),
    errors.UnknownResource: Answer(404, "Not found"),
    errors.RateLimited: Answer(429, "Too many uploads started", "Wait as long as Retry-After says."),
    errors.TryLater: Answer(503, "Not now", "Try again when Retry-After says."),
    errors.TooMuchUnderWay: Answer(429, "Too much under way", "Wait for your jobs, or abort uploads."),
    errors.Overloaded: Answer(503, "Farm is busy", "Try again when Retry-After says."),
    errors.UnknownProfile: Answer(422, "Unknown profile", "Leave `profile` out to get the default one."),
    errors.FileTooLarge: Answer(413, "File too large", "Send a smaller file or choose another profile."),
    errors.ContentTypeNotAllowed: Answer(
        415, "Content type not allowed", "Convert the file or choose another profile."
    ),
    errors.PartLayoutInvalid: Answer(422, "Part size not usable", "Leave `part_size_bytes` out."),
    errors.PartNumberInvalid: Answer(422, "Part number out of range"),
    errors.PartLengthInvalid: Answer(
        422, "Part length wrong", "Every part has `part_size_bytes`; the last has the rest."
    ),
    errors.UploadNotOpen: Answer(409, "Upload session is closed", "Start a new upload."),
    errors.UploadExpired: Answer(410, "Upload session expired", "Start a new upload."),
    errors.PartsMissing: Answer(409, "Parts missing", "Put the missing parts, then complete again."),
    errors.PartEtagMismatch: Answer(422, "Part ETag differs", "List the parts with GET, put the part again if needed."),
    errors.PartSizeMismatch: Answer(409, "Part size differs", "Put the part again with its right length."),
    errors.PartsUnexpected: Answer(422, "Unexpected parts", "Send each part of the layout once."),
    errors.StateConflict: Answer(409, "Not possible in this state"),
    errors.SourceGone: Answer(410, "Source no longer kept", "Upload the file again."),
    errors.RangeNotSatisfiable: Answer(416, "Range not satisfiable"),
    errors.LengthRequired: Answer(411, "Content-Length required"),
    errors.MediaUrlInvalid: Answer(403, "Media address not valid", "Ask the API for a fresh one."),
    errors.IdempotencyKeyReused: Answer(422, "Idempotency-Key reused", "Use a fresh key for another request."),
    errors.RequestInProgress: Answer(409, "Request in progress", "Ask again in a second."),
    errors.OperatorsOnly: Answer(403, "For operators only", "Name the token's `sub` in REELMILL_OPERATORS."),
    FingerprintInvalid: Answer(409, "No fingerprint", "Process the video again, then register it."),
    cluster_errors.RowMissing: Answer(404, "Not found"),
    cluster_errors.CursorInvalid: Answer(400, "Cursor not valid", "Start again without `cursor`."),
    cluster_errors.IllegalTransition: Answer(409, "Not possible in this state"),
    cluster_errors.ObjectMissing: Answer(404, "Not found"),
    cluster_errors.KeyInvalid: Answer(404, "Not found"),
    cluster_errors.UploadMissing: Answer(409, "Upload session is closed", "Start a new upload."),
    cluster_errors.PartMismatch: Answer(409, "Parts differ", "List the parts with GET, put them again if needed."),
    cluster_errors.LengthMismatch: Answer(400, "Body length differs", "Send exactly the signed number of bytes."),
    cluster_errors.DigestMismatch: Answer(400, "Body differs from its Content-MD5", "Send the part again."),
    cluster_errors.SignatureInvalid: Answer(403, "Signed URL not valid", "Ask the API for a fresh URL."),
    cluster_errors.StoreFull: Answer(507, "Storage is full", "Tell the farm's operator."),
}

BY_FAULT: dict[Fault, Answer] = {
    Fault.CALLER: Answer(400, "Request not possible"),
    Fault.INPUT: Answer(422, "Source cannot be processed"),
    Fault.DEVICE: Answer(503, "Farm cannot do this now", "Try again later."),
    Fault.INFRASTRUCTURE: Answer(503, "Farm cannot do this now", "Try again later."),
}
TELLING = frozenset({Fault.CALLER, Fault.INPUT})
"""Faults whose detail is meant for the client; that of the others may name machines, and stays in the log."""

BARE: dict[int, tuple[str, str | None]] = {
    400: ("request_invalid", "Send the JSON document that /docs describes."),
    404: ("not_found", "See /docs for the addresses that there are."),
    405: ("method_not_allowed", "See /docs for the methods of this address."),
    408: ("body_too_slow", "Send it again over a connection that holds."),
    413: ("body_too_large", "Send less."),
}
"""Code and hint of what the framework refuses before any rule is asked."""


def answer_for(error: FarmError) -> Answer:
    """The table's entry for an error: of its class, else of its nearest base, else of its fault."""
    for kind in type(error).__mro__:
        if kind in ANSWERS:
            return ANSWERS[kind]
    return BY_FAULT[error.fault]


def problem(
    request: Request, *, status: int, title: str, code: str, headers: Mapping[str, str] | None = None, **more: Any
) -> JSONResponse:
    """A problem document; `more` are its other members, those that are None left out."""
    error_id: str = getattr(request.state, "error_id", None) or secrets.token_hex(8)
    body = {
        "type": f"/problems/{code}",
        "title": title,
        "status": status,
        "code": code,
        "error_id": error_id,
        "instance": request.url.path,
        **{key: value for key, value in more.items() if value is not None},
    }
    # Quoted: a path may hold what a terminal or a reader of lines would take for something else.
    path = quote(request.url.path)
    log.info("problem", status=status, code=code, error_id=error_id, path=path, detail=more.get("detail"))
    answer_headers: dict[str, str] = dict(getattr(request.state, "answer_headers", {}))
    return JSONResponse(body, status, headers={**answer_headers, **(headers or {})}, media_type=MEDIA_TYPE)


async def _on_farm_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, FarmError)
    answer = answer_for(error)
    headers: dict[str, str] = {}
    if answer.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, errors.TryLater):
        headers["Retry-After"] = str(error.retry_after_s)
    elif answer.status >= 500:
        headers["Retry-After"] = "5"
        request.state.error_id = secrets.token_hex(8)
        log.error("unavailable", error_id=request.state.error_id, code=error.code, detail=error.detail, exc_info=error)
    detail = error.detail if error.fault in TELLING else None
    return problem(
        request,
        status=answer.status,
        title=answer.title,
        code=error.code,
        headers=headers,
        detail=detail,
        hint=answer.hint,
    )


async def _on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    # The rejected values are left out: they may be secrets, and they may be huge.
    found = [{"pointer": "/" + "/".join(map(str, e["loc"])), "detail": e["msg"]} for e in error.errors()[:20]]
    return problem(
        request,
        status=422,
        title="Request does not fit the schema",
        code="validation_failed",
        hint="See /docs for the fields and their limits.",
        errors=found,
    )


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code, hint = BARE.get(error.status_code, ("http_error", None))
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(_allowed(request))
    return problem(request, status=error.status_code, title=str(error.detail), code=code, headers=headers, hint=hint)


def _allowed(request: Request) -> list[str]:
    """All methods of an address; the framework names those of its first route. Source: RFC 9110 section 15.5.6."""
    found: set[str] = set()
    # FastAPI keeps included routers whole; ours carry their prefixes themselves.
    groups = [getattr(getattr(each, "original_router", None), "routes", [each]) for each in request.app.routes]
    for route in itertools.chain.from_iterable(groups):
        if route.matches(request.scope)[0] is not Match.NONE:
            found |= getattr(route, "methods", None) or set()
    return sorted(found)


async def _on_gone(request: Request, error: Exception) -> Response:
    """The client went while it sent: nobody hears the answer, and nothing is wrong with the farm."""
    return problem(request, status=400, title="The body ended early", code="client_gone")


async def _on_bug(request: Request, error: Exception) -> Response:
    request.state.error_id = secrets.token_hex(8)
    log.error("unexpected error", error_id=request.state.error_id, path=request.url.path, exc_info=error)
    return problem(
        request,
        status=500,
        title="Unexpected error",
        code="internal",
        hint="Report the error_id to the farm's operator.",
    )


def install(app: FastAPI) -> None:
    """Make an application answer all its errors as problems."""
    app.add_exception_handler(FarmError, _on_farm_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(ClientDisconnect, _on_gone)
    app.add_exception_handler(Exception, _on_bug)
