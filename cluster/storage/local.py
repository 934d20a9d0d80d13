"""Objects as files: the embedded default. The gateway serves its signed URLs (`signing`) as the data plane.

    objects/{key}           the bytes; path_of() hands them out for hard links
    meta/{key}              ETag, content type, cache control; written before the object gets its name
    uploads/{id}/           open multipart uploads (`local_parts`)
    tmp/                    whatever is not whole yet; `sweep` removes what a killed process left

The description names size and modification time of the file that it belongs to. When they do not fit (a process was
killed between the two renames) it is made again from the bytes. All on one file system, which may be shared by several
processes of one machine; not on NFS. A key cannot be a folder of another ("a" beside "a/b"): `KeyInvalid`.
"""

from __future__ import annotations

import json
import mimetypes
import os
import shutil
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path

from cluster.errors import ObjectMissing, PartMismatch, UploadMissing
from cluster.storage.base import (
    MIN_PART_BYTES,
    Multipart,
    ObjectInfo,
    Part,
    SignedUrl,
    bare_etag,
    check_key,
    check_parts,
    check_prefix,
    joined_etag,
)
from cluster.storage.durable import (
    copy_hashed,
    join_files,
    link_or_copy,
    md5_of,
    publish,
    remove_empty_folders,
    store_errors,
    temporary_path,
    write_synced,
)
from cluster.storage.local_parts import LocalParts
from cluster.storage.signing import Grant, PartGrant, UrlSigner


class LocalStore:
    """An `ObjectStore` in a folder, with the powers `LocalPaths` and `TreeSigning`."""

    def __init__(self, root: Path, base_url: str, secret: bytes, min_part_bytes: int = MIN_PART_BYTES) -> None:
        """
        Args:
            root: made when missing.
            base_url: where clients reach the gateway that serves this store.
            secret: signs the URLs; at least 32 bytes, the same in all processes.
            min_part_bytes: of every part but the last. S3's limit, so that what works here works there.
        """
        self._root = root.resolve()
        self._objects, self._meta, self._scratch = self._root / "objects", self._root / "meta", self._root / "tmp"
        self._uploads = LocalParts(self._root / "uploads", self._scratch)
        self._signer = UrlSigner(base_url, secret)
        self._min_part_bytes = min_part_bytes
        with store_errors(str(self._root)):
            for folder in (self._objects, self._meta, self._scratch):
                folder.mkdir(parents=True, exist_ok=True)

    def put_file(self, key: str, path: Path, content_type: str, cache_control: str | None = None) -> ObjectInfo:
        """See `ObjectStore`."""
        check_key(key)
        with store_errors(f"put {key}"), temporary_path(self._scratch) as temporary:
            etag = copy_hashed(path, temporary)
            return self._publish(key, temporary, etag, content_type, cache_control)

    def put_bytes(self, key: str, data: bytes, content_type: str, cache_control: str | None = None) -> ObjectInfo:
        """See `ObjectStore`."""
        check_key(key)
        with store_errors(f"put {key}"), temporary_path(self._scratch) as temporary:
            write_synced(temporary, data)
            return self._publish(key, temporary, md5_of(temporary), content_type, cache_control)

    def get_file(self, key: str, path: Path) -> ObjectInfo:
        """See `ObjectStore`."""
        info = self._existing(key)
        with store_errors(f"get {key}"), temporary_path(path.parent) as temporary:
            join_files([self.path_of(key)], temporary)
            publish(temporary, path)
        return info

    def get_bytes(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """See `ObjectStore`."""
        path = self.path_of(key)
        with store_errors(f"get {key}"), path.open("rb") as file:
            file.seek(start)
            return file.read(-1 if length is None else length)

    def head(self, key: str) -> ObjectInfo | None:
        """See `ObjectStore`."""
        path = self._objects / check_key(key)
        with store_errors(f"head {key}"):
            try:
                return self._describe(key, path)
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return None

    def list(self, prefix: str) -> Sequence[ObjectInfo]:
        """See `ObjectStore`."""
        found = (self.head(key) for key in self._keys(prefix))
        return sorted((info for info in found if info), key=lambda info: info.key.encode())

    def delete(self, key: str) -> None:
        """See `ObjectStore`."""
        path, about = self._objects / check_key(key), self._about_path(key)
        with store_errors(f"delete {key}"):
            for file, root in ((path, self._objects), (about, self._meta)):
                try:
                    file.unlink()
                except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                    continue
                remove_empty_folders(file.parent, root)

    def delete_prefix(self, prefix: str) -> int:
        """See `ObjectStore`."""
        if not prefix:
            raise ValueError("an empty prefix would delete everything")
        keys = [*self._keys(prefix)]
        for key in keys:
            self.delete(key)
        return len(keys)

    def create_multipart(self, key: str, content_type: str) -> str:
        """See `ObjectStore`."""
        check_key(key)
        with store_errors(f"upload of {key}"):
            return self._uploads.create(key, content_type, time.time())

    def sign_part(self, key: str, upload_id: str, part_number: int, size_bytes: int, expires_s: int) -> SignedUrl:
        """See `ObjectStore`."""
        Part(number=part_number, size_bytes=size_bytes, etag="")
        return self._signer.sign_part(upload_id, part_number, size_bytes, expires_s)

    def list_parts(self, key: str, upload_id: str) -> Sequence[Part]:
        """See `ObjectStore`."""
        with store_errors(f"upload of {key}"):
            return [part for part, _ in self._uploads.held(key, upload_id).values()]

    def complete_multipart(self, key: str, upload_id: str, parts: Sequence[Part]) -> ObjectInfo:
        """See `ObjectStore`. The parts are removed last: a call that was cut off anywhere can be made again."""
        check_parts(parts)
        with store_errors(f"complete {key}"):
            try:
                info = self._join(key, upload_id, parts)
            except (UploadMissing, FileNotFoundError):
                # Completed by an earlier call, or by one beside this.
                existing = self.head(key)
                if existing is None or existing.etag != joined_etag(part.etag for part in parts):
                    raise UploadMissing(f"upload {upload_id[:40]!r} is not open, and {key} is not its object") from None
                return existing
            self._uploads.drop(upload_id)
            return info

    def abort_multipart(self, key: str, upload_id: str) -> None:
        """See `ObjectStore`."""
        with store_errors(f"abort {key}"):
            self._uploads.drop(upload_id)

    def list_multiparts(self, older_than: float) -> Sequence[Multipart]:
        """See `ObjectStore`."""
        with store_errors("open uploads"):
            return self._uploads.opened_before(older_than)

    def sign_get(self, key: str, expires_s: int, filename: str | None = None) -> SignedUrl:
        """See `ObjectStore`."""
        return self._signer.sign_get(key, expires_s, filename)

    def sign_tree(self, prefix: str, expires_s: int) -> SignedUrl:
        """See `TreeSigning`."""
        return self._signer.sign_tree(prefix, expires_s)

    def verify_signature(self, method: str, path: str, query: Mapping[str, str]) -> Grant:
        """What a request to the data plane may do; see `UrlSigner.verify`."""
        return self._signer.verify(method, path, query)

    async def receive_part(self, grant: PartGrant, chunks: AsyncIterator[bytes], content_md5: str | None = None) -> str:
        """Take a part's body; answers its ETag, unquoted. See `LocalParts.receive`."""
        return await self._uploads.receive(grant, chunks, content_md5)

    def path_of(self, key: str) -> Path:
        """See `LocalPaths`."""
        path = self._objects / check_key(key)
        if not path.is_file():
            raise ObjectMissing(f"no object {key}")
        return path

    def sweep(self, older_than: float) -> int:
        """Remove temporary files last written before `older_than` (epoch seconds); answers how many entries."""
        removed = 0
        with store_errors("sweep"):
            for entry in self._scratch.iterdir():
                try:
                    if entry.lstat().st_mtime >= older_than:
                        continue
                except FileNotFoundError:
                    continue
                if entry.is_dir():
                    shutil.rmtree(entry, ignore_errors=True)
                else:
                    entry.unlink(missing_ok=True)
                removed += 1
        return removed

    def _join(self, key: str, upload_id: str, parts: Sequence[Part]) -> ObjectInfo:
        content_type = self._uploads.content_type(key, upload_id)
        held = self._uploads.held(key, upload_id)
        files = [self._file_of(part, held, last=part is parts[-1]) for part in parts]
        with temporary_path(self._scratch) as temporary:
            if len(files) == 1:
                link_or_copy(files[0], temporary)
            else:
                join_files(files, temporary)
            return self._publish(key, temporary, joined_etag(part.etag for part in parts), content_type, None)

    def _file_of(self, part: Part, held: Mapping[int, tuple[Part, Path]], last: bool) -> Path:
        """The file of a part, when it is the one that was named."""
        if part.number not in held:
            raise PartMismatch(f"part {part.number} has not arrived: send it, then complete again")
        there, path = held[part.number]
        if there.etag != bare_etag(part.etag) or there.size_bytes != part.size_bytes:
            raise PartMismatch(
                f"part {part.number} holds {there.size_bytes} bytes with ETag {there.etag}, not the"
                f" {part.size_bytes} bytes with ETag {bare_etag(part.etag)} that were named"
            )
        if not last and there.size_bytes < self._min_part_bytes:
            raise PartMismatch(
                f"part {part.number} has {there.size_bytes} bytes; all but the last need {self._min_part_bytes}"
            )
        return path

    def _publish(
        self, key: str, temporary: Path, etag: str, content_type: str, cache_control: str | None
    ) -> ObjectInfo:
        """Give a synced file its key, its description first; the same object again is left as it is."""
        stat = temporary.stat()
        info = ObjectInfo(
            key=key, size_bytes=stat.st_size, etag=etag, content_type=content_type, cache_control=cache_control
        )
        if self.head(key) != info:
            self._write_about(info, stat.st_mtime_ns)
            publish(temporary, self._objects / key)
        return info

    def _describe(self, key: str, path: Path) -> ObjectInfo:
        """What is known of the file; its description is mended when it is another file's."""
        stat = path.stat()
        if not path.is_file():
            raise IsADirectoryError
        about = self._read_about(key)
        fits = (about.get("size_bytes"), about.get("written_ns")) == (stat.st_size, stat.st_mtime_ns)
        info = ObjectInfo(
            key=key,
            size_bytes=stat.st_size,
            etag=str(about["etag"]) if fits else md5_of(path),
            content_type=str(about.get("content_type") or mimetypes.guess_type(key)[0] or "application/octet-stream"),
            cache_control=str(about["cache_control"]) if about.get("cache_control") else None,
        )
        if not fits:
            self._write_about(info, stat.st_mtime_ns)
        return info

    def _read_about(self, key: str) -> dict[str, object]:
        try:
            about: dict[str, object] = json.loads(self._about_path(key).read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return {}
        return about

    def _write_about(self, info: ObjectInfo, written_ns: int) -> None:
        about = {
            "etag": info.etag,
            "content_type": info.content_type,
            "cache_control": info.cache_control,
            "size_bytes": info.size_bytes,
            "written_ns": written_ns,
        }
        with temporary_path(self._scratch) as temporary:
            write_synced(temporary, json.dumps(about).encode())
            publish(temporary, self._about_path(info.key))

    def _about_path(self, key: str) -> Path:
        return self._meta / key

    def _existing(self, key: str) -> ObjectInfo:
        info = self.head(key)
        if info is None:
            raise ObjectMissing(f"no object {key}")
        return info

    def _keys(self, prefix: str) -> Iterator[str]:
        """Keys that start with the prefix, in no order."""
        folder = self._objects / check_prefix(prefix).rpartition("/")[0]
        for parent, _, names in os.walk(folder):
            for name in names:
                key = (Path(parent) / name).relative_to(self._objects).as_posix()
                if key.startswith(prefix):
                    yield key
