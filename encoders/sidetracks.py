"""What a source has besides its picture: sound, text, chapters, and names, cleaned of what containers put in them."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition, Stream

from encoders.captions import OWN_TRACK
from encoders.containers.ebml import WEBVTT, codec_ids
from encoders.demux import open_source
from encoders.media import AudioTrack, Chapter, SubtitleTrack, VideoTrack
from encoders.sample import prepare, sample_sound
from encoders.scan import codec_name
from encoders.sound import LATE_BY_A_PACKET
from encoders.timeline import Packets

TEXT_CODECS = frozenset(("subrip", "srt", "ass", "ssa", "mov_text", "webvtt", "text", OWN_TRACK))
"""Subtitles that are text and are read; bitmaps (DVB, PGS, VobSub) cannot become WebVTT."""
CAPTION_TITLES = {1: "Closed captions", 2: "Closed captions (CC3)"}
"""By field; the first one's is the service that nearly all have."""
BITMAP_CODECS = frozenset(("dvb_subtitle", "dvd_subtitle", "hdmv_pgs_subtitle", "xsub"))
MAX_CHAPTERS = 1000
NAME_LENGTH = 200
LEAST_RATE = 1000
"""Hz. Speech codecs begin at 4,000; slower sound is none that anybody hears, and lets a few bytes last for hours."""
LATEST_S = Fraction(1 << 31)
"""Times beyond this (68 years) come from broken headers."""


def clean_name(text: str | None) -> str | None:
    """A name from a container as one printable line of at most NAME_LENGTH characters; None if nothing is left."""
    if not text:
        return None
    kept = "".join(" " if unicodedata.category(sign) in ("Cc", "Zl", "Zp") else sign for sign in text)
    return " ".join(kept.replace("\ufffd", "").split())[:NAME_LENGTH].strip() or None


def clean_language(code: str | None) -> str | None:
    """A language code of letters, digits and hyphens, lower case; None when it says nothing."""
    code = (code or "").strip().lower()
    good = 2 <= len(code) <= 35 and code.isascii() and code.replace("-", "").isalnum() and code[0].isalpha()
    return code if good and code not in ("und", "unk", "mis", "zxx") else None


def language_of(stream: Stream) -> str | None:
    """The language that a stream's metadata names."""
    return clean_language(stream.metadata.get("language"))


def title_of(stream: Stream) -> str | None:
    """What the author called a track; the names that muxers put there by themselves are none."""
    return clean_name(stream.metadata.get("title") or stream.metadata.get("name"))


def is_part(stream: Stream, container: str) -> bool:
    """Whether a track is a part of another one: immersive audio (IAMF) has one for each pair of loudspeakers.

    The first, which is none, is what two loudspeakers play. In MPEG-TS the same flag marks descriptions to be mixed in,
    which can be listened to by themselves.
    """
    return "mov" in container.split(",") and bool(stream.disposition & Disposition.dependent)


def read_sound(path: Path, stream: AudioStream, packets: Packets, warnings: list[str]) -> AudioTrack | None:
    """One sound track, if its first packets decode; otherwise None and a warning."""
    label = f"Sound track {stream.index}"
    if not codec_name(stream):
        warnings.append(f"{label} has a codec that is not known here; it was left out.")
        return None
    if not packets.shown.any():
        warnings.append(f"{label} is empty; it was left out.")
        return None
    with open_source(path) as container:
        twin = container.streams[stream.index]
        if not isinstance(twin, AudioStream):
            return None
        prepare(twin)
        frame = sample_sound(container, twin)
    time_base = stream.time_base
    if frame is None or not time_base or not 1 <= frame.layout.nb_channels <= 64:
        warnings.append(f"{label} ({codec_name(stream)}) does not decode; it was left out.")
        return None
    if frame.sample_rate < LEAST_RATE:
        warnings.append(f"{label} has {frame.sample_rate} samples a second, which nobody hears; it was left out.")
        return None
    if frame.pts is not None and codec_name(stream) != LATE_BY_A_PACKET:
        start_s = frame.pts * (frame.time_base or time_base)
    else:  # of WMA Pro and WMA Lossless: the first packet's time
        start_s = int(packets.pts[packets.shown][0]) * time_base
    end_s = _end_ticks(packets) * time_base
    if not -LATEST_S < start_s < end_s < LATEST_S:
        end_s = start_s + Fraction(frame.samples, frame.sample_rate)
        warnings.append(f"{label} has times that make no sense.")
    return AudioTrack(
        stream=stream.index,
        codec=codec_name(stream),
        sample_rate=frame.sample_rate,
        channels=frame.layout.nb_channels,
        layout=frame.layout.name,
        language=language_of(stream),
        title=title_of(stream),
        default=bool(stream.disposition & Disposition.default),
        start_s=start_s,
        end_s=end_s,
    )


def _end_ticks(packets: Packets) -> int:
    """When the last packet shown ends; its duration is the typical one where it is not said."""
    shown = packets.pts[packets.shown]
    last = int(np.argmax(shown))
    durations = packets.duration[packets.shown]
    known = durations[durations > 0]
    duration = int(durations[last]) or (int(np.median(known)) if len(known) else 0)
    if not duration and len(shown) > 1:
        duration = int(np.median(np.diff(np.unique(shown)))) if len(np.unique(shown)) > 1 else 0
    return int(shown[last]) + max(duration, 1)


def read_subtitles(path: Path, container: InputContainer, warnings: list[str]) -> tuple[SubtitleTrack, ...]:
    """Text tracks; those that are bitmaps, or text that is not read here, are named in the warnings."""
    tracks = []
    for stream in container.streams.subtitles:
        codec = codec_name(stream) or _codec_by_file(path, container, stream)
        if codec not in TEXT_CODECS:
            why = "is no text" if codec in BITMAP_CODECS else "has a format that is not known here"
            warnings.append(f"Subtitle track {stream.index} ({codec}) {why}; it was left out.")
            continue
        tracks.append(
            SubtitleTrack(
                stream=stream.index,
                codec=codec,
                language=language_of(stream),
                title=title_of(stream),
                default=bool(stream.disposition & Disposition.default),
                forced=bool(stream.disposition & Disposition.forced),
            )
        )
    return tuple(tracks)


def caption_tracks(video: VideoTrack | None, packets: Mapping[int, Packets]) -> tuple[SubtitleTrack, ...]:
    """Closed captions within the picture track, one track for each field that holds some."""
    if video is None:
        return ()
    return tuple(
        SubtitleTrack(
            stream=video.stream,
            codec=OWN_TRACK,
            language=None,
            title=CAPTION_TITLES[field],
            default=False,
            forced=False,
            captions=field,
        )
        for field in packets[video.stream].captions
    )


def _codec_by_file(path: Path, container: InputContainer, stream: Stream) -> str:
    """What the file calls a codec that FFmpeg has no name for."""
    if "matroska" not in container.format.name:
        return "unknown"
    names = codec_ids(path)
    name = names[stream.index] if stream.index < len(names) else ""
    return "webvtt" if name == WEBVTT else clean_name(name) or "unknown"


def read_chapters(container: InputContainer, start_s: Fraction, end_s: Fraction) -> tuple[Chapter, ...]:
    """Chapters that lie within the presentation, in order, at most MAX_CHAPTERS."""
    found = []
    try:
        entries: list[Mapping[str, Any]] = [*container.chapters()]
    except (av.FFmpegError, ValueError):
        return ()
    for number, entry in enumerate(entries[:MAX_CHAPTERS], 1):
        time_base = entry["time_base"] or Fraction(1, 1000)
        begin = max(start_s, entry["start"] * time_base)
        end = min(end_s, entry["end"] * time_base)
        if begin < end and math.isfinite(float(end)):
            title = clean_name(entry["metadata"].get("title")) or f"Chapter {number}"
            found.append(Chapter(start_s=begin, end_s=end, title=title))
    return tuple(sorted(found, key=lambda chapter: chapter.start_s))
