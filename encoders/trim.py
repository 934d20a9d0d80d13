"""A source cut to a span: the same file, described as if it began later and ended sooner. Pure; standard library only.

Nothing is cut in the file: planning lays the grid on the span, workers decode from the key frame before it and choose
frames by their times, as they do for any segment.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

from encoders.errors import InputError
from encoders.media import AudioTrack, Chapter, MediaInfo, VideoTrack


class TrimOutside(InputError):
    """The wanted span holds nothing of the source."""

    code = "trim_outside"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trim:
    """The span that is kept, seconds after the source's start; `end_s` None means to its end."""

    start_s: float = 0.0
    end_s: float | None = None

    def __post_init__(self) -> None:
        if self.start_s < 0 or (self.end_s is not None and self.end_s <= self.start_s):
            raise ValueError(f"a trim from {self.start_s} to {self.end_s} s keeps nothing")


def trim_source(info: MediaInfo, trim: Trim) -> MediaInfo:
    """What the span of a source is.

    A picture of constant rate begins at the first whole frame in the span; tracks that lie outside it are left out.

    Raises:
        TrimOutside: no track has anything in the span.
    """
    start_s = info.start_s + _exact(trim.start_s)
    end_s = info.end_s if trim.end_s is None else min(info.end_s, info.start_s + _exact(trim.end_s))
    video = _video(info.video, start_s, end_s) if info.video else None
    audio = tuple(cut for track in info.audio if (cut := _audio(track, start_s, end_s)))
    if video is None and not audio:
        raise TrimOutside(
            f"the file lasts {float(info.duration_s):.2f} s; nothing of it lies between {trim.start_s:g} s and "
            f"{'its end' if trim.end_s is None else f'{trim.end_s:g} s'}: choose a span inside it"
        )
    chapters = tuple(kept for chapter in info.chapters if (kept := _chapter(chapter, start_s, end_s)))
    return replace(info, video=video, audio=audio, chapters=chapters)


def _exact(seconds: float) -> Fraction:
    """The decimal that the caller wrote: 0.04 is a frame at 25 a second, and the nearest binary number a bit more."""
    return Fraction(repr(seconds))


def _video(track: VideoTrack, start_s: Fraction, end_s: Fraction) -> VideoTrack | None:
    rate = track.frame_rate or track.average_rate
    first = max(0, -((track.start_s - start_s) * rate // 1))  # frames that begin before the span are left out
    last = min(Fraction(track.frames), (end_s - track.start_s) * rate)
    frames = -(-last // 1) - first
    if frames < 1:
        return None
    if first == 0 and frames == track.frames:
        return track
    begin_s = track.start_s + first / rate
    first_pts = round(begin_s / track.time_base)
    end_pts = min(track.end_pts, round((begin_s + frames / rate) / track.time_base))
    return replace(track, first_pts=first_pts, end_pts=max(end_pts, first_pts + 1), frames=int(frames))


def _audio(track: AudioTrack, start_s: Fraction, end_s: Fraction) -> AudioTrack | None:
    begin_s, stop_s = max(track.start_s, start_s), min(track.end_s, end_s)
    return replace(track, start_s=begin_s, end_s=stop_s) if begin_s < stop_s else None


def _chapter(chapter: Chapter, start_s: Fraction, end_s: Fraction) -> Chapter | None:
    begin_s, stop_s = max(chapter.start_s, start_s), min(chapter.end_s, end_s)
    return replace(chapter, start_s=begin_s, end_s=stop_s) if begin_s < stop_s else None
