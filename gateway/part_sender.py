"""Sends the parts of one upload that storage does not hold yet, several at once, in constant memory."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import httpx

from encoders.errors import FarmError, Fault
from gateway import schemas
from gateway.client_http import RETRIED, PatientHttp

READ_BYTES = 256 * 1024
EXPIRED = 403
"""What storages answer to a signed URL whose time is over. Source: Amazon S3 API Reference, "Error responses"."""


class SourceChanged(FarmError):
    """The file changed while it was uploaded; nothing of it is processed."""

    code = "source_changed"
    fault = Fault.CALLER


class _Stopped(Exception):
    """Another part failed, or the user gave up: this one need not arrive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SentPart:
    """A part that storage holds."""

    number: int
    etag: str


class PartSender:
    """One upload's parts.

    Args:
        http: to storage; sends no token.
        session: as the farm sees it, with the parts that have arrived.
        presign: (upload id, part number, bytes) -> where the part goes; called right before each try.
        on_progress: (bytes that arrived or travel, bytes in all), from several threads.
    """

    def __init__(
        self,
        http: PatientHttp,
        path: Path,
        session: schemas.UploadResponse,
        presign: Callable[[str, int, int], schemas.SignedPart],
        on_progress: Callable[[int, int], None],
    ) -> None:
        self._failed = threading.Event()
        self._http = http.pausing_by(self._failed.wait)
        self._path = path
        self._session = session
        self._presign = presign
        self._on_progress = on_progress
        self._done = {
            part.part_number: SentPart(number=part.part_number, etag=part.etag)
            for part in session.parts
            if part.size_bytes == self._size_bytes(part.part_number)
        }
        self.arrived_bytes = sum(self._size_bytes(number) for number in self._done)
        self._sent_bytes = self.arrived_bytes
        self._lock = threading.Lock()

    def _size_bytes(self, number: int) -> int:
        start = (number - 1) * self._session.part_size_bytes
        return min(self._session.part_size_bytes, self._session.file_size_bytes - start)

    def send(self, parallel: int) -> list[SentPart]:
        """Send what is missing; all parts in order, also those that had arrived before.

        Raises:
            ApiProblem, FarmUnreachable: parts that arrived stay; the rest was not sent.
            SourceChanged: the file is shorter than it was.
        """
        missing = [number for number in range(1, self._session.part_count + 1) if number not in self._done]
        self._count(0)
        with self._path.open("rb") as file, ThreadPoolExecutor(parallel, thread_name_prefix="part") as pool:
            futures = [pool.submit(self._send_one, file.fileno(), number) for number in missing]
            try:
                done, _ = wait(futures, return_when=FIRST_EXCEPTION)
                for future in done:
                    future.result()
            finally:
                # Also after Ctrl-C: parts that have not begun never do, those that travel stop at their next block.
                self._failed.set()
                pool.shutdown(wait=False, cancel_futures=True)
        return [self._done[number] for number in sorted(self._done)]

    def _send_one(self, file: int, number: int) -> None:
        size_bytes = self._size_bytes(number)
        travelled = 0

        def request() -> httpx.Request:
            nonlocal travelled
            if self._failed.is_set():
                raise _Stopped
            self._count(-travelled)  # of a try that failed
            travelled = 0
            place = self._presign(self._session.upload_id, number, size_bytes)
            headers = httpx.Headers(place.headers)
            headers["Content-Length"] = str(size_bytes)  # without it a generator is sent chunked, which storages refuse
            return self._http.client.build_request("PUT", place.presigned_url, content=blocks(), headers=headers)

        def blocks() -> Iterator[bytes]:
            nonlocal travelled
            start = (number - 1) * self._session.part_size_bytes
            while travelled < size_bytes:
                block = os.pread(file, min(READ_BYTES, size_bytes - travelled), start + travelled)
                if not block:
                    raise SourceChanged(f"{self._path} became shorter while it was uploaded; upload it again")
                if self._failed.is_set():
                    raise _Stopped
                travelled += len(block)
                self._count(len(block))
                yield block

        response = self._http.send(request, again=RETRIED | {EXPIRED})
        etag = response.headers.get("ETag", "")
        with self._lock:
            self._done[number] = SentPart(number=number, etag=etag)

    def _count(self, more_bytes: int) -> None:
        with self._lock:
            self._sent_bytes += more_bytes
            sent = self._sent_bytes
        self._on_progress(sent, self._session.file_size_bytes)
