"""Finished renditions as packaging sees them: lengths, sizes, rates and I-frames, read from the media segments.

Everything that playlists and manifests declare is measured here, on the files that players will load; nothing is taken
from what an encoder meant to write.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

from encoders.av1 import av1_codec
from encoders.boxes import Fragment, MalformedBoxes, find_box, find_boxes, iter_boxes, read_fragments
from encoders.errors import VerificationFailed
from encoders.hevc import hevc_codec


@dataclass(frozen=True, slots=True, kw_only=True)
class IFrame:
    """Where the bytes of an I-frame lie in its media segment: a fragment's moof and its first sample.

    Attributes:
        start: decode time, which for an IDR picture on the grid is its presentation time; ticks.
        duration: until the next I-frame or the track's end, ticks.
    """

    number: int
    offset: int
    size_bytes: int
    start: int
    duration: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One media segment: its number from 1, its decode time and duration in ticks, its size."""

    number: int
    start: int
    duration: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """One rendition, measured.

    Attributes:
        name: of the rendition, and of its folder.
        codec: as in RFC 6381, read from the init segment.
        timescale: ticks a second.
        shift: ticks that the edit list takes off composition times: presentation is decode time + offset - shift.
        iframes: empty for sound.
        description: the stsd box, with codec configuration.
        init_bytes: length of the init segment.
    """

    name: str
    codec: str
    timescale: int
    shift: int
    pieces: tuple[Piece, ...]
    iframes: tuple[IFrame, ...]
    description: bytes
    init_bytes: int
    width: int = 0
    height: int = 0
    sample_rate: int = 0
    channels: int = 0
    frames: int = 0

    @property
    def family(self) -> str:
        """Four-character code of the sample entry: tracks that a player may switch between have the same."""
        return self.codec.partition(".")[0]

    @property
    def duration(self) -> int:
        """Length in ticks."""
        return sum(piece.duration for piece in self.pieces)

    @property
    def duration_s(self) -> Fraction:
        """Length in seconds."""
        return Fraction(self.duration, self.timescale)

    @property
    def size_bytes(self) -> int:
        """Bytes of all media segments."""
        return sum(piece.size_bytes for piece in self.pieces)

    @property
    def longest_s(self) -> Fraction:
        """Length of the longest media segment, seconds."""
        return Fraction(max(piece.duration for piece in self.pieces), self.timescale)

    @property
    def average_bps(self) -> int:
        """Mean rate of the media segments."""
        return math.ceil(self.size_bytes * 8 / self.duration_s)

    def peak_bps(self, target_s: int) -> int:
        """The highest rate over a run of media segments, as HLS declares it for a target duration."""
        pieces = [(piece.size_bytes, Fraction(piece.duration, self.timescale)) for piece in self.pieces]
        return peak_bps(pieces, target_s)


def peak_bps(pieces: Sequence[tuple[int, Fraction]], target_s: int) -> int:
    """The highest rate of any run of (bytes, seconds) that lasts 0.5 to 1.5 target durations; of all when none does.

    Source: RFC 8216bis, 4.4.6.2, BANDWIDTH.
    """
    best = Fraction(0)
    for first in range(len(pieces)):
        size_bytes, length_s = 0, Fraction(0)
        for more_bytes, more_s in pieces[first:]:
            size_bytes, length_s = size_bytes + more_bytes, length_s + more_s
            if 2 * length_s > 3 * target_s:
                break
            if 2 * length_s >= target_s:
                best = max(best, size_bytes * 8 / length_s)
    if not best:
        best = sum(size for size, _ in pieces) * 8 / sum((length for _, length in pieces), Fraction(0))
    return math.ceil(best)


def target_duration_s(tracks: Sequence[Track]) -> int:
    """EXT-X-TARGETDURATION of all playlists of an asset: the longest media segment, rounded half up, at least 1.

    Source: RFC 8216bis, 4.4.3.1.
    """
    return max(1, max(math.floor(track.longest_s + Fraction(1, 2)) for track in tracks))


def read_track(folder: Path, name: str) -> Track:
    """Measure a rendition: all media segments of its folder, numbered from 1 without a hole.

    Memory: one media segment at a time.

    Raises:
        VerificationFailed: a file is missing or is not what the farm writes.
    """
    init_path = folder / "init.mp4"
    try:
        init = init_path.read_bytes()
        timescale, handler, description = _read_init(init)
        form = _sample_entry(description, handler)
        pieces: list[Piece] = []
        starts: list[tuple[int, int, int, int]] = []
        frames = 0
        while (path := folder / f"{len(pieces) + 1:05d}.m4s").exists():
            number = len(pieces) + 1
            fragments, size_bytes = fragments_of(path)
            samples = [sample for fragment in fragments for sample in fragment.samples]
            duration = sum(sample.duration for sample in samples)
            start = samples[0].decode_time
            pieces.append(Piece(number=number, start=start, duration=duration, size_bytes=size_bytes))
            frames += len(samples)
            for fragment in fragments if handler == "vide" else ():
                first = fragment.samples[0]
                if first.sync:
                    until = first.offset + first.size
                    starts.append((number, fragment.start, until - fragment.start, first.decode_time))
    except (OSError, ValueError, IndexError, struct.error) as error:
        raise VerificationFailed(f"rendition {name}: {error}") from error
    if not pieces:
        raise VerificationFailed(f"rendition {name} has no media segment")
    end = pieces[-1].start + pieces[-1].duration
    return Track(
        name=name,
        timescale=timescale,
        shift=_shift(init),
        pieces=tuple(pieces),
        iframes=_iframes(starts, end),
        description=description,
        init_bytes=len(init),
        frames=frames,
        codec=form.codec,
        width=form.width,
        height=form.height,
        sample_rate=form.sample_rate,
        channels=form.channels,
    )


def fragments_of(path: Path) -> tuple[tuple[Fragment, ...], int]:
    """(fragments, size in bytes) of a media segment; only the pages with boxes are read from disk.

    Raises:
        MalformedBoxes: it is not what the farm writes.
        OSError, ValueError: it cannot be read, or is empty.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return read_fragments(cast(bytes, data)), len(data)


def _iframes(starts: Sequence[tuple[int, int, int, int]], end: int) -> tuple[IFrame, ...]:
    nexts = [start for _, _, _, start in starts[1:]] + [end] * bool(starts)
    return tuple(
        IFrame(number=number, offset=offset, size_bytes=size_bytes, start=start, duration=after - start)
        for (number, offset, size_bytes, start), after in zip(starts, nexts, strict=True)
    )


def _read_init(init: bytes) -> tuple[int, str, bytes]:
    """(timescale, handler, stsd) of an init segment's one track."""
    header = find_box(init, "moov/trak/mdia/mdhd")
    at = header.body + (20 if init[header.body] == 1 else 12)
    handler = find_box(init, "moov/trak/mdia/hdlr")
    table = find_box(init, "moov/trak/mdia/minf/stbl/stsd")
    kind = init[handler.body + 8 : handler.body + 12].decode("latin-1")
    return struct.unpack_from(">I", init, at)[0], kind, init[table.start : table.end]


def _shift(init: bytes) -> int:
    """Where the edit list starts the presentation in the media; 0 without one. Source: ISO/IEC 14496-12, 8.6.6."""
    for edits in find_boxes(init, "moov/trak/edts/elst"):
        wide = init[edits.body] == 1
        return int(struct.unpack_from(">q" if wide else ">i", init, edits.body + (16 if wide else 12))[0])
    return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Format:
    codec: str
    width: int = 0
    height: int = 0
    sample_rate: int = 0
    channels: int = 0


def _sample_entry(description: bytes, handler: str) -> _Format:
    """Codec and format in a stsd box. Source: ISO/IEC 14496-12, 12.1.3 and 12.2.3; RFC 6381, 3.3."""
    entry = next(iter_boxes(description, 16))
    if handler == "vide":
        width, height = struct.unpack_from(">HH", description, entry.body + 24)
        boxes = {
            box.kind: description[box.body : box.end] for box in iter_boxes(description, entry.body + 78, entry.end)
        }
        return _Format(codec=_picture_codec(entry.kind, boxes), width=width, height=height)
    if handler == "soun" and entry.kind == "mp4a":
        channels, _, _, rate = struct.unpack_from(">HHII", description, entry.body + 16)
        codec = _aac_codec(description[entry.body : entry.end])
        return _Format(codec=codec, channels=channels, sample_rate=rate >> 16)
    raise MalformedBoxes(f"a track of {handler} with sample entry {entry.kind}")


def _picture_codec(entry: str, boxes: dict[str, bytes]) -> str:
    """RFC 6381 name of a picture's sample entry, from the payload of its configuration box."""
    if entry == "avc1" and "avcC" in boxes:
        return f"avc1.{boxes['avcC'][1:4].hex()}"
    if entry == "hvc1" and "hvcC" in boxes:
        return hevc_codec(boxes["hvcC"][1:13])
    if entry == "av01" and "av1C" in boxes:
        return av1_codec(boxes["av1C"])
    raise MalformedBoxes(f"sample entry {entry} without its decoder configuration")


def _aac_codec(entry: bytes) -> str:
    """RFC 6381 name of an mp4a entry, from the AudioSpecificConfig (tag 5, four-byte length) that the farm writes."""
    at = entry.find(b"\x05\x80\x80\x80")
    if at < 0 or at + 5 >= len(entry):
        raise MalformedBoxes("mp4a without AudioSpecificConfig")
    return f"mp4a.40.{entry[at + 5] >> 3}"
