"""Open multipart uploads of the local store, as folders: `uploads/{id}/meta.json` and one file a part.

A part's file is named "{number}.{size}.{md5}", so that the one rename which makes it whole also says its ETag. A part
sent again with other bytes has another name; the one written last counts.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import re
import secrets
import shutil
import threading
from collections.abc import AsyncIterator
from pathlib import Path

from cluster.errors import DigestMismatch, LengthMismatch, UploadMissing
from cluster.storage.base import Multipart, Part
from cluster.storage.durable import CHUNK_BYTES, make_folder, store_errors, sync_folder, write_synced
from cluster.storage.signing import PartGrant

_UPLOAD_ID = re.compile(r"[0-9a-f]{32}")
_PART_NAME = re.compile(r"([0-9]{5})\.([0-9]+)\.([0-9a-f]{32})")


class LocalParts:
    """Folders of open uploads below `root`; `scratch` is on the same file system."""

    def __init__(self, root: Path, scratch: Path) -> None:
        self._root = root
        self._scratch = scratch

    def create(self, key: str, content_type: str, now: float) -> str:
        """Open an upload; it is there whole, with its description, or not at all."""
        upload_id = secrets.token_hex(16)
        folder = self._scratch / f"{upload_id}.new"
        make_folder(folder)
        about = {"key": key, "content_type": content_type, "created_at": now}
        write_synced(folder / "meta.json", json.dumps(about).encode())
        make_folder(self._root)
        folder.rename(self._root / upload_id)
        sync_folder(self._root)
        return upload_id

    def content_type(self, key: str, upload_id: str) -> str:
        """What the upload was opened with.

        Raises:
            UploadMissing: it is not open, or for another key.
        """
        return str(self._about(key, upload_id)["content_type"])

    def held(self, key: str, upload_id: str) -> dict[int, tuple[Part, Path]]:
        """Parts held whole and their files, by number.

        Raises:
            UploadMissing: it is not open, or for another key.
        """
        self._about(key, upload_id)
        newest: dict[int, tuple[float, Part, Path]] = {}
        for name in _names(self._root / upload_id):
            match, path = _PART_NAME.fullmatch(name), self._root / upload_id / name
            if match is None:
                continue
            number, size_bytes, etag = int(match[1]), int(match[2]), match[3]
            written = _written_ns(path)
            if number not in newest or newest[number][0] < written:
                newest[number] = (written, Part(number=number, size_bytes=size_bytes, etag=etag), path)
        return {number: (part, path) for number, (_, part, path) in sorted(newest.items())}

    def drop(self, upload_id: str) -> None:
        """Close an upload and remove its parts: out of sight at once, then for good."""
        if _UPLOAD_ID.fullmatch(upload_id) is None:
            return
        make_folder(self._scratch)
        doomed = self._scratch / f"{upload_id}.{secrets.token_hex(4)}.old"
        try:
            (self._root / upload_id).rename(doomed)
        except FileNotFoundError:
            return
        sync_folder(self._root)
        shutil.rmtree(doomed, ignore_errors=True)

    def opened_before(self, older_than: float) -> list[Multipart]:
        """Open uploads begun before that time, oldest first."""
        found = []
        for folder in self._root.iterdir() if self._root.is_dir() else ():
            try:
                about = json.loads((folder / "meta.json").read_bytes())
            except (FileNotFoundError, NotADirectoryError):
                continue
            if about["created_at"] < older_than:
                created_at = float(about["created_at"])
                found.append(Multipart(key=about["key"], upload_id=folder.name, created_at=created_at))
        return sorted(found, key=lambda upload: upload.created_at)

    async def receive(self, grant: PartGrant, chunks: AsyncIterator[bytes], content_md5: str | None = None) -> str:
        """Stream a body to disk as a part, in constant memory, off the event loop; answers its ETag.

        Args:
            content_md5: base64 of the MD5 that the body must have, where the sender told it. Source: RFC 1864.

        Raises:
            LengthMismatch: longer or shorter than signed; nothing is kept.
            DigestMismatch: the body is another one; nothing is kept.
            UploadMissing: the upload is not open (any more).
            StoreFull: nothing is kept.
        """
        sink = await asyncio.to_thread(self._open_sink, grant)
        try:
            waiting: list[bytes] = []
            waiting_bytes = received_bytes = 0
            async for chunk in chunks:
                received_bytes += len(chunk)
                if received_bytes > grant.size_bytes:
                    raise LengthMismatch(f"the body is longer than the {grant.size_bytes} bytes signed for this part")
                waiting.append(chunk)
                waiting_bytes += len(chunk)
                if waiting_bytes >= CHUNK_BYTES:
                    await asyncio.to_thread(sink.write, waiting)
                    waiting, waiting_bytes = [], 0
            if received_bytes != grant.size_bytes:
                raise LengthMismatch(
                    f"the body ended after {received_bytes} of the {grant.size_bytes} bytes signed for this part"
                )
            await asyncio.to_thread(sink.write, waiting)
            if content_md5 is not None and content_md5.strip() != sink.md5_base64():
                raise DigestMismatch(f"the body's MD5 is {sink.md5_base64()} in base64, not what Content-MD5 says")
            return await asyncio.to_thread(sink.commit, self._root / grant.upload_id, grant.part_number)
        finally:
            await asyncio.to_thread(sink.discard)

    def _open_sink(self, grant: PartGrant) -> _PartSink:
        with store_errors(f"part {grant.part_number}"):
            if (
                _UPLOAD_ID.fullmatch(grant.upload_id) is None
                or not (self._root / grant.upload_id / "meta.json").is_file()
            ):
                raise UploadMissing("this upload is not open: it was completed, aborted or has expired")
            make_folder(self._scratch)
            return _PartSink(self._scratch / f"{secrets.token_hex(16)}.part")

    def _about(self, key: str, upload_id: str) -> dict[str, object]:
        try:
            if _UPLOAD_ID.fullmatch(upload_id) is None:
                raise FileNotFoundError
            about: dict[str, object] = json.loads((self._root / upload_id / "meta.json").read_bytes())
        except FileNotFoundError:
            raise UploadMissing(f"no open upload {upload_id[:40]!r}") from None
        if about["key"] != key:
            raise UploadMissing(f"upload {upload_id} is for another key")
        return about


class _PartSink:
    """A part on its way to disk. The lock keeps a cancelled request's last write and its clean-up apart."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("xb", buffering=0)
        self._digest = hashlib.md5(usedforsecurity=False)
        self._size_bytes = 0
        self._lock = threading.Lock()

    def write(self, chunks: list[bytes]) -> None:
        """Append; nothing happens after `discard`."""
        data = memoryview(b"".join(chunks))
        with self._lock, store_errors("part"):
            if self._file.closed:
                return
            self._digest.update(data)
            self._size_bytes += len(data)
            while data:
                data = data[self._file.write(data) :]

    def md5_base64(self) -> str:
        """The MD5 of what was written."""
        return base64.b64encode(self._digest.digest()).decode()

    def commit(self, folder: Path, number: int) -> str:
        """Sync, and give the part its name; earlier parts of that number go."""
        with self._lock, store_errors("part"):
            os.fsync(self._file.fileno())
            written = os.fstat(self._file.fileno()).st_mtime_ns
            self._file.close()
            etag = self._digest.hexdigest()
            path = folder / f"{number:05d}.{self._size_bytes}.{etag}"
            try:
                self._path.rename(path)
                sync_folder(folder)
            except FileNotFoundError:
                raise UploadMissing("this upload was completed or aborted while its part was sent") from None
            for other in folder.glob(f"{number:05d}.*"):
                # Only older ones: two that are sent at once must not remove each other.
                if other != path and _written_ns(other) < written:
                    other.unlink(missing_ok=True)
            return etag

    def discard(self) -> None:
        """Remove what was not committed."""
        with self._lock:
            self._file.close()
            self._path.unlink(missing_ok=True)


def _written_ns(path: Path) -> float:
    """When a file was last written, ns; never, when somebody removed it meanwhile."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return float("-inf")


def _names(folder: Path) -> list[str]:
    """Names in a folder of parts.

    Raises:
        UploadMissing: it has gone: another call completed or aborted the upload.
    """
    try:
        return os.listdir(folder)  # noqa: PTH208 - names are wanted, not paths
    except FileNotFoundError:
        raise UploadMissing(f"no open upload {folder.name}") from None
