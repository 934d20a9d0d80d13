"""Checksums of Ogg pages: whether pages of one stream were dropped. FFmpeg drops pages that are damaged, and goes on.

Source: RFC 3533, 6.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import BinaryIO

CAPTURE = b"OggS"
HEADER_BYTES, CHECKSUM_AT = 27, 22
LONGEST_PAGE = HEADER_BYTES + 255 + 255 * 255
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def page_checksum(page: bytes) -> int:
    """CRC of a page, taken with zeros in place of its own checksum.

    Ogg's has zlib's polynomial, but takes bits from the other end, begins with zero and is not inverted at the end.
    """
    data = page[:CHECKSUM_AT] + bytes(4) + page[CHECKSUM_AT + 4 :]
    mirrored = zlib.crc32(data.translate(_MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)


class PageCheck:
    """Follows the packets of one stream through the file; each page of it is read once. Nothing is kept open."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at: int | None = None
        self._serial = 0
        self._due: int | None = None

    def lost_before(self, position: int | None) -> bool:
        """Whether pages of the stream are missing or damaged before the page at a packet's position in the file.

        A number that is left out counts only where broken data lies: cut files are not numbered anew.

        Args:
            position: of the page in which the packet begins, not before that of the packet asked about before.
        """
        if position is None or position < 0:
            return False
        with self._path.open("rb") as file:
            if self._at is None:
                page = _read_page(file, position)
                if page is None:
                    return False
                self._at, self._serial, self._due = position, *_numbers(page)
            broken = lost = False
            while self._at <= position:
                page = _read_page(file, self._at)
                if page is None:
                    broken = True
                    self._at = _next_capture(file, self._at + 1)
                    continue
                serial, number = _numbers(page)
                if serial == self._serial:
                    lost |= broken and number != self._due
                    self._due, broken = number + 1, False
                self._at += len(page)
        return lost


def _read_page(file: BinaryIO, position: int) -> bytes | None:
    """The page that begins there, whole and as its checksum says; None where there is none."""
    file.seek(position)
    header = file.read(HEADER_BYTES)
    if len(header) < HEADER_BYTES or not header.startswith(CAPTURE):
        return None
    table = file.read(header[26])
    page = header + table + file.read(sum(table))
    whole = len(page) == HEADER_BYTES + header[26] + sum(table)
    if not whole or page_checksum(page) != struct.unpack_from("<I", page, CHECKSUM_AT)[0]:
        return None
    return page


def _numbers(page: bytes) -> tuple[int, int]:
    """Serial number of the stream, and the page's number in it."""
    serial, number = struct.unpack_from("<II", page, 14)
    return serial, number


def _next_capture(file: BinaryIO, position: int) -> int:
    """Where the next page may begin; the end of the file when none does."""
    file.seek(position)
    before = b""
    while data := file.read(LONGEST_PAGE):
        found = (before + data).find(CAPTURE)
        if found >= 0:
            return position - len(before) + found
        position += len(data)
        before = data[-3:]
    return position + 1
