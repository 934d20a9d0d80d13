"""How a source is laid out for encoding: output frame grid, segments, IDR grid. Pure; standard library only.

Rule: frames are counted, not timed. Output frame n stands for the span [n/fps, (n+1)/fps) after `origin_s`; it shows
the source frame that is on screen at that time, within half a grid step. Segments are half-open ranges of output frames,
cut on one grid of IDR frames that all renditions and all backends share.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from encoders.ladder import AudioSettings, Rendition, StillSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """The output's frame grid.

    Attributes:
        fps: frames per second, exact; the rate of every rendition.
        frames: number of output frames of the asset.
        origin_s: presentation time of output frame 0 on the source's clock, seconds.
        gop_frames: distance of IDR frames.
        media_segment_frames: length of an HLS/DASH media segment; a multiple of `gop_frames`. The last may be shorter.
    """

    fps: Fraction
    frames: int
    origin_s: Fraction
    gop_frames: int
    media_segment_frames: int

    def __post_init__(self) -> None:
        if self.fps <= 0 or self.frames < 1 or self.gop_frames < 1:
            raise ValueError(f"{self.frames} frames at {self.fps} fps, GOP of {self.gop_frames}: empty grid")
        if self.media_segment_frames % self.gop_frames:
            raise ValueError(
                f"media segments of {self.media_segment_frames} frames are no multiple of {self.gop_frames}"
            )

    @property
    def duration_s(self) -> Fraction:
        """Length of the picture, seconds."""
        return self.frames / self.fps

    @property
    def media_segments(self) -> int:
        """Number of media segments of each video rendition."""
        return -(-self.frames // self.media_segment_frames)


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A unit of encoding: output frames [start, end), whose media segments are [first_media, first_media + n)."""

    index: int
    start: int
    end: int
    first_media: int

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end:
            raise ValueError(f"segment {self.index}: frames {self.start}..{self.end}")

    @property
    def frames(self) -> int:
        """Number of output frames."""
        return self.end - self.start


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioRendition:
    """One sound rendition: encoded once, whole, and cut into media segments at the picture's boundaries.

    Attributes:
        name: folder under the asset, "audio" or "audio-2" and on.
        stream: index of the source's stream.
        language: BCP 47 tag or None.
        label: what a player shows.
        default: the one that plays unless the viewer chooses.
    """

    name: str
    stream: int
    language: str | None
    label: str
    default: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TextRendition:
    """One WebVTT rendition of a subtitle track."""

    name: str
    stream: int
    language: str | None
    label: str
    default: bool
    forced: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that workers and the packager agree on for one asset. Made once, stored with the job, never changed.

    Attributes:
        source_sha256: identity of the source; part of every content key.
        profile: name of the profile.
        grid: None for audio-only assets, as are then `renditions` and `segments` empty.
        renditions: from small to large.
        audio: empty for silent sources.
        duration_s: of the asset: the grid's, or the sound's when there is no picture.
        origin_s: the asset's time 0 on the source's clock; the grid's origin when there is one.
        encoder: identity of the encoder and its settings, one for all segments of all renditions (decision 7).
        asset_key: identity of everything that is made: 20 hex digits over all of the above; folder of the asset.
    """

    source_sha256: str
    profile: str
    preset: str
    grid: Grid | None
    renditions: tuple[Rendition, ...]
    segments: tuple[Segment, ...]
    audio: tuple[AudioRendition, ...]
    text: tuple[TextRendition, ...]
    audio_settings: AudioSettings
    still_settings: StillSettings
    duration_s: Fraction
    origin_s: Fraction
    encoder: str
    asset_key: str
