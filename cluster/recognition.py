"""A worker's part in known content: fingerprints kept, and videos compared with registered works, before packaging.

The comparison runs in a confined child, which the end of the attempt ends as well, on a catalogue that all workers of
the node share as one mapped file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from cluster import layout
from cluster.catalogue import BINARY
from cluster.staging import Staging
from cluster.storage.base import ObjectStore
from cluster.works import open_works
from encoders.audio import AudioResult
from encoders.recognition import sound
from encoders.recognition.fingerprint import fingerprint_of
from encoders.recognition.known import KnownContent, KnownContentAction, KnownContentSettings, refuse
from encoders.recognition.recognise import recognise_in

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Marks:
    """What the records of a video's tasks hold: of the segments in order, and of the default sound rendition."""

    video_id: str
    pictures: Sequence[str]
    sound: str


def with_sound_marks(result: AudioResult, heard: Path) -> AudioResult:
    """A sound rendition's result with the chromaprint of what the child has left; without, where none can be made."""
    try:
        return replace(result, sound_marks=sound.encode_words(sound.chromaprint(heard)))
    except sound.ChromaprintFailed as error:
        log.warning("no_chromaprint", code=error.code, detail=error.detail)
        warning = f"{result.name}: the sound could not be fingerprinted, so it is not compared with registered works"
        return replace(result, warnings=(*result.warnings, warning))


def look_for_works(
    marks: Marks,
    settings: KnownContentSettings,
    store: ObjectStore,
    staging: Staging,
    confined: Callable[..., KnownContent],
) -> KnownContent | None:
    """Keep a video's fingerprint, and compare it with registered works as its profile says; None when nobody looks.

    Args:
        confined: runs a function of `encoders` in a confined child.

    Raises:
        CopyrightFound: it holds one, and its profile refuses that. The fingerprint is kept.
    """
    data = fingerprint_of(marks.pictures, marks.sound).to_bytes()
    store.put_bytes(layout.fingerprint_key(marks.video_id), data, BINARY)
    if settings.action is KnownContentAction.OFF:
        return None
    with open_works(store, staging) as works:
        if works is None:
            return KnownContent(works=0, matches=())
        found = confined(recognise_in, data, works.parts, works.removed, settings, marks.video_id, readable=works.parts)
    if settings.action is KnownContentAction.REJECT:
        refuse(found)
    return found
