"""Chapters on the asset's clock: the source's own, else its scenes, and how each kind of player reads them.

WebVTT for pages, JSON for Apple's HLS players, and in an MP4 both a chapter list (VLC, FFmpeg) and a text track that
the picture refers to (QuickTime, iOS). Pure; standard library only.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from encoders.ladder import ChapterSettings
from encoders.media import Chapter
from encoders.mux import UNITY_MATRIX, box, data_in_this_file, full_box, handler, media_header, track_header
from encoders.vtt import Cue, document

MOST_IN_MP4 = 255
"""The chapter list counts in one byte."""
TITLE_BYTES = 255
TIMESCALE = 1000
"""Of the chapter text track: milliseconds."""
TEXT_STYLE = struct.pack(">IHH", 1, 0, 0) + bytes(8 + 8) + bytes(4) + struct.pack(">HH", 1, 0) + bytes(4)
"""Display flags, justification, colours, box and style of a text sample entry, all at their defaults.
Source: QuickTime File Format, text sample description."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChapterMark:
    """One chapter of the asset; it ends where the next one starts, or where it says."""

    start_s: Fraction
    end_s: Fraction
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Boundary:
    """A scene begins with output frame `frame`; `strength` is the change in codes of luma, the largest at black."""

    frame: int
    strength: float


def place_chapters(chapters: Sequence[Chapter], origin_s: Fraction, duration_s: Fraction) -> tuple[ChapterMark, ...]:
    """The source's chapters on the asset's clock: cut to the asset, in order, empty ones left out.

    Chapters without a title are called "Chapter" and their number.
    """
    marks: list[ChapterMark] = []
    for chapter in sorted(chapters, key=lambda each: each.start_s):
        start_s = max(Fraction(0), chapter.start_s - origin_s)
        end_s = min(duration_s, chapter.end_s - origin_s)
        if end_s <= start_s:
            continue
        title = " ".join(chapter.title.split()) or f"Chapter {len(marks) + 1}"
        marks.append(ChapterMark(start_s=start_s, end_s=end_s, title=title[:200]))
    return tuple(marks)


def choose_chapters(
    boundaries: Sequence[Boundary], fps: Fraction, duration_s: Fraction, settings: ChapterSettings
) -> tuple[ChapterMark, ...]:
    """Chapters that start at the strongest scene boundaries; none when no boundary is far enough from both ends.

    The strongest is taken first, then the next that keeps its distance from all taken and from both ends:
    `min_length_s`, and half of what `max_count` equal chapters would last, so that a long film's are spread over it.
    Nothing in a picture names a chapter: they are called "Chapter" and their number.
    """
    apart_s = max(Fraction(settings.min_length_s), duration_s / (2 * settings.max_count))
    starts = [Fraction(0)]
    for each in sorted(boundaries, key=lambda each: (-each.strength, each.frame)):
        at_s = each.frame / fps
        clear = all(abs(at_s - start_s) >= apart_s for start_s in starts) and duration_s - at_s >= apart_s
        if clear and len(starts) < settings.max_count:
            starts.append(at_s)
    if len(starts) < 2:
        return ()
    starts.sort()
    return tuple(
        ChapterMark(start_s=start_s, end_s=end_s, title=f"Chapter {number}")
        for number, (start_s, end_s) in enumerate(zip(starts, [*starts[1:], duration_s], strict=True), 1)
    )


def chapters_vtt(marks: Sequence[ChapterMark]) -> str:
    """The chapters as a WebVTT file for `<track kind="chapters">`."""
    return document([Cue(start_s=mark.start_s, end_s=mark.end_s, text=mark.title) for mark in marks])


def chapters_json(marks: Sequence[ChapterMark]) -> str:
    """The chapters as HLS players of Apple's read them.

    Source: Apple, "Providing JavaScript Object Notation (JSON) chapters" (com.apple.hls.chapters).
    """
    entries = [
        {
            "chapter": number,
            "start-time": float(mark.start_s),
            "duration": float(mark.end_s - mark.start_s),
            "titles": [{"language": "und", "title": mark.title}],
        }
        for number, mark in enumerate(marks, 1)
    ]
    return json.dumps(entries, ensure_ascii=False, indent=1) + "\n"


def chapter_list(marks: Sequence[ChapterMark]) -> bytes:
    """udta with a chpl box; nothing when there are no chapters.

    Source: Nero's chapter list as FFmpeg writes it (libavformat/movenc.c, mov_write_chpl_tag): times in 100 ns.
    """
    if not marks:
        return b""
    kept = marks[:MOST_IN_MP4]
    rows = []
    for mark in kept:
        title = mark.title.encode()[:TITLE_BYTES].decode(errors="ignore").encode()
        rows.append(struct.pack(">QB", round(mark.start_s * 10_000_000), len(title)) + title)
    return box(b"udta", full_box(b"chpl", 1, 0, struct.pack(">IB", 0, len(kept)), *rows))


def chapter_samples(marks: Sequence[ChapterMark], duration_s: Fraction) -> tuple[list[int], list[bytes]]:
    """(durations in milliseconds, samples) of a chapter text track from time 0 to the end, without holes.

    Source: QuickTime File Format, text sample data: length, text, and an atom that says that it is UTF-8.
    """
    if not marks:
        return [], []
    starts = [round(mark.start_s * TIMESCALE) for mark in marks]
    titles = [mark.title for mark in marks]
    if starts[0]:
        starts, titles = [0, *starts], ["", *titles]
    ends = [*starts[1:], max(starts[-1] + 1, round(duration_s * TIMESCALE))]
    kept = [(end - start, title) for start, end, title in zip(starts, ends, titles, strict=True) if end > start]
    samples = []
    for _, title in kept:
        text = title.encode()[:TITLE_BYTES].decode(errors="ignore").encode()
        samples.append(struct.pack(">H", len(text)) + text + box(b"encd", struct.pack(">I", 0x100)))
    return [duration for duration, _ in kept], samples


def chapter_track(number: int, durations: Sequence[int], samples: Sequence[bytes], offset: int, length: int) -> bytes:
    """The trak of a chapter text track whose samples lie one after the other at an offset of the file.

    Args:
        number: of the track; the picture's trak refers to it.
        length: of the movie, in ticks of the movie.
    """
    entry = box(b"text", struct.pack(">6xH", 1), TEXT_STYLE)
    tables = box(
        b"stbl",
        full_box(b"stsd", 0, 0, struct.pack(">I", 1), entry),
        full_box(
            b"stts", 0, 0, struct.pack(">I", len(durations)), *(struct.pack(">II", 1, each) for each in durations)
        ),
        full_box(b"stsc", 0, 0, struct.pack(">IIII", 1, 1, len(samples), 1)),
        full_box(b"stsz", 0, 0, struct.pack(">II", 0, len(samples)), *(struct.pack(">I", len(one)) for one in samples)),
        full_box(b"co64", 0, 0, struct.pack(">IQ", 1, offset)),
    )
    base = box(
        b"gmhd",
        full_box(b"gmin", 0, 0, struct.pack(">HHHHhH", 0x40, 0x8000, 0x8000, 0x8000, 0, 0)),
        box(b"text", UNITY_MATRIX),
    )
    media = box(
        b"mdia",
        media_header(TIMESCALE, sum(durations), None),
        handler(b"text", "Chapters"),
        box(b"minf", base, data_in_this_file(), tables),
    )
    return box(b"trak", track_header(number, length, enabled=False), media)


def chapter_reference(number: int) -> bytes:
    """tref of the picture's trak: its chapters are in that track."""
    return box(b"tref", box(b"chap", struct.pack(">I", number)))
