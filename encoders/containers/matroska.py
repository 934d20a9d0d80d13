"""Checksums of Matroska clusters, which FFmpeg's muxer writes (OBS, most converters) and its demuxer does not compare.

Source: RFC 8794, 4 to 6 and 11.3.1 (EBML, CRC-32); RFC 9559, 5.1 (Segment, Cluster).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

from encoders.containers.ebml import CLUSTER, SEGMENT, read_head

CHECKSUM = 0xBF
CHECKSUM_BYTES = 6
"""Of the element: one of identifier, one of length, four of value."""
_PIECE_BYTES = 1 << 20


class ClusterCheck:
    """Follows the packets of a file; each cluster is read once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._clusters = _clusters(path)
        self._begin, self._end = 0, 0
        self._broken = False

    def broken_at(self, position: int | None) -> int | None:
        """The place of the cluster that a packet lies in, when its checksum says that it is damaged; else None.

        Args:
            position: of the packet in the file, not before that of the packet asked about before.
        """
        if position is None or position < 0:
            return None
        while self._end <= position:
            cluster = next(self._clusters, None)
            if cluster is None:
                return None
            self._begin, self._end = cluster
            self._broken = self._end > position and not _is_sound(self._path, self._begin, self._end)
        return self._begin if self._broken and self._begin <= position else None


def _clusters(path: Path) -> Iterator[tuple[int, int]]:
    """(begin, end) of what each cluster holds, as far as lengths are told."""
    at = 0
    with path.open("rb") as file:
        while (head := read_head(file, at)) is not None:
            kind, begin, length = head
            if kind == SEGMENT:
                at = begin
            elif length is None:
                return
            else:
                at = begin + length
                if kind == CLUSTER:
                    yield begin, at


def _is_sound(path: Path, begin: int, end: int) -> bool:
    """Whether a cluster is as its checksum says; True where it has none, and where the file ends before it does."""
    with path.open("rb") as file:
        file.seek(begin)
        element = file.read(CHECKSUM_BYTES)
        if end - begin < CHECKSUM_BYTES or element[:2] != bytes((CHECKSUM, 0x84)):
            return True
        left, value = end - begin - CHECKSUM_BYTES, 0
        while left:
            piece = file.read(min(left, _PIECE_BYTES))
            if not piece:
                return True
            value = zlib.crc32(piece, value)
            left -= len(piece)
    return value == int.from_bytes(element[2:], "little")
