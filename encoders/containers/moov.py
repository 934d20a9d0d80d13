"""The header of an MP4 or MOV file as its author wrote it: what FFmpeg, which parses the rest, does not tell.

Source: ISO/IEC 14496-12, 8.2.1 (moov), 8.5.2 (sample descriptions).
"""

from __future__ import annotations

import struct
from itertools import islice
from pathlib import Path

from encoders.boxes import Box, MalformedBoxes, iter_boxes
from encoders.errors import Encrypted

MOST_BOXES = 100_000
"""Before the moov. More are fragments, whose edit lists FFmpeg applies exactly."""
MOST_HEADER_BYTES = 64 << 20
"""Of a moov that is read; a day's has fewer."""
MOST_INSIDE = 1000
"""Boxes looked at on one level of a moov: tracks are fewer."""
PROTECTED = frozenset(("drmi", "drms", "drmt"))
"""Sample descriptions of Apple's FairPlay, which decoders take for what they are not.
Source: libavformat 62, isom_tags.c and mov.c."""


def refuse_protected(path: Path) -> None:
    """Refuse an MP4 or MOV file of which a track can be played by those who bought it only.

    Raises:
        Encrypted: by FairPlay; common encryption is seen by its packets (`scan.scan_packets`).
    """
    if PROTECTED.intersection(sample_descriptions(path).values()):
        raise Encrypted(
            "The media is protected against copying (FairPlay, as bought from iTunes). Upload an unprotected copy."
        )


def sample_descriptions(path: Path) -> dict[int, str]:
    """Track id -> four-character code of its first sample description, as far as the header can be read."""
    moov, found = read_moov(path), {}
    try:
        for track in islice(iter_boxes(moov), MOST_INSIDE):
            if track.kind == "trak":
                track_id = full_box_number(moov, _inside(moov, track, "tkhd"), 12, 20)
                table = _inside(moov, track, "mdia", "minf", "stbl", "stsd")
                found[track_id] = moov[table.body + 12 : table.body + 16].decode("latin-1")
    except (MalformedBoxes, struct.error, IndexError):
        return found
    return found


def _inside(moov: bytes, box: Box, *path: str) -> Box:
    for kind in path:
        children = islice(iter_boxes(moov, box.body, box.end), MOST_INSIDE)
        following = next((child for child in children if child.kind == kind), None)
        if following is None:
            raise MalformedBoxes(f"there is no {kind}")
        box = following
    return box


def full_box_number(moov: bytes, box: Box, short: int, wide: int) -> int:
    """A 32-bit field of a full box, at one offset or, when its times are wide, at another."""
    offset = wide if moov[box.body] == 1 else short
    return int(struct.unpack_from(">I", moov, box.body + offset)[0])


def read_moov(path: Path) -> bytes:
    """What is inside a file's moov; empty when there is none, or a larger one than is read."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        at = 0
        for _ in range(MOST_BOXES):
            if at + 8 > size:
                break
            file.seek(at)
            head = file.read(16)
            length, kind = struct.unpack_from(">I4s", head)
            skip = 8
            if length == 1 and len(head) == 16:
                length, skip = struct.unpack_from(">Q", head, 8)[0], 16
            length = length or size - at
            if length < skip:
                return b""
            if kind == b"moov":
                file.seek(at + skip)
                return file.read(length - skip) if length <= MOST_HEADER_BYTES else b""
            at += length
    return b""
