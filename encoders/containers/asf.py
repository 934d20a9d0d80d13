"""The header of an ASF file (WMV, WMA), for what FFmpeg only warns of: protection against copying.

Source: Advanced Systems Format (ASF) Specification 01.20.06, sections 2.1, 3.1, 3.14 to 3.16 and 10.2.
"""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

from encoders.errors import Encrypted

HEADER = UUID("75B22630-668E-11CF-A6D9-00AA0062CE6C").bytes_le
PROTECTIONS = frozenset(
    UUID(name).bytes_le
    for name in (
        "2211B3FB-BD23-11D2-B4B7-00A0C955FC6E",  # Content Encryption
        "298AE614-2622-4C17-B935-DAE07EE9289C",  # Extended Content Encryption
        "43058533-6981-49E6-9B74-AD12CB86D58C",  # Advanced Content Encryption
    )
)
HEADER_HEAD, OBJECT_HEAD = 30, 24
"""Bytes of the header object before those in it, and of any object before its data."""
MOST_HEADER_BYTES = 1 << 20
MOST_OBJECTS = 1000


def refuse_protected(path: Path) -> None:
    """Refuse a file that can be played by those who bought it only; one that is no ASF file passes.

    Raises:
        Encrypted: its header says how it is encrypted.
    """
    with path.open("rb") as file:
        head = file.read(HEADER_HEAD)
        if head[:16] != HEADER:
            return
        size = int.from_bytes(head[16:24], "little")
        objects = file.read(max(0, min(size, MOST_HEADER_BYTES) - HEADER_HEAD))
    at = 0
    for _ in range(MOST_OBJECTS):
        if objects[at : at + 16] in PROTECTIONS:
            raise Encrypted(
                "The media is protected against copying (Windows Media DRM). Upload an unprotected copy, or record "
                "it again."
            )
        length = int.from_bytes(objects[at + 16 : at + OBJECT_HEAD], "little")
        if length < OBJECT_HEAD or at + length >= len(objects):
            return
        at += length
