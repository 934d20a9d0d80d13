"""Typed client of the farm's API: what `reelmill submit`, the demo and other programs use. Blocking; safe in threads.

Every request is tried again with back-off when that may help. Uploads go in parts, several at once, by URLs signed just
before each part is sent; an interrupted one goes on where it stopped (`upload_book`).
"""

from __future__ import annotations

import mimetypes
import os
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from encoders.errors import FarmError, Fault
from gateway import schemas
from gateway.client_http import ApiProblem, Backoff, PatientHttp
from gateway.part_sender import PartSender, SentPart, SourceChanged
from gateway.upload_book import OpenUpload, UploadBook, file_key

Answer = TypeVar("Answer", bound=BaseModel)
OnProgress = Callable[[int, int], None]

WHATEVER = schemas.JobWishes()
PARALLEL_PARTS = 4
"""How many parts travel at once: enough to fill a long thin line, few enough for a phone."""
FIRST_POLL_S, LONGEST_POLL_S = 0.3, 2.0
TITLE_CHARS = 80


class SourceEmpty(FarmError):
    """A file without bytes; nothing was sent."""

    code = "source_empty"
    fault = Fault.INPUT


class RequestInvalid(FarmError):
    """What was asked for fits no request; nothing was sent."""

    code = "request_invalid"
    fault = Fault.CALLER


class AnswerUnreadable(FarmError):
    """Whoever answers is no farm, or one of another version."""

    code = "answer_unreadable"
    fault = Fault.INFRASTRUCTURE


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A source that has arrived.

    Attributes:
        resumed_bytes: how much of it an earlier, interrupted try had brought.
    """

    video_id: str
    upload_id: str
    job_id: str
    resumed_bytes: int = 0


class Client:
    """A farm, as one user sees it. A context manager, which closes its connections.

    Args:
        url: of the gateway.
        token: bearer token.
        book: where interrupted uploads are remembered; None remembers nothing.
        transport: for tests.

    Raises:
        RequestInvalid: nobody can be asked at such an address, or with such a token.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        book: UploadBook | None = None,
        backoff: Backoff | None = None,
        parallel_parts: int = PARALLEL_PARTS,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.url = _checked_url(url)
        if not token.isascii() or not token.isprintable():
            raise RequestInvalid("the token holds characters that no token has: copy it again")
        timeout = httpx.Timeout(60.0, connect=10.0)
        # The farm's own address is never behind the user's proxy by accident: loopback is what most people have.
        local = httpx.URL(self.url).host in ("127.0.0.1", "localhost", "::1")
        self._api = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=timeout,
            transport=transport,
            trust_env=not local,
        )
        # Signed URLs may lead to another host, which has no business with the token.
        self._storage = httpx.Client(timeout=timeout, transport=transport, trust_env=not local)
        self._http = PatientHttp(self._api, backoff)
        self._parts = PatientHttp(self._storage, backoff)
        self._book = book
        self._parallel_parts = parallel_parts

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._api.close()
        self._storage.close()

    # All methods raise ApiProblem (the farm said no) and FarmUnreachable (nobody answered).

    def upload(
        self,
        path: Path,
        *,
        profile: str = "default",
        title: str | None = None,
        category: str = "other",
        visibility: schemas.Visibility = schemas.Visibility.PRIVATE,
        part_size_bytes: int | None = None,
        wishes: schemas.JobWishes = WHATEVER,
        on_progress: OnProgress = lambda sent, total: None,
    ) -> Upload:
        """Bring a file to the farm and have it processed.

        Args:
            wishes: how its job is to be run.
            on_progress: called with (bytes that arrived or travel, bytes of the file), from several threads.

        Raises:
            OSError: the file cannot be read.
            SourceChanged: the file changed meanwhile; the upload was aborted.

        After any other error, or when the process is killed, the session stays open: the next call with the same file
        sends only what is missing.
        """
        key = file_key(path, self.url, profile)
        session = self._resumable(key)
        if session is None:
            session = self._initiate(path, profile, title, category, visibility, part_size_bytes)
            self._remember(key, session)
        sender = PartSender(self._parts, path, session, self._presign, on_progress)
        resumed_bytes = sender.arrived_bytes
        parts = sender.send(self._parallel_parts)
        if file_key(path, self.url, profile) != key:
            self._call("DELETE", f"/v1/uploads/{session.upload_id}")
            self._forget(key)
            raise SourceChanged(f"{path} changed while it was uploaded; upload it again")
        done = self._complete(session.upload_id, parts, wishes)
        self._forget(key)
        return Upload(
            video_id=done.video_id, upload_id=session.upload_id, job_id=done.job_id, resumed_bytes=resumed_bytes
        )

    def _resumable(self, key: str) -> schemas.UploadResponse | None:
        known = self._book.find(key) if self._book else None
        if known is None:
            return None
        try:
            session = self._get(f"/v1/uploads/{known.upload_id}", schemas.UploadResponse)
        except ApiProblem as error:
            if error.status not in (403, 404, 410):
                raise
            return None
        # COMPLETED: the answer to `complete` was lost; asking again gives it.
        return session if session.status.open or session.status.value == "COMPLETED" else None

    def _initiate(
        self,
        path: Path,
        profile: str,
        title: str | None,
        category: str,
        visibility: schemas.Visibility,
        part_size_bytes: int | None,
    ) -> schemas.UploadResponse:
        size_bytes = path.stat().st_size
        if size_bytes == 0:
            raise SourceEmpty(f"{path} is empty: there is nothing to process")
        body = _checked(
            schemas.InitiateRequest,
            title=(title or Path(shown_name(path)).stem).strip()[:TITLE_CHARS] or "untitled",
            category=category,
            visibility=visibility,
            filename=shown_name(path)[-255:],
            content_type=content_type_of(path),
            file_size_bytes=size_bytes,
            profile=profile,
            part_size_bytes=part_size_bytes,
        )
        begun = self._post("/v1/uploads/initiate", body, schemas.InitiateResponse)
        return self._get(f"/v1/uploads/{begun.upload_id}", schemas.UploadResponse)

    def _presign(self, upload_id: str, part_number: int, size_bytes: int) -> schemas.SignedPart:
        body = schemas.PresignRequest(part_number=part_number, content_length=size_bytes)
        return self._post(f"/v1/uploads/{upload_id}/parts/presign", body, schemas.SignedPart)

    def _complete(self, upload_id: str, parts: list[SentPart], wishes: schemas.JobWishes) -> schemas.CompleteResponse:
        named = [schemas.CompletedPart(part_number=part.number, etag=part.etag) for part in parts]
        body = schemas.CompleteRequest(parts=named, **wishes.model_dump())
        return self._post(f"/v1/uploads/{upload_id}/complete", body, schemas.CompleteResponse)

    def _remember(self, key: str, session: schemas.UploadResponse) -> None:
        if self._book is not None:
            fields = session.model_dump(include=set(OpenUpload.model_fields))
            # A home that takes no files costs the memory of this upload, not the upload.
            with suppress(OSError):
                self._book.put(key, OpenUpload.model_validate(fields))

    def _forget(self, key: str) -> None:
        if self._book is not None:
            with suppress(OSError):
                self._book.drop(key)

    def upload_state(self, upload_id: str) -> schemas.UploadResponse:
        """An upload session with the parts that storage holds."""
        return self._get(f"/v1/uploads/{upload_id}", schemas.UploadResponse)

    def abort(self, upload_id: str) -> None:
        """Give an upload up; its parts are removed."""
        self._call("DELETE", f"/v1/uploads/{upload_id}")

    def videos(self, cursor: str | None = None) -> schemas.VideoPage:
        """The caller's videos, newest first."""
        return self._get("/v1/videos", schemas.VideoPage, params={"cursor": cursor} if cursor else None)

    def video(self, video_id: str) -> schemas.VideoResponse:
        """A video with the addresses of what was made."""
        return self._get(f"/v1/videos/{video_id}", schemas.VideoResponse)

    def status(self, video_id: str) -> schemas.StatusResponse:
        """Where a video is on its way."""
        return self._get(f"/v1/videos/{video_id}/status", schemas.StatusResponse)

    def wait(
        self,
        video_id: str,
        on_status: Callable[[schemas.StatusResponse], None] = lambda status: None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> schemas.StatusResponse:
        """Ask again and again until the video is ready, rejected or failed; the answer that says so.

        Args:
            on_status: called with every answer, the last one too.
        """
        pause_s = FIRST_POLL_S
        while True:
            status = self.status(video_id)
            on_status(status)
            if status.status.settled:
                return status
            sleep(pause_s)
            pause_s = min(LONGEST_POLL_S, pause_s * 1.1)

    def publish(
        self, video_id: str, visibility: schemas.Visibility = schemas.Visibility.PUBLIC
    ) -> schemas.PublishResponse:
        """Let others see a video that is ready."""
        body = schemas.PublishRequest(visibility=visibility)
        return self._post(f"/v1/videos/{video_id}/publish", body, schemas.PublishResponse)

    def retry(self, video_id: str, request: schemas.RetryRequest) -> schemas.RetryResponse:
        """Process the kept source again."""
        return self._post(f"/v1/videos/{video_id}/retry", request, schemas.RetryResponse)

    def delete(self, video_id: str) -> None:
        """Remove a video and what was made of it."""
        self._call("DELETE", f"/v1/videos/{video_id}")

    def job(self, job_id: str) -> schemas.JobResponse:
        """A job."""
        return self._get(f"/v1/jobs/{job_id}", schemas.JobResponse)

    def explain(self, job_id: str) -> schemas.ExplainResponse:
        """Why a job is where it is: its position, what holds it, an estimate."""
        return self._get(f"/v1/jobs/{job_id}/explain", schemas.ExplainResponse)

    def cancel(self, job_id: str) -> schemas.CancelResponse:
        """Ask a job to stop."""
        return self._post(f"/v1/jobs/{job_id}/cancel", None, schemas.CancelResponse)

    def reach(self) -> None:
        """Find out quickly whether anybody answers at the farm's address.

        Raises:
            FarmUnreachable: nobody does.
        """
        quick = PatientHttp(self._api, Backoff(tries=3, first_s=0.2))
        quick.send(lambda: self._api.build_request("GET", "/healthz"))

    def me(self) -> schemas.MeResponse:
        """Who the token speaks for."""
        return self._get("/v1/me", schemas.MeResponse)

    def _get(self, path: str, model: type[Answer], params: dict[str, str] | None = None) -> Answer:
        return _read(model, self._call("GET", path, params=params))

    def _post(self, path: str, body: BaseModel | None, model: type[Answer]) -> Answer:
        json = body.model_dump(mode="json", exclude_none=True) if body is not None else None
        return _read(model, self._call("POST", path, json=json))

    def _call(self, method: str, path: str, **more: Any) -> httpx.Response:
        # One key for all tries: an answer that was lost on the way is given again instead of doing the thing twice.
        headers = {"Idempotency-Key": uuid.uuid4().hex} if method == "POST" else {}
        return self._http.send(lambda: self._api.build_request(method, path, headers=headers, **more))


def _read(model: type[Answer], response: httpx.Response) -> Answer:
    """An answer as its model."""
    try:
        return model.model_validate_json(response.content)
    except ValidationError as error:
        where = response.request.url
        raise AnswerUnreadable(f"the answer of {where} is not one of this version's farms ({_told(error)})") from None


def _checked(model: type[Answer], **fields: Any) -> Answer:
    """A request body; what does not fit is told without asking the farm."""
    try:
        return model(**fields)
    except ValidationError as error:
        raise RequestInvalid(_told(error)) from None


def _checked_url(url: str) -> str:
    """A farm's address without the slash at its end."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL("")
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise RequestInvalid(f"{url!r} is no address of a farm, such as http://127.0.0.1:8080")
    return url.rstrip("/")


def _told(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()[:3])


def shown_name(path: Path) -> str:
    """A file's name as text: what is no UTF-8 in it is replaced, since neither JSON nor a database takes that."""
    return os.fsencode(path.name).decode(errors="replace")


def content_type_of(path: Path) -> str:
    """Content type by the file's name; MP4 when the name says nothing, since the farm looks at the bytes anyway."""
    known = {".mkv": "video/x-matroska", ".ts": "video/mp2t", ".m2ts": "video/mp2t", ".mxf": "application/mxf"}
    suffix = path.suffix.lower()
    # Case means nothing in a content type, and is not always small in the registry: audio/AMR.
    return known.get(suffix) or (mimetypes.guess_type(f"x{suffix}")[0] or "video/mp4").lower()
