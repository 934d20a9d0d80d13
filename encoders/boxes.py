"""ISO BMFF boxes: find, read and split them. Pure functions on bytes; standard library only. `mux` writes them.

For files that the farm wrote itself; FFmpeg parses foreign ones, of which edit lists and codes of codecs are read here,
in a confined process. All offsets are absolute in the data given, in bytes.

Source: ISO/IEC 14496-12 (ISO base media file format), clause numbers at the functions.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

NON_SYNC_SAMPLE = 0x0001_0000
"""sample_is_non_sync_sample of the sample flags. Source: ISO/IEC 14496-12, 8.8.3.1."""


class MalformedBoxes(ValueError):
    """The bytes are no well-formed sequence of boxes, or a box that must be there is not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """Where a box lies: its header at `start`, its payload from `body` to `end`."""

    kind: str
    start: int
    body: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One sample of a fragment: ticks of the track's timescale, absolute byte offset, raw sample flags."""

    decode_time: int
    duration: int
    composition_offset: int
    offset: int
    size: int
    flags: int

    @property
    def sync(self) -> bool:
        """Whether decoding can start here."""
        return not self.flags & NON_SYNC_SAMPLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Fragment:
    """A moof and the mdat after it: bytes [start, end), samples in decode order."""

    start: int
    end: int
    sequence: int
    track_id: int
    samples: tuple[Sample, ...]


def iter_boxes(data: bytes, start: int = 0, end: int | None = None) -> Iterator[Box]:
    """The boxes that lie side by side in [start, end) (4.2).

    Raises:
        MalformedBoxes: a box does not fit.
    """
    stop = len(data) if end is None else end
    while start < stop:
        if stop - start < 8:
            raise MalformedBoxes(f"{stop - start} stray bytes at {start}")
        size, kind = struct.unpack_from(">I4s", data, start)
        body = start + 8
        if size == 1 and stop - start >= 16:
            size, body = struct.unpack_from(">Q", data, body)[0], start + 16
        elif size == 0:
            size = stop - start
        name = kind.decode("latin-1")
        if size < body - start or start + size > stop:
            raise MalformedBoxes(f"box {name!r} at {start} claims {size} bytes where {stop - start} are left")
        yield Box(kind=name, start=start, body=body, end=start + size)
        start += size


def find_boxes(data: bytes, path: str, within: Box | None = None) -> Iterator[Box]:
    """All boxes at a path of container boxes, as in "moov/trak/mdia", from the top or from inside a box."""
    first, _, rest = path.partition("/")
    span = (0, None) if within is None else (within.body, within.end)
    for box in iter_boxes(data, *span):
        if box.kind == first:
            if rest:
                yield from find_boxes(data, rest, box)
            else:
                yield box


def find_box(data: bytes, path: str, within: Box | None = None) -> Box:
    """The first box at a path.

    Raises:
        MalformedBoxes: there is none.
    """
    for box in find_boxes(data, path, within):
        return box
    raise MalformedBoxes(f"there is no {path}")


def split_fragmented(data: bytes) -> tuple[bytes, tuple[bytes, ...]]:
    """A fragmented file as (ftyp + moov, every moof + mdat); other top-level boxes are left out.

    Raises:
        MalformedBoxes: there is no moov, or a moof without mdat.
    """
    init, fragments, pending = b"", [], b""
    for box in iter_boxes(data):
        piece = data[box.start : box.end]
        if box.kind in ("ftyp", "moov"):
            init += piece
        elif box.kind == "moof":
            pending = piece
        elif box.kind == "mdat" and pending:
            fragments.append(pending + piece)
            pending = b""
    if pending or not any(box.kind == "moov" for box in iter_boxes(init)):
        raise MalformedBoxes("no moov, or a moof without mdat")
    return init, tuple(fragments)


def read_fragments(data: bytes) -> tuple[Fragment, ...]:
    """The fragments of a media segment, or of a fragmented file, of one track (8.8.4 to 8.8.8, 8.8.12).

    The writer's shape is expected: one traf a moof, offsets from the moof, defaults in tfhd.

    Raises:
        MalformedBoxes: it is not of this shape, or samples lie outside of the mdat.
    """
    fragments, moof = [], None
    for box in iter_boxes(data):
        if box.kind == "moof":
            moof = box
        elif box.kind == "mdat" and moof is not None:
            fragments.append(_read_fragment(data, moof, box))
            moof = None
    if moof is not None:
        raise MalformedBoxes("a moof without mdat")
    return tuple(fragments)


def _read_fragment(data: bytes, moof: Box, mdat: Box) -> Fragment:
    traf = find_box(data, "traf", moof)
    sequence = struct.unpack_from(">I", data, find_box(data, "mfhd", moof).body + 4)[0]
    tfhd = find_box(data, "tfhd", traf)
    track_id, duration, flags = _read_tfhd(data, tfhd)
    tfdt = find_box(data, "tfdt", traf)
    time = struct.unpack_from(">Q" if data[tfdt.body] == 1 else ">I", data, tfdt.body + 4)[0]
    samples: list[Sample] = []
    for trun in find_boxes(data, "trun", traf):
        samples += _read_trun(data, trun, moof.start, time, duration, flags)
        time = samples[-1].decode_time + samples[-1].duration if samples else time
    if samples and (samples[0].offset < mdat.body or samples[-1].offset + samples[-1].size > mdat.end):
        raise MalformedBoxes(f"samples of the moof at {moof.start} lie outside of its mdat")
    return Fragment(start=moof.start, end=mdat.end, sequence=sequence, track_id=track_id, samples=tuple(samples))


def _read_tfhd(data: bytes, tfhd: Box) -> tuple[int, int, int]:
    """(track id, default duration, default sample flags); optional fields come in the order of their flag bits."""
    present = int.from_bytes(data[tfhd.body + 1 : tfhd.body + 4], "big")
    track_id = struct.unpack_from(">I", data, tfhd.body + 4)[0]
    at, values = tfhd.body + 8, {}
    for bit, size in ((0x1, 8), (0x2, 4), (0x8, 4), (0x10, 4), (0x20, 4)):
        if present & bit:
            values[bit] = int.from_bytes(data[at : at + size], "big")
            at += size
    return track_id, values.get(0x8, 0), values.get(0x20, 0)


def _read_trun(data: bytes, trun: Box, base: int, time: int, duration: int, flags: int) -> Iterator[Sample]:
    version = data[trun.body]
    present = int.from_bytes(data[trun.body + 1 : trun.body + 4], "big")
    count = struct.unpack_from(">I", data, trun.body + 4)[0]
    at, offset = trun.body + 8, base
    if present & 0x1:
        offset = base + struct.unpack_from(">i", data, at)[0]
        at += 4
    first_flags = flags
    if present & 0x4:
        first_flags = struct.unpack_from(">I", data, at)[0]
        at += 4
    fields = [bit for bit in (0x100, 0x200, 0x400, 0x800) if present & bit]
    if at + 4 * len(fields) * count > trun.end or not present & 0x200:
        raise MalformedBoxes(f"trun at {trun.start}: {count} samples do not fit or have no size")
    for index in range(count):
        row = dict(zip(fields, struct.unpack_from(f">{len(fields)}I", data, at), strict=True))
        at += 4 * len(fields)
        shift = row.get(0x800, 0)
        yield Sample(
            decode_time=time,
            duration=row.get(0x100, duration),
            composition_offset=shift - (1 << 32) if version and shift >= 1 << 31 else shift,
            offset=offset,
            size=row[0x200],
            flags=row.get(0x400, flags if index else first_flags),
        )
        offset += row[0x200]
        time += row.get(0x100, duration)
