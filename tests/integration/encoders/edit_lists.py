"""Another edit list for the first track of an MP4 whose index lies at its end."""

from __future__ import annotations

import struct
from pathlib import Path

from encoders.boxes import Box, find_box


def with_edits(path: Path, count: int, *, duration: int, media_time: int) -> None:
    """Have a file show the same span so many times.

    Args:
        path: is changed. It has an edit list.
        duration: of each edit, ticks of the movie.
        media_time: where each begins, ticks of the track.
    """
    data = path.read_bytes()
    old = find_box(data, "moov/trak/edts/elst")
    edits = struct.pack(">II", 0, count) + struct.pack(">IiI", duration, media_time, 0x10000) * count
    new = struct.pack(">I4s", 8 + len(edits), b"elst") + edits
    grown = bytearray(data)
    for outer in ("moov", "moov/trak", "moov/trak/edts"):
        box: Box = find_box(data, outer)
        struct.pack_into(">I", grown, box.start, box.end - box.start + len(new) - (old.end - old.start))
    path.write_bytes(grown[: old.start] + new + grown[old.end :])
