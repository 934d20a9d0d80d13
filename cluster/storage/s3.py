"""Objects in an S3 bucket, or in anything that speaks its protocol, through boto3.

Parts and playback go straight between clients and the store by presigned URLs; signing is pure computing. boto3 retries
what is worth it; what is left over is typed here.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, BinaryIO

import boto3
from boto3.exceptions import S3UploadFailedError
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

from cluster.errors import (
    ObjectMissing,
    PartMismatch,
    StorageError,
    StoreFull,
    StoreRefused,
    StoreUnavailable,
    UploadMissing,
)
from cluster.storage.base import (
    Multipart,
    ObjectInfo,
    Part,
    SignedUrl,
    bare_etag,
    check_key,
    check_parts,
    check_prefix,
    content_disposition,
    joined_etag,
)
from cluster.storage.durable import CHUNK_BYTES, publish, store_errors

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

FETCH_BYTES = 64 << 20
"""How much one ranged request brings. What a broken fetch has brought whole is not fetched again."""
CONNECTIONS = 32
_DELETE_BATCH = 1000
"""Keys in one DeleteObjects. Source: Amazon S3 API Reference, "DeleteObjects"."""

# Source: Amazon S3 API Reference, "Error responses"; the last of each are other servers' words for the same.
_ERRORS: dict[type[StorageError], frozenset[str]] = {
    ObjectMissing: frozenset({"NoSuchKey", "404", "NotFound"}),
    UploadMissing: frozenset({"NoSuchUpload"}),
    PartMismatch: frozenset({"InvalidPart", "InvalidPartOrder", "EntityTooSmall"}),
    StoreFull: frozenset({"QuotaExceeded", "InsufficientStorage", "507", "XMinioStorageFull"}),
    StoreRefused: frozenset(
        {"AccessDenied", "403", "Forbidden", "InvalidAccessKeyId", "SignatureDoesNotMatch", "NoSuchBucket"}
        | {"ExpiredToken", "InvalidToken", "PermanentRedirect", "301"}
    ),
}


class S3Store:
    """An `ObjectStore` in a bucket, below an optional prefix of keys. Safe to share between threads."""

    def __init__(
        self,
        bucket: str,
        *,
        prefix: str = "",
        endpoint: str | None = None,
        region: str | None = None,
        attempts: int = 5,
    ) -> None:
        """Credentials come from boto3's usual places (environment, profile, role of the machine).

        Args:
            prefix: put before every key, so that several farms share a bucket; ends with a slash when not empty.
            endpoint: URL of a server other than Amazon's; addressed by path then.
            attempts: tries of a request in all, with back-off between them.
        """
        self._bucket = bucket
        self._prefix = prefix
        config = Config(
            signature_version="s3v4",
            # Newer boto3 adds CRC trailers by default, which older S3 work-alikes refuse. Source: boto3 issue 4392.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            retries={"mode": "standard", "total_max_attempts": attempts},
            connect_timeout=10,
            read_timeout=60,
            max_pool_connections=CONNECTIONS,
            s3={"addressing_style": "path" if endpoint else "auto"},
        )
        with _typed_errors("s3 client"):
            # A session of its own: boto3's default one is shared, and not safe to make in two threads.
            self._client: S3Client = boto3.session.Session().client(
                "s3", endpoint_url=endpoint, region_name=region, config=config
            )
        self._transfer = TransferConfig(multipart_threshold=FETCH_BYTES, multipart_chunksize=FETCH_BYTES // 4)

    def put_file(self, key: str, path: Path, content_type: str, cache_control: str | None = None) -> ObjectInfo:
        """See `ObjectStore`."""
        with _typed_errors(f"put {key}"):
            extra = {"ContentType": content_type} | ({"CacheControl": cache_control} if cache_control else {})
            self._client.upload_file(str(path), self._bucket, self._name(key), ExtraArgs=extra, Config=self._transfer)
        return self._existing(key)

    def put_bytes(self, key: str, data: bytes, content_type: str, cache_control: str | None = None) -> ObjectInfo:
        """See `ObjectStore`."""
        with _typed_errors(f"put {key}"):
            if cache_control:
                answer = self._client.put_object(
                    Bucket=self._bucket,
                    Key=self._name(key),
                    Body=data,
                    ContentType=content_type,
                    CacheControl=cache_control,
                )
            else:
                answer = self._client.put_object(
                    Bucket=self._bucket, Key=self._name(key), Body=data, ContentType=content_type
                )
        return ObjectInfo(
            key=key,
            size_bytes=len(data),
            etag=bare_etag(answer["ETag"]),
            content_type=content_type,
            cache_control=cache_control,
        )

    def get_file(self, key: str, path: Path) -> ObjectInfo:
        """See `ObjectStore`. A partial file beside `path` carries the ETag, so that a later try goes on from there."""
        info = self._existing(key)
        partial = path.with_name(f".{path.name}.{info.etag}.partial")
        with store_errors(f"get {key}"):
            path.parent.mkdir(parents=True, exist_ok=True)
            with _open_partial(partial) as file:
                # The last stretch may have been cut off by a crash before it was synced.
                done = max(0, file.tell() - 1) // FETCH_BYTES * FETCH_BYTES
                file.truncate(done)
                while done < info.size_bytes:
                    wanted = min(FETCH_BYTES, info.size_bytes - done)
                    self._fetch(key, info.etag, done, wanted, file)
                    file.flush()
                    os.fsync(file.fileno())
                    done += wanted
                publish(partial, path)
        return info

    def get_bytes(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """See `ObjectStore`."""
        if length == 0:
            return b""
        end = "" if length is None else str(start + length - 1)
        with _typed_errors(f"get {key}"):
            try:
                answer = self._client.get_object(Bucket=self._bucket, Key=self._name(key), Range=f"bytes={start}-{end}")
            except ClientError as error:
                if _code(error) in ("InvalidRange", "416"):
                    return b""
                raise
            return answer["Body"].read()

    def head(self, key: str) -> ObjectInfo | None:
        """See `ObjectStore`."""
        try:
            return self._existing(key)
        except ObjectMissing:
            return None

    def list(self, prefix: str) -> Sequence[ObjectInfo]:
        """See `ObjectStore`."""
        with _typed_errors(f"list {prefix}"):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._prefix + check_prefix(prefix)
            )
            return [
                ObjectInfo(
                    key=entry["Key"].removeprefix(self._prefix),
                    size_bytes=entry["Size"],
                    etag=bare_etag(entry["ETag"]),
                    content_type="",
                )
                for page in pages
                for entry in page.get("Contents", [])
            ]

    def delete(self, key: str) -> None:
        """See `ObjectStore`."""
        with _typed_errors(f"delete {key}"):
            self._client.delete_object(Bucket=self._bucket, Key=self._name(key))

    def delete_prefix(self, prefix: str) -> int:
        """See `ObjectStore`."""
        if not prefix:
            raise ValueError("an empty prefix would delete everything")
        keys = [info.key for info in self.list(prefix)]
        for start in range(0, len(keys), _DELETE_BATCH):
            batch = keys[start : start + _DELETE_BATCH]
            with _typed_errors(f"delete {prefix}"):
                answer = self._client.delete_objects(
                    Bucket=self._bucket, Delete={"Objects": [{"Key": self._name(key)} for key in batch], "Quiet": True}
                )
            if answer.get("Errors"):
                raise StoreUnavailable(f"delete {prefix}: {answer['Errors'][0].get('Message', 'refused')}")
        return len(keys)

    def create_multipart(self, key: str, content_type: str) -> str:
        """See `ObjectStore`."""
        with _typed_errors(f"upload of {key}"):
            answer = self._client.create_multipart_upload(
                Bucket=self._bucket, Key=self._name(key), ContentType=content_type
            )
        return answer["UploadId"]

    def sign_part(self, key: str, upload_id: str, part_number: int, size_bytes: int, expires_s: int) -> SignedUrl:
        """See `ObjectStore`. The length is a signed header: S3 answers 403 to a body of another length."""
        Part(number=part_number, size_bytes=size_bytes, etag="")
        terms = {
            "Bucket": self._bucket,
            "Key": self._name(key),
            "UploadId": upload_id,
            "PartNumber": part_number,
            "ContentLength": size_bytes,
        }
        with _typed_errors(f"sign {key}"):
            url = self._client.generate_presigned_url("upload_part", Params=terms, ExpiresIn=expires_s)
        return SignedUrl(url=url, expires_at=int(time()) + expires_s, headers={"Content-Length": str(size_bytes)})

    def list_parts(self, key: str, upload_id: str) -> Sequence[Part]:
        """See `ObjectStore`."""
        with _typed_errors(f"upload of {key}"):
            pages = self._client.get_paginator("list_parts").paginate(
                Bucket=self._bucket, Key=self._name(key), UploadId=upload_id
            )
            return [
                Part(number=part["PartNumber"], size_bytes=part["Size"], etag=bare_etag(part["ETag"]))
                for page in pages
                for part in page.get("Parts", [])
            ]

    def complete_multipart(self, key: str, upload_id: str, parts: Sequence[Part]) -> ObjectInfo:
        """See `ObjectStore`."""
        check_parts(parts)
        named = [{"PartNumber": part.number, "ETag": f'"{bare_etag(part.etag)}"'} for part in parts]
        try:
            self._check_held(key, upload_id, parts)
            with _typed_errors(f"complete {key}"):
                self._client.complete_multipart_upload(
                    Bucket=self._bucket,
                    Key=self._name(key),
                    UploadId=upload_id,
                    MultipartUpload={"Parts": named},  # type: ignore[typeddict-item]
                )
        except UploadMissing:
            existing = self.head(key)
            if existing is None or not _made_of(existing, parts):
                raise UploadMissing(f"upload {upload_id[:40]!r} is not open, and {key} is not its object") from None
            return existing
        return self._existing(key)

    def abort_multipart(self, key: str, upload_id: str) -> None:
        """See `ObjectStore`."""
        try:
            with _typed_errors(f"abort {key}"):
                self._client.abort_multipart_upload(Bucket=self._bucket, Key=self._name(key), UploadId=upload_id)
        except (UploadMissing, ObjectMissing):
            return

    def list_multiparts(self, older_than: float) -> Sequence[Multipart]:
        """See `ObjectStore`."""
        with _typed_errors("open uploads"):
            pages = self._client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self._bucket, Prefix=self._prefix
            )
            uploads = [
                Multipart(
                    key=upload["Key"].removeprefix(self._prefix),
                    upload_id=upload["UploadId"],
                    created_at=upload["Initiated"].timestamp(),
                )
                for page in pages
                for upload in page.get("Uploads", [])
            ]
        return sorted((one for one in uploads if one.created_at < older_than), key=lambda one: one.created_at)

    def sign_get(self, key: str, expires_s: int, filename: str | None = None) -> SignedUrl:
        """See `ObjectStore`."""
        terms = {"Bucket": self._bucket, "Key": self._name(key)}
        if filename:
            terms["ResponseContentDisposition"] = content_disposition(filename)
        with _typed_errors(f"sign {key}"):
            url = self._client.generate_presigned_url("get_object", Params=terms, ExpiresIn=expires_s)
        return SignedUrl(url=url, expires_at=int(time()) + expires_s)

    def _name(self, key: str) -> str:
        return self._prefix + check_key(key)

    def _existing(self, key: str) -> ObjectInfo:
        with _typed_errors(f"head {key}"):
            answer = self._client.head_object(Bucket=self._bucket, Key=self._name(key))
        return ObjectInfo(
            key=key,
            size_bytes=answer["ContentLength"],
            etag=bare_etag(answer["ETag"]),
            content_type=answer.get("ContentType", ""),
            cache_control=answer.get("CacheControl") or None,
        )

    def _fetch(self, key: str, etag: str, start: int, length: int, file: BinaryIO) -> None:
        """Write `length` bytes from `start` to the file, if the object is still the one of that ETag."""
        with _typed_errors(f"get {key}"):
            answer = self._client.get_object(
                Bucket=self._bucket,
                Key=self._name(key),
                Range=f"bytes={start}-{start + length - 1}",
                IfMatch=f'"{etag}"',
            )
            left = length
            for chunk in answer["Body"].iter_chunks(CHUNK_BYTES):
                with store_errors(f"get {key}"):
                    file.write(chunk)
                left -= len(chunk)
        if left:
            raise StoreUnavailable(f"get {key}: the answer was {left} bytes short")

    def _check_held(self, key: str, upload_id: str, parts: Sequence[Part]) -> None:
        """Compare before completing: some servers end the upload on a wrong part instead of refusing it."""
        held = {part.number: part for part in self.list_parts(key, upload_id)}
        for part in parts:
            there = held.get(part.number)
            if there is None:
                raise PartMismatch(f"part {part.number} has not arrived: send it, then complete again")
            if there.etag != bare_etag(part.etag) or there.size_bytes != part.size_bytes:
                raise PartMismatch(
                    f"part {part.number} holds {there.size_bytes} bytes with ETag {there.etag}, not the"
                    f" {part.size_bytes} bytes with ETag {bare_etag(part.etag)} that were named"
                )


@contextmanager
def _open_partial(path: Path) -> Iterator[BinaryIO]:
    """A partial file, locked: two fetches of one object to one place take turns."""
    while True:
        with path.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            # Whoever had the lock before may have given the file its final name; then this is not the one any more.
            if path.exists() and path.stat().st_ino == os.fstat(file.fileno()).st_ino:
                yield file
                return


def _made_of(existing: ObjectInfo, parts: Sequence[Part]) -> bool:
    """Whether an object is what these parts make.

    With KMS encryption ETags are no MD5s and cannot be computed; then size and number of parts must do, and they do
    because an upload's key is its own.
    """
    if existing.size_bytes != sum(part.size_bytes for part in parts):
        return False
    try:
        return existing.etag == joined_etag(part.etag for part in parts)
    except ValueError:
        return existing.etag.endswith(f"-{len(parts)}")


@contextmanager
def _typed_errors(subject: str) -> Iterator[None]:
    """boto3's errors as the store's."""
    try:
        yield
    except ClientError as error:
        raise _typed(error, subject) from error
    except S3UploadFailedError as error:
        cause = error.__context__
        if isinstance(cause, ClientError):
            raise _typed(cause, subject) from error
        raise StoreUnavailable(f"{subject}: {error}") from error
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise StoreRefused(f"{subject}: {error}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY") from error
    except BotoCoreError as error:
        raise StoreUnavailable(f"{subject}: {error}") from error


def _typed(error: ClientError, subject: str) -> StorageError:
    code = _code(error)
    for kind, codes in _ERRORS.items():
        if code in codes:
            return kind(f"{subject}: {code}")
    return StoreUnavailable(f"{subject}: {code} {error.response.get('Error', {}).get('Message', '')}".rstrip())


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", "unknown"))
