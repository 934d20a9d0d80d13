"""Chapters on the asset's clock: which of the source's are kept, as WebVTT, and as the chapter list of an MP4.

Pure; standard library only.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from encoders.media import Chapter
from encoders.mux import box, full_box
from encoders.vtt import Cue, document

MOST_IN_MP4 = 255
"""The chapter list counts in one byte."""
TITLE_BYTES = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class ChapterMark:
    """One chapter of the asset; it ends where the next one starts, or where it says."""

    start_s: Fraction
    end_s: Fraction
    title: str


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


def chapters_vtt(marks: Sequence[ChapterMark]) -> str:
    """The chapters as a WebVTT file for `<track kind="chapters">`."""
    return document([Cue(start_s=mark.start_s, end_s=mark.end_s, text=mark.title) for mark in marks])


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
