"""What the tracks of a Matroska file are coded by, as the file says it: FFmpeg has no name for some codecs.

Source: RFC 8794 (EBML), sections 4 to 6; RFC 9559 (Matroska), section 5.1 (IDs of elements).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

EBML, SEGMENT, CLUSTER, TRACKS, ENTRY, CODEC_ID = 0x1A45DFA3, 0x18538067, 0x1F43B675, 0x1654AE6B, 0xAE, 0x86
WEBVTT = "S_TEXT/WEBVTT"
"""What mkvmerge writes; FFmpeg 8 knows only D_WEBVTT/SUBTITLES, which WebM has."""
MOST_ELEMENTS = 1000
"""Looked at on one level: tracks come before the media, and after a few others."""
MOST_NAME_BYTES = 64


def codec_ids(path: Path) -> list[str]:
    """The codec of each track, in the order of the file; as far as they can be read, none of what is no Matroska."""
    found: list[str] = []
    with path.open("rb") as file:
        end = path.stat().st_size
        for kind, begin, stop in _elements(file, 0, end):
            if kind == SEGMENT:
                found = _tracks(file, begin, min(stop, end))
            if kind != EBML:
                break
    return found


def _tracks(file: BinaryIO, begin: int, end: int) -> list[str]:
    for kind, first, stop in _elements(file, begin, end):
        if kind == TRACKS:
            entries = [each for each in _elements(file, first, min(stop, end)) if each[0] == ENTRY]
            return [_codec(file, start, min(last, end)) for _, start, last in entries]
        if kind == CLUSTER:
            break
    return []


def _codec(file: BinaryIO, begin: int, end: int) -> str:
    for kind, first, stop in _elements(file, begin, end):
        if kind == CODEC_ID:
            file.seek(first)
            return file.read(min(stop - first, MOST_NAME_BYTES)).decode("latin-1").rstrip("\0")
    return ""


def _elements(file: BinaryIO, begin: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(ID, first byte of the data, byte behind it) of the elements of one level."""
    at = begin
    for _ in range(MOST_ELEMENTS):
        if at >= end:
            return
        head = read_head(file, at)
        if head is None:
            return
        identifier, data, size = head
        at = end if size is None else data + size
        yield identifier, data, at


def read_head(file: BinaryIO, at: int) -> tuple[int, int, int | None] | None:
    """(ID, first byte of the data, its length or None where untold) of an element; None where there is none."""
    file.seek(at)
    head = file.read(12)
    id_bytes = _length(head[:1], 4)
    size_bytes = _length(head[id_bytes : id_bytes + 1], 8) if id_bytes else 0
    if not size_bytes or len(head) < id_bytes + size_bytes:
        return None
    raw = int.from_bytes(head[id_bytes : id_bytes + size_bytes], "big")
    size = raw & (1 << 7 * size_bytes) - 1
    unknown = size == (1 << 7 * size_bytes) - 1
    return int.from_bytes(head[:id_bytes], "big"), at + id_bytes + size_bytes, None if unknown else size


def _length(first: bytes, most: int) -> int:
    """Bytes of a variable-length number by its first one; 0 where it is none."""
    length = 9 - first[0].bit_length() if first and first[0] else 0
    return length if length <= most else 0
