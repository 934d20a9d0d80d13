"""Files that are whole or absent: written under a temporary name, synced, renamed; with folders synced as well.

A process killed at any step leaves at most a temporary file, which `sweep` of the store removes later.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cluster.errors import KeyInvalid, StoreFull, StoreUnavailable

CHUNK_BYTES = 1 << 20
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NO_RANGE_COPY = frozenset({errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM})
_PUBLISH_TRIES = 8


@contextmanager
def store_errors(subject: str) -> Iterator[None]:
    """The system's errors as the store's."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StoreFull(f"{subject}: {error.strerror}: free space, or give the store a larger disk") from error
        raise StoreUnavailable(f"{subject}: {error}") from error


@contextmanager
def temporary_path(folder: Path) -> Iterator[Path]:
    """A name in `folder` that nobody uses; whatever is there at the end of the block is removed."""
    make_folder(folder)
    path = folder / f"{secrets.token_hex(16)}.tmp"
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def publish(temporary: Path, path: Path) -> None:
    """Give a synced temporary file its name, replacing what is there.

    Raises:
        KeyInvalid: the name, or a folder of it, is taken by the other kind.
    """
    for _ in range(_PUBLISH_TRIES):
        try:
            make_folder(path.parent)
            temporary.replace(path)
        except (NotADirectoryError, IsADirectoryError, FileExistsError):
            raise KeyInvalid(f"{path.name}: another key needs this name as a folder, or a folder's as a name") from None
        except FileNotFoundError:
            # A delete has removed the empty folder since it was made; without the temporary file it is an error.
            if not temporary.exists():
                raise
        else:
            with suppress(FileNotFoundError):  # Deleted already, with its folder.
                sync_folder(path.parent)
            return
    raise StoreUnavailable(f"{path.parent} is removed again and again while a file is put there")


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, and sync the entries that are new. Another process may remove it at once."""
    if folder.is_dir():
        return
    if folder.parent != folder:
        make_folder(folder.parent)
    with suppress(FileExistsError):
        folder.mkdir()
        sync_folder(folder.parent)
    # One look, since what was there at the first of two may be removed before the second.
    with suppress(FileNotFoundError):
        if not stat.S_ISDIR(folder.stat().st_mode):
            raise FileExistsError(errno.EEXIST, "a file is where a folder should be", str(folder))


def remove_empty_folders(folder: Path, root: Path) -> None:
    """Remove `folder` and those above it, below `root`, as far as they are empty."""
    while folder != root and root in folder.parents:
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_synced(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a new file, of that mode from its first moment, and sync it."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def copy_hashed(source: Path, target: Path) -> str:
    """Copy a file to a new one, synced; answers the MD5 of its bytes in hex."""
    digest = hashlib.md5(usedforsecurity=False)
    with source.open("rb") as reader, target.open("xb") as writer:
        while chunk := reader.read(CHUNK_BYTES):
            digest.update(chunk)
            writer.write(chunk)
        writer.flush()
        os.fsync(writer.fileno())
    return digest.hexdigest()


def md5_of(path: Path) -> str:
    """MD5 of a file's bytes in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def join_files(sources: list[Path], target: Path) -> None:
    """Write the files one after another into a new one, synced; in the kernel, and on some file systems for free."""
    with target.open("xb") as writer:
        for source in sources:
            with source.open("rb") as reader:
                left = os.fstat(reader.fileno()).st_size
                try:
                    while left:
                        copied = os.copy_file_range(reader.fileno(), writer.fileno(), left)
                        if not copied:
                            raise StoreUnavailable(f"{source.name} became shorter while it was read")
                        left -= copied
                except OSError as error:
                    if error.errno not in _NO_RANGE_COPY:
                        raise
                    # The descriptors' positions stand behind what was copied; the writer has buffered nothing yet.
                    shutil.copyfileobj(reader, writer, CHUNK_BYTES)
                    writer.flush()
        os.fsync(writer.fileno())


def link_or_copy(source: Path, target: Path) -> None:
    """A second name for the bytes of a file that nobody writes any more; a copy where links are not to be had."""
    try:
        target.hardlink_to(source)
    except OSError as error:
        if error.errno in _FULL or isinstance(error, FileNotFoundError):
            raise
        join_files([source], target)
