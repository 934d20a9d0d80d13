"""What a source is: values that the probe fills in and everything else reads. Standard library only.

Times are exact: a `Fraction` of seconds, or integer ticks (`_pts`) of the `time_base` beside them. Colour codes are
those of ITU-T H.273 (2 = unspecified).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

UNSPECIFIED = 2
"""H.273: the code is not known. Source: ITU-T H.273, tables 2 to 4."""
PQ, HLG = 16, 18
"""Transfer characteristics of SMPTE ST 2084 and ARIB STD-B67. Source: ITU-T H.273, table 3."""


class ColourRange(StrEnum):
    """Nominal range of sample values."""

    LIMITED = "limited"
    FULL = "full"


class Copy(StrEnum):
    """What must be put right before a source can be read in pieces, by copying its packets once (`remux.py`)."""

    NONE = "none"
    INDEX = "index"
    """Nothing but seeking: the picture is copied."""
    ORDER = "order"
    """Times contradict the order of the frames: the picture is copied, with times in that order."""
    CLOCK = "clock"
    """The clock jumps back: picture and sound are copied, joined on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Colour:
    """Colour tags of a track, as far as the source says them; H.273 codes."""

    range: ColourRange = ColourRange.LIMITED
    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED
    matrix: int = UNSPECIFIED

    @property
    def hdr(self) -> bool:
        """Whether the transfer is PQ or HLG."""
        return self.transfer in (PQ, HLG)


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoTrack:
    """The picture track that will be encoded.

    Attributes:
        stream: index of the stream in the container.
        width, height: of a decoded frame, in samples, before rotation and sample aspect ratio.
        sar: width of a sample over its height; 1 when the source does not say or says nonsense.
        rotation: clockwise degrees that bring a decoded frame upright: 0, 90, 180 or 270.
        mirrored: whether a decoded frame is flipped left-right first, before that rotation.
        interlaced: whether frames hold two fields, by flags or by content.
        time_base: of all `_pts` here.
        first_pts: presentation time of the first frame shown.
        end_pts: presentation time at which the last frame shown ends.
        frame_rate: the constant rate on which all frames lie, or None when there is none (VFR).
        average_rate: frames over span, for VFR sources; always set.
        typical_rate: one over the median gap between frames: what a VFR source does when it moves. None: not measured.
        frames: positions on the grid of `frame_rate` from the first to the last frame, or frames counted when VFR.
        keyframe_pts: presentation times at which decoding can start, ascending; the first may be after `first_pts` when
            the source starts in the middle of a GOP.
        late_s: how much later than its presentation times the picture is, against the sound (`edits`).
    """

    stream: int
    codec: str
    profile: str | None
    width: int
    height: int
    pixel_format: str
    bit_depth: int
    sar: Fraction
    rotation: int
    mirrored: bool
    colour: Colour
    interlaced: bool
    time_base: Fraction
    first_pts: int
    end_pts: int
    frame_rate: Fraction | None
    average_rate: Fraction
    frames: int
    keyframe_pts: tuple[int, ...]
    typical_rate: Fraction | None = None
    late_s: Fraction = Fraction(0)

    def __post_init__(self) -> None:
        if self.rotation not in (0, 90, 180, 270):
            raise ValueError(f"rotation {self.rotation}: want 0, 90, 180 or 270")
        if self.width < 1 or self.height < 1 or self.frames < 1 or self.end_pts <= self.first_pts:
            raise ValueError(
                f"{self.width}x{self.height}, {self.frames} frames, {self.first_pts}..{self.end_pts}: empty"
            )
        if self.sar <= 0 or self.time_base <= 0 or self.average_rate <= 0:
            raise ValueError("sample aspect ratio, time base and rate must be positive")

    @property
    def start_s(self) -> Fraction:
        """Presentation time of the first frame, seconds."""
        return self.first_pts * self.time_base

    @property
    def duration_s(self) -> Fraction:
        """From the first frame's start to the last frame's end, seconds."""
        return (self.end_pts - self.first_pts) * self.time_base

    @property
    def display_size(self) -> tuple[Fraction, Fraction]:
        """Width and height upright in square pixels; the smaller of both ways to square a pixel's shape.

        A shape that would move no edge by a whole pixel counts as square: scaling for it would only blur.
        """
        wide, tall = Fraction(self.width), Fraction(self.height)
        if abs(self.sar - 1) * max(wide, tall) <= 1:
            pass
        elif self.sar >= 1:
            tall = tall / self.sar
        else:
            wide = wide * self.sar
        return (tall, wide) if self.rotation in (90, 270) else (wide, tall)


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioTrack:
    """One sound track. `start_s` and `end_s` are on the same clock as the picture's presentation times."""

    stream: int
    codec: str
    sample_rate: int
    channels: int
    layout: str
    language: str | None
    title: str | None
    default: bool
    start_s: Fraction
    end_s: Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class SubtitleTrack:
    """One text track that can become WebVTT.

    Attributes:
        captions: field of the closed captions (1 or 2) that the pictures of `stream` carry; 0 for a track of its own.
    """

    stream: int
    codec: str
    language: str | None
    title: str | None
    default: bool
    forced: bool
    captions: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter:
    """A chapter that the container declares; seconds on the presentation clock."""

    start_s: Fraction
    end_s: Fraction
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaInfo:
    """Everything that planning needs of a source.

    Attributes:
        container: the demuxer's name, as in "mov,mp4,m4a,3gp,3g2,mj2".
        size_bytes: length of the file.
        sha256: hex digest of the whole file: the source's identity in every content key.
        video: None for audio-only sources.
        warnings: sentences about what was odd and how it was read; they reach `asset.json`.
        copy: `NONE`, or what the copy has put right from which the picture is read, with CLOCK the sound too; its
            tracks' `stream` and times are the copy's. Of a source just probed: what a copy should put right.
    """

    container: str
    size_bytes: int
    sha256: str
    video: VideoTrack | None
    audio: tuple[AudioTrack, ...]
    subtitles: tuple[SubtitleTrack, ...] = ()
    chapters: tuple[Chapter, ...] = ()
    warnings: tuple[str, ...] = ()
    copy: Copy = Copy.NONE

    def __post_init__(self) -> None:
        if self.video is None and not self.audio:
            raise ValueError("a source has at least one track")

    @property
    def start_s(self) -> Fraction:
        """Presentation start: the earliest track's."""
        starts = [track.start_s for track in self.audio]
        return min(starts + ([self.video.start_s] if self.video else []))

    @property
    def end_s(self) -> Fraction:
        """Presentation end: the latest track's."""
        ends = [track.end_s for track in self.audio]
        return max(ends + ([self.video.start_s + self.video.duration_s] if self.video else []))

    @property
    def duration_s(self) -> Fraction:
        """From the presentation's start to its end."""
        return self.end_s - self.start_s
