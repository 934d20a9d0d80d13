"""The copy of a source that cannot be read in pieces as it is (`encoders/remux.py`): made once, at its inspection.

The copy lies among the video's records under the source's digest, its own record beside it, written last: another
attempt, a restart or a retry of the video finds it and copies nothing. It goes when the records go.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from cluster import layout
from cluster.errors import ObjectMissing
from cluster.staging import StagedSource
from cluster.storage.base import ObjectStore
from encoders.errors import MediaCrashed, ResourceExceeded
from encoders.media import Copy, MediaInfo
from encoders.remux import NAME, mend_source

_INFO = TypeAdapter(MediaInfo)


def mended_source(
    store: ObjectStore, video_id: str, source: StagedSource, info: MediaInfo, out: Path, confined: Callable[..., Any]
) -> MediaInfo:
    """Copy a source unless that was done before.

    Args:
        info: what the probe found; its `copy` says what is to be put right.
        out: empty folder for the copy, until it is stored.
        confined: runs a function of `encoders` in a child that may read the source and write to `out`.

    Returns:
        what the source is, as its copy tells it; as it is itself where copying does not help.

    Raises:
        FarmError: as the child or the store says; nothing counts as done then.
    """
    record = layout.copy_record(video_id, source.sha256)
    try:
        return _INFO.validate_json(store.get_bytes(record))
    except ObjectMissing:
        mended = _copied(source, info, out, confined)
    if mended.copy is not Copy.NONE:
        store.put_file(layout.copy_key(video_id, source.sha256), out / NAME, "application/octet-stream")
    store.put_bytes(record, _INFO.dump_json(mended), "application/json")
    return mended


def _copied(source: StagedSource, info: MediaInfo, out: Path, confined: Callable[..., Any]) -> MediaInfo:
    """The source copied; as it is where copying it brings the child down."""
    try:
        mended: MediaInfo = confined(mend_source, source.path, out, info)
    except (MediaCrashed, ResourceExceeded):
        return replace(info, copy=Copy.NONE)
    return mended
