"""WebVTT in MP4 for DASH: cues as samples of a track without holes. HLS plays the plain file instead.

Source: ISO/IEC 14496-30, clause 7 (wvtt); 23000-19, 11.3 (CMAF).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

from encoders.mux import (
    box,
    data_in_this_file,
    file_type,
    full_box,
    handler,
    media_header,
    movie_header,
    sample_table,
    sync_media_segment,
    track_header,
)
from encoders.tracks import Piece, Track
from encoders.vtt import Cue, escaped

TIMESCALE = 1000
"""Milliseconds, as in the text format."""
SEGMENT = 60 * TIMESCALE
"""Length of a media segment in ticks: a minute of text is a few kB."""
NOTHING = box(b"vtte")


def write_text_track(name: str, language: str | None, cues: Sequence[Cue], duration_s: Fraction, folder: Path) -> Track:
    """Write init.mp4 and media segments of one text rendition.

    Args:
        cues: in order of their starts; those shown together share a sample.
        folder: of the rendition; made when absent.
    """
    folder.mkdir(parents=True, exist_ok=True)
    end = max(1, math.ceil(duration_s * TIMESCALE))
    init = text_init(language)
    (folder / "init.mp4").write_bytes(init)
    pieces = []
    for number, start in enumerate(range(0, end, SEGMENT), 1):
        stop = min(end, start + SEGMENT)
        durations, samples = text_samples(cues, start, stop)
        data = sync_media_segment(number, start, durations, samples)
        (folder / f"{number:05d}.m4s").write_bytes(data)
        pieces.append(Piece(number=number, start=start, duration=stop - start, size_bytes=len(data)))
    return Track(
        name=name,
        codec="wvtt",
        timescale=TIMESCALE,
        shift=0,
        pieces=tuple(pieces),
        iframes=(),
        description=b"",
        init_bytes=len(init),
    )


def text_init(language: str | None) -> bytes:
    """The init segment of a text rendition."""
    entry = box(b"wvtt", struct.pack(">6xH", 1), box(b"vttC", b"WEBVTT"))
    media = box(
        b"mdia",
        media_header(TIMESCALE, 0, language),
        handler(b"text", "Text"),
        box(
            b"minf",
            full_box(b"nmhd", 0, 0),
            data_in_this_file(),
            sample_table(full_box(b"stsd", 0, 0, struct.pack(">I", 1), entry)),
        ),
    )
    movie = box(
        b"moov",
        movie_header(TIMESCALE, 0, 2),
        box(b"trak", track_header(1, 0), media),
        box(b"mvex", full_box(b"trex", 0, 0, struct.pack(">5I", 1, 1, 0, 0, 0))),
    )
    return file_type(b"iso6", b"iso6", b"cmfc", b"cwvt") + movie


def text_samples(cues: Sequence[Cue], start: int, stop: int) -> tuple[list[int], list[bytes]]:
    """(durations, samples) that fill the ticks [start, stop): a sample wherever a cue comes or goes."""
    shown = [
        (max(start, round(cue.start_s * TIMESCALE)), min(stop, round(cue.end_s * TIMESCALE)), _cue_box(cue))
        for cue in cues
    ]
    shown = [each for each in shown if each[0] < each[1]]
    edges = sorted({start, stop, *(each[0] for each in shown), *(each[1] for each in shown)})
    durations, samples = [], []
    for begin, end in pairwise(edges):
        there = [cue for first, last, cue in shown if first <= begin and last >= end]
        durations.append(end - begin)
        samples.append(b"".join(there) or NOTHING)
    return durations, samples


def _cue_box(cue: Cue) -> bytes:
    """A cue with its settings, which come before its text (14496-30, 7.4)."""
    settings = box(b"sttg", cue.settings.encode()) if cue.settings else b""
    return box(b"vttc", settings, box(b"payl", escaped(cue.text).encode()))
