"""The object store port: what uploads, workers and packaging need of storage, and nothing more.

All calls block; asynchronous callers use `asyncio.to_thread`. Objects are immutable by convention: a key is written
once, or again with the same bytes. ETags are given without quotes, in lower case: the MD5 of the bytes, or for an
object of N parts the MD5 of the parts' MD5s, then "-N" (what S3 answers without KMS encryption).
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable
from urllib.parse import quote

from cluster.errors import KeyInvalid, PartMismatch

MAX_KEY_BYTES = 900
"""Below S3's 1024, so that derived keys fit. Source: Amazon S3 User Guide, "Naming Amazon S3 objects"."""
MAX_KEY_NAME_BYTES = 200
"""Of one name between slashes: with suffixes below the 255 bytes of ext4 and xfs."""
MAX_PARTS = 10_000
"""Source: Amazon S3 User Guide, "Amazon S3 multipart upload limits"."""
MIN_PART_BYTES = 5 * 1024 * 1024
"""Of every part but the last. Source: the same."""
MAX_PART_BYTES = 5 * 1024 * 1024 * 1024
"""Source: the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectInfo:
    """What is known of an object without reading it."""

    key: str
    size_bytes: int
    etag: str
    content_type: str
    cache_control: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part that storage holds, whole."""

    number: int
    size_bytes: int
    etag: str

    def __post_init__(self) -> None:
        if not 1 <= self.number <= MAX_PARTS or self.size_bytes < 0:
            raise ValueError(f"part {self.number} of {self.size_bytes} bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedUrl:
    """A URL that grants one thing until `expires_at` (epoch seconds); `headers` must be sent with it."""

    url: str
    expires_at: float
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Multipart:
    """An open multipart upload; `created_at` in epoch seconds."""

    key: str
    upload_id: str
    created_at: float


@runtime_checkable
class ObjectStore(Protocol):
    """Objects under keys. An unknown key is `ObjectMissing`, a broken store `StoreUnavailable` (`cluster.errors`)."""

    def put_file(self, key: str, path: Path, content_type: str, cache_control: str | None = None) -> ObjectInfo:
        """Store the file's bytes under the key; the object appears whole or not at all.

        Raises:
            StoreFull: nothing is kept.
        """
        ...

    def put_bytes(self, key: str, data: bytes, content_type: str, cache_control: str | None = None) -> ObjectInfo:
        """As `put_file`, for what fits in memory."""
        ...

    def get_file(self, key: str, path: Path) -> ObjectInfo:
        """Bring the object to `path`: temporary file beside it, fsync, rename. Big ones resume where a try broke off.

        Raises:
            ObjectMissing: `path` is untouched.
        """
        ...

    def get_bytes(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """Bytes `[start, start + length)`, cut at the object's end; all from `start` when `length` is None."""
        ...

    def head(self, key: str) -> ObjectInfo | None:
        """What is under the key; None when nothing is."""
        ...

    def list(self, prefix: str) -> Sequence[ObjectInfo]:
        """Objects whose keys start with `prefix` (plain text, so end it with "/"), by key in UTF-8 order.

        `content_type` and `cache_control` may be empty here: `head` has them.
        """
        ...

    def delete(self, key: str) -> None:
        """Remove the object; nothing happens when there is none."""
        ...

    def delete_prefix(self, prefix: str) -> int:
        """Remove all objects whose keys start with `prefix`; answers how many. An empty prefix is refused."""
        ...

    def create_multipart(self, key: str, content_type: str) -> str:
        """Open a multipart upload for the key and answer its id."""
        ...

    def sign_part(self, key: str, upload_id: str, part_number: int, size_bytes: int, expires_s: int) -> SignedUrl:
        """A URL to PUT exactly `size_bytes` as this part; the store's answer carries the ETag. No I/O."""
        ...

    def list_parts(self, key: str, upload_id: str) -> Sequence[Part]:
        """Parts received whole, by number.

        Raises:
            UploadMissing: the upload is not open.
        """
        ...

    def complete_multipart(self, key: str, upload_id: str, parts: Sequence[Part]) -> ObjectInfo:
        """Join the parts, ascending by number. A second call with the same parts answers the same object.

        Raises:
            PartMismatch: a part is absent or has another ETag; the upload stays open.
            UploadMissing: the upload is not open and the object is not the one that these parts make.
        """
        ...

    def abort_multipart(self, key: str, upload_id: str) -> None:
        """Drop an open upload and its parts; nothing happens when it is not open."""
        ...

    def list_multiparts(self, older_than: float) -> Sequence[Multipart]:
        """Open uploads begun before `older_than` (epoch seconds)."""
        ...

    def sign_get(self, key: str, expires_s: int, filename: str | None = None) -> SignedUrl:
        """A URL to GET the object; `filename` makes browsers save it under that name. No I/O."""
        ...


@runtime_checkable
class LocalPaths(Protocol):
    """Optional power: objects are files on this machine, so staging may hard-link instead of copying."""

    def path_of(self, key: str) -> Path:
        """The file that holds the object; read-only for the caller.

        Raises:
            ObjectMissing: there is none.
        """
        ...


@runtime_checkable
class TreeSigning(Protocol):
    """Optional power: one URL whose signature is in its path, so that relative references below it work as well."""

    def sign_tree(self, prefix: str, expires_s: int) -> SignedUrl:
        """A URL that stands for `prefix` (ends with "/"): append the rest of a key to GET that object."""
        ...


def check_key(key: str) -> str:
    """The key itself, when every store can hold it.

    Raises:
        KeyInvalid: empty, too long, absolute, with "." or ".." or empty names, control characters or backslashes.
    """
    names = key.split("/")
    if len(key.encode(errors="replace")) > MAX_KEY_BYTES or any(
        len(name.encode(errors="replace")) > MAX_KEY_NAME_BYTES for name in names
    ):
        raise KeyInvalid(f"key of {len(key)} characters: at most {MAX_KEY_BYTES} bytes, {MAX_KEY_NAME_BYTES} a name")
    if any(name in ("", ".", "..") for name in names) or not key.isprintable() or "\\" in key:
        raise KeyInvalid(f"key {key!r}: want names joined by single slashes, without '.', '..' and control characters")
    return key


def check_prefix(prefix: str) -> str:
    """The prefix itself, when keys may start with it.

    Raises:
        KeyInvalid: as `check_key`; a last name that is cut off, or none after a slash, is fine.
    """
    if prefix:
        check_key(f"{prefix}x")
    return prefix


def check_parts(parts: Sequence[Part]) -> None:
    """Refuse an empty, unordered or doubled set of parts.

    Raises:
        PartMismatch: says which.
    """
    numbers = [part.number for part in parts]
    if not numbers:
        raise PartMismatch("no parts were named: upload at least one")
    if any(left >= right for left, right in itertools.pairwise(numbers)):
        raise PartMismatch("parts must be named once each, in ascending order")


def bare_etag(etag: str) -> str:
    """An ETag as this port compares it: no quotes, lower case."""
    return etag.strip().removeprefix("W/").strip('"').lower()


def joined_etag(etags: Iterable[str]) -> str:
    """ETag of an object of parts: the MD5 of the parts' binary MD5s, then their count.

    Source: AWS re:Post, "How do I check the integrity of an object uploaded to S3".
    """
    digests = [bytes.fromhex(bare_etag(etag)) for etag in etags]
    return f"{hashlib.md5(b''.join(digests), usedforsecurity=False).hexdigest()}-{len(digests)}"


def content_disposition(filename: str) -> str:
    """Header value that makes browsers save a download under that name. Source: RFC 6266, appendix D; RFC 8187."""
    plain = "".join(sign if sign.isascii() and sign.isprintable() and sign not in '"\\' else "_" for sign in filename)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"
