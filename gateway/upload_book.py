"""Which uploads were begun and not finished: a small file each, so that the next try goes on where the last stopped.

An entry is found by the file's identity (place, size, time of last change) with the farm and the profile: a file that
was changed since is another file.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from pydantic import BaseModel, ValidationError


class OpenUpload(BaseModel):
    """An upload session that this machine began."""

    upload_id: str
    video_id: str
    part_size_bytes: int
    part_count: int


class UploadBook:
    """Entries in a folder, one JSON file each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def of_user(cls) -> UploadBook | None:
        """The one in the user's state folder; None for users without a home. Source: XDG Base Directory 0.8."""
        state = os.environ.get("XDG_STATE_HOME")
        try:
            return cls((Path(state) if state else Path.home() / ".local" / "state") / "reelmill" / "uploads")
        except RuntimeError:
            return None

    def find(self, key: str) -> OpenUpload | None:
        """The entry of a key; None when there is none that can be read."""
        try:
            return OpenUpload.model_validate_json(self._path(key).read_bytes())
        except (OSError, ValidationError):
            return None

    def put(self, key: str, upload: OpenUpload) -> None:
        """Write the entry, whole or not at all."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = self._path(key).with_suffix(f".{os.getpid()}")
        fresh.write_text(upload.model_dump_json())
        fresh.replace(self._path(key))

    def drop(self, key: str) -> None:
        """Forget the entry; does nothing when there is none."""
        self._path(key).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.json"


def file_key(path: Path, url: str, profile: str) -> str:
    """Key of a file as it is now, for a farm and a profile.

    Raises:
        OSError: there is no such file.
    """
    found = path.stat()
    identity = [str(path.resolve()), found.st_size, found.st_mtime_ns, url, profile]
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:32]
