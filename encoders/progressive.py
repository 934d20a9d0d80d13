"""One MP4 that plays while it downloads: pictures and sound copied from finished media segments, moov first.

Everything is known before a byte is written, so the file is written once, front to back; there is no second pass that
moves the media behind a finished moov. Both tracks start at 0 without edit lists: sound has its encoder's delay removed
(audio.py), pictures have signed composition offsets, so that the first picture is presented at its decode time.

Memory: sample sizes and offsets (about 10 bytes a sample) and one media segment.
Source: ISO/IEC 14496-12, 8.4 to 8.8.
"""

from __future__ import annotations

import math
import struct
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

from encoders.chapters import ChapterMark, chapter_list, chapter_reference, chapter_samples, chapter_track
from encoders.mux import box, data_in_this_file, file_type, full_box, handler, media_header, movie_header, track_header
from encoders.tracks import Track, fragments_of

CHUNK_S = Fraction(1, 2)
"""Sound and pictures are interleaved in chunks of this length, so that a player never waits for the other track."""
LARGE = 1 << 32


@dataclass
class _Chunk:
    """Consecutive samples of one track: bytes [offset, offset + size) of a media segment."""

    start_s: Fraction
    track: int
    path: Path
    offset: int
    size_bytes: int
    samples: int


@dataclass
class _Table:
    """The sample table of one track while it is collected; times in ticks of the track."""

    track: Track
    path: Path
    sizes: array[int] = field(default_factory=lambda: array("I"))
    durations: array[int] = field(default_factory=lambda: array("I"))
    compositions: array[int] = field(default_factory=lambda: array("i"))
    syncs: array[int] = field(default_factory=lambda: array("I"))
    chunks: list[_Chunk] = field(default_factory=list)

    def collect(self, number: int) -> None:
        """Read all media segments."""
        for piece in self.track.pieces:
            path = self.path / f"{piece.number:05d}.m4s"
            for fragment in fragments_of(path)[0]:
                chunk: _Chunk | None = None
                for sample in fragment.samples:
                    at_s = Fraction(sample.decode_time, self.track.timescale)
                    if chunk is None or at_s - chunk.start_s >= CHUNK_S:
                        chunk = _Chunk(at_s, number, path, sample.offset, 0, 0)
                        self.chunks.append(chunk)
                    chunk.size_bytes += sample.size
                    chunk.samples += 1
                    self.sizes.append(sample.size)
                    self.durations.append(sample.duration)
                    self.compositions.append(sample.composition_offset - self.track.shift)
                    if sample.sync:
                        self.syncs.append(len(self.sizes))


def write_progressive(
    media: Path,
    picture: Track | None,
    sound: Track | None,
    out: Path,
    *,
    language: str | None = None,
    chapters: Sequence[ChapterMark] = (),
) -> int:
    """Write an MP4 of one picture and one sound rendition, at least one of them.

    Args:
        media: folder that holds the renditions' folders.
        language: BCP 47 tag of the sound.
        chapters: carried as a chapter list and as a text track.

    Returns:
        its size in bytes.
    """
    tables = [_Table(track, media / track.name) for track in (picture, sound) if track is not None]
    for number, table in enumerate(tables):
        table.collect(number)
    chunks = sorted([each for table in tables for each in table.chunks], key=lambda each: (each.start_s, each.track))
    family = (picture.family if picture is not None else "avc1").encode()
    head = file_type(b"isom", b"isom", b"iso4", b"iso6", family, b"mp41", b"mp42")
    titles = chapter_samples(chapters, max(table.track.duration_s for table in tables))
    payload_bytes = sum(chunk.size_bytes for chunk in chunks) + sum(map(len, titles[1]))
    mdat = struct.pack(">I4s", payload_bytes + 8, b"mdat")
    if payload_bytes + 8 >= LARGE:
        mdat = struct.pack(">I4sQ", 1, b"mdat", payload_bytes + 16)
    wide = payload_bytes + (1 << 28) >= LARGE
    movie = _Movie(tables=tables, chunks=chunks, wide=wide, language=language, chapters=chapters, titles=titles)
    moov = movie.moov(len(head) + len(movie.moov(0)) + len(mdat))
    with out.open("wb") as file:
        file.write(head + moov + mdat)
        for path, run in groupby(chunks, key=lambda chunk: chunk.path):
            _copy(path, run, file)
        file.write(b"".join(titles[1]))
        return file.tell()


def _copy(path: Path, chunks: Iterable[_Chunk], file: BinaryIO) -> None:
    with path.open("rb") as source:
        for chunk in chunks:
            source.seek(chunk.offset)
            file.write(source.read(chunk.size_bytes))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Movie:
    """Everything that the moov says; `wide`: chunk offsets take 64 bits."""

    tables: Sequence[_Table]
    chunks: Sequence[_Chunk]
    wide: bool
    language: str | None
    chapters: Sequence[ChapterMark]
    titles: tuple[list[int], list[bytes]]

    def moov(self, first: int) -> bytes:
        """The moov box when the media's first byte is at offset `first`."""
        offsets: list[list[int]] = [[] for _ in self.tables]
        at = first
        for chunk in self.chunks:
            offsets[chunk.track].append(at)
            at += chunk.size_bytes
        scale = self.tables[0].track.timescale
        lengths = [math.ceil(table.track.duration_s * scale) for table in self.tables]
        texts = len(self.tables) + 1
        traks = [
            _trak(
                number,
                table,
                _stbl(table, offsets[number - 1], self.wide),
                lengths[number - 1],
                language=self.language,
                extra=chapter_reference(texts) if self.titles[1] and number == 1 else b"",
            )
            for number, table in enumerate(self.tables, 1)
        ]
        if self.titles[1]:
            traks.append(chapter_track(texts, *self.titles, at, max(lengths)))
        return box(b"moov", movie_header(scale, max(lengths), len(traks) + 1), *traks, chapter_list(self.chapters))


def _trak(number: int, table: _Table, stbl: bytes, length: int, *, language: str | None, extra: bytes) -> bytes:
    track = table.track
    sounding = bool(track.sample_rate)
    header = track_header(
        number, length, width=track.width, height=track.height, volume=sounding, group=1 if sounding else 0
    )
    kind = full_box(b"smhd", 0, 0, bytes(4)) if sounding else full_box(b"vmhd", 0, 1, bytes(8))
    media = box(
        b"mdia",
        media_header(track.timescale, track.duration, language if sounding else None),
        handler(b"soun", "Sound") if sounding else handler(b"vide", "Picture"),
        box(b"minf", kind, data_in_this_file(), stbl),
    )
    return box(b"trak", header, extra, media)


def _stbl(table: _Table, offsets: Sequence[int], wide: bool) -> bytes:
    parts = [table.track.description, _runs(b"stts", 0, table.durations, "I")]
    if any(table.compositions):
        parts += [_runs(b"ctts", 1, table.compositions, "i"), _cslg(table)]
    if len(table.syncs) < len(table.sizes):
        parts.append(full_box(b"stss", 0, 0, struct.pack(">I", len(table.syncs)), _big(table.syncs)))
    parts += [_stsc(table.chunks), full_box(b"stsz", 0, 0, struct.pack(">II", 0, len(table.sizes)), _big(table.sizes))]
    places = array("Q" if wide else "I", offsets)
    parts.append(full_box(b"co64" if wide else b"stco", 0, 0, struct.pack(">I", len(places)), _big(places)))
    return box(b"stbl", *parts)


def _runs(kind: bytes, version: int, values: Sequence[int], form: str) -> bytes:
    """A table of (count, value) runs: stts or ctts."""
    rows = [struct.pack(f">I{form}", sum(1 for _ in run), value) for value, run in groupby(values)]
    return full_box(kind, version, 0, struct.pack(">I", len(rows)), *rows)


def _stsc(chunks: Sequence[_Chunk]) -> bytes:
    """Samples per chunk, as runs of (first chunk, samples, description)."""
    rows, last = [], 0
    for number, chunk in enumerate(chunks, 1):
        if chunk.samples != last:
            rows.append(struct.pack(">III", number, chunk.samples, 1))
            last = chunk.samples
    return full_box(b"stsc", 0, 0, struct.pack(">I", len(rows)), *rows)


def _cslg(table: _Table) -> bytes:
    """How composition times relate to decode times, for players that read it with signed offsets (8.6.1.4)."""
    decode, first, last = 0, 0, 0
    for duration, shift in zip(table.durations, table.compositions, strict=True):
        first, last = min(first, decode + shift), max(last, decode + shift + duration)
        decode += duration
    least, greatest = min(table.compositions), max(table.compositions)
    return full_box(b"cslg", 1, 0, struct.pack(">5q", max(0, -least), least, greatest, first, last))


def _big(values: array[int]) -> bytes:
    """An array's values in network byte order."""
    copy = array(values.typecode, values)
    copy.byteswap()
    return copy.tobytes()
