"""Which renditions a source gets: profiles as data, and the ladder that one source gets by one. Standard library only.

Sizes are given by the short side, so that portrait and landscape get the same quality. Rates are bits per second.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from fractions import Fraction

from encoders.media import VideoTrack
from encoders.recognition.known import KnownContentSettings
from encoders.tuning import PRESETS

LONGEST_SIDE = 4096
"""Longer pictures do not decode in hardware on most devices, whose H.264 decoders end at level 5.1."""


class Codec(StrEnum):
    """What pictures are encoded in; from the one that everything plays to the most efficient."""

    H264 = "h264"
    HEVC = "hevc"
    AV1 = "av1"


SMALLEST_SIDE = 16
"""Pictures with a shorter side are encoded in H.264: x265 refuses them, and SVT-AV1 some."""
HIGHEST_CRF = {Codec.H264: 51, Codec.HEVC: 51, Codec.AV1: 63}
"""The coarsest constant rate factor of each codec's scale. Source: x264, x265 and SVT-AV1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One step of a profile's ladder, before a source is known.

    Attributes:
        name: as in "720p"; the name of the rendition made of it.
        short_side: length of the shorter side in pixels, even.
        crf: constant rate factor on the scale of the codec's own encoder: x264, x265 (28 there is about 23 here) or
            SVT-AV1 (35); other encoders map it (backends).
        maxrate_bps: cap of the rate over `bufsize_bits`.
        bufsize_bits: VBV buffer; at most two seconds of `maxrate_bps`, since it starts afresh with each segment.
        mp4: whether a progressive MP4 is made of it.
        codec: of its pictures.
    """

    name: str
    short_side: int
    crf: float
    maxrate_bps: int
    bufsize_bits: int
    mp4: bool = False
    codec: Codec = Codec.H264

    def __post_init__(self) -> None:
        if not 0 < self.crf <= HIGHEST_CRF[self.codec]:
            raise ValueError(f"rung {self.name}: crf {self.crf:g} must be in 1..{HIGHEST_CRF[self.codec]}")
        if self.short_side < 2 or self.short_side % 2:
            raise ValueError(f"rung {self.name}: short_side {self.short_side} must be even and positive")
        if not 0 < self.bufsize_bits <= 2 * self.maxrate_bps:
            raise ValueError(f"rung {self.name}: bufsize_bits must be in 1..2 x maxrate_bps ({2 * self.maxrate_bps})")


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceLimits:
    """What a profile takes. None: no limit beyond the farm's own."""

    max_duration_s: float | None = None
    max_bytes: int | None = None
    containers: tuple[str, ...] | None = None
    """Short demuxer names, any of which must be among the source's ("mp4", "mov", "matroska")."""
    content_types: tuple[str, ...] | None = None
    video_codecs: tuple[str, ...] | None = None
    require_video: bool = False
    max_damaged_share: float = 0.5
    """Of the output frames, how many may be held, concealed or predicted from such ones where the source is damaged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoSettings:
    """How pictures are encoded in every rung.

    Attributes:
        preset: one of `tuning.PRESETS`; other encoders map it to their nearest speed.
        gop_s: distance of IDR frames, seconds; rounded to whole frames.
        media_segment_s: length of an HLS/DASH media segment, a multiple of `gop_s`.
        segment_s: aim for the length of a segment, the unit of encoding; a multiple of media segments is taken.
        max_fps: faster sources are reduced to an integer fraction of their rate at or below this.
        fast_maxrate_factor: by which rate caps and buffers are multiplied above 30 frames a second.
    """

    preset: str = "standard"
    gop_s: float = 2.0
    media_segment_s: float = 4.0
    segment_s: float = 12.0
    max_fps: int = 60
    fast_maxrate_factor: float = 1.5

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise ValueError(f"preset {self.preset!r}: want one of {', '.join(PRESETS)}")
        if not 0 < self.gop_s <= self.media_segment_s <= self.segment_s:
            raise ValueError("want 0 < gop_s <= media_segment_s <= segment_s")
        if self.max_fps < 1 or self.fast_maxrate_factor <= 0:
            raise ValueError("max_fps and fast_maxrate_factor must be positive")


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioSettings:
    """How sound is encoded: AAC-LC, stereo."""

    bitrate_bps: int = 128_000
    sample_rate: int = 48_000
    loudness_lufs: float | None = None
    """EBU R128 integrated loudness to normalise to; None leaves the loudness as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StillSettings:
    """Thumbnail, preview clip and storyboard."""

    thumbnail_at_s: float = 1.0
    preview_s: float = 3.0
    preview_short_side: int = 360
    storyboard_every_s: float = 5.0
    storyboard_tile_short_side: int = 90
    storyboard_max_tiles: int = 100
    """Longer sources get wider steps instead of more tiles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChapterSettings:
    """Chapters of a source that brings none.

    Attributes:
        from_cuts: whether they are made of scene cuts.
        min_length_s: of every chapter.
        max_count: most chapters; longer assets get longer ones.
    """

    from_cuts: bool = True
    min_length_s: float = 5.0
    max_count: int = 20

    def __post_init__(self) -> None:
        if self.min_length_s <= 0 or self.max_count < 2:
            raise ValueError("chapters: want min_length_s above 0 and max_count of at least 2")


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A named set of limits and settings; the files in `encoders/profiles/` hold them."""

    name: str
    description: str
    rungs: tuple[Rung, ...]
    limits: SourceLimits = field(default_factory=SourceLimits)
    video: VideoSettings = field(default_factory=VideoSettings)
    audio: AudioSettings = field(default_factory=AudioSettings)
    stills: StillSettings = field(default_factory=StillSettings)
    known_content: KnownContentSettings = field(default_factory=KnownContentSettings)
    chapters: ChapterSettings = field(default_factory=ChapterSettings)

    def __post_init__(self) -> None:
        sides = [rung.short_side for rung in self.rungs]
        steps = {(rung.short_side, rung.codec) for rung in self.rungs}
        if not sides or sides != sorted(sides) or len(steps) < len(sides):
            raise ValueError(
                f"profile {self.name}: rungs must be given from small to large, each size once for each codec"
            )
        if len({rung.name for rung in self.rungs}) < len(sides):
            raise ValueError(f"profile {self.name}: no two rungs may have the same name")

    @property
    def codecs(self) -> tuple[Codec, ...]:
        """The codecs of its rungs, each once, in the order of `Codec`."""
        return tuple(codec for codec in Codec if any(rung.codec == codec for rung in self.rungs))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendition:
    """One output of one source.

    Attributes:
        name: the rung's, or after its short side where the source decides the size; also the folder under the asset.
        width, height: in square pixels, upright, even, never above the source's.
        crf: as in `Rung`.
        codec: of its pictures.
    """

    name: str
    width: int
    height: int
    crf: float
    maxrate_bps: int
    bufsize_bits: int
    mp4: bool
    codec: Codec = Codec.H264


def plan_ladder(video: VideoTrack, profile: Profile) -> tuple[Rendition, ...]:
    """The renditions that a source gets, from small to large; at least one.

    A rung is kept when its short side is not above the source's. When the source is smaller than the smallest rung, or
    more than a tenth larger than the last that fits, the next rung is made at the source's own size and named after
    it, so that no pixel is invented and few are lost. Each codec has rungs of its own to which this applies; one whose
    rungs are all too large is left out unless nothing else comes as near to the source's size. Very long pictures are
    made smaller than their rung, to `LONGEST_SIDE`; of rungs that come out alike then the first is kept. When no MP4
    rung fits, the largest rendition gets the MP4: of H.264 where there is one. What is too small for another codec is
    made in H.264.
    """
    wide, tall = video.display_size
    short = min(wide, tall)
    kept = [rung for rung in profile.rungs if rung.short_side <= short]
    renditions = [_rendition(rung, rung.name, Fraction(rung.short_side), wide, tall) for rung in kept]
    for codec in profile.codecs:
        larger = [rung for rung in profile.rungs if rung.codec == codec and rung.short_side > short]
        below = [rung for rung in kept if rung.codec == codec] or kept
        if below:
            wanted = short > below[-1].short_side * Fraction(11, 10)
        else:
            wanted = any(rung.short_side == profile.rungs[0].short_side for rung in larger)
        if larger and wanted:
            taken = {rendition.name for rendition in renditions}
            name = f"{round(short)}p"
            name = name if codec is Codec.H264 and name not in taken else f"{name}-{codec}"
            renditions.append(_rendition(larger[0], name, short, wide, tall))
    renditions.sort(key=lambda each: min(each.width, each.height))
    looks = [(each.width, each.height, each.codec) for each in renditions]
    renditions = [each for index, each in enumerate(renditions) if looks[index] not in looks[:index]]
    if not any(rendition.mp4 for rendition in renditions):
        playable = [index for index, each in enumerate(renditions) if each.codec is Codec.H264]
        largest = playable[-1] if playable else len(renditions) - 1
        renditions[largest] = replace(renditions[largest], mp4=True)
    return tuple(renditions)


def _rendition(rung: Rung, name: str, short_side: Fraction, wide: Fraction, tall: Fraction) -> Rendition:
    scale = min(short_side / min(wide, tall), LONGEST_SIDE / max(wide, tall))
    width, height = _even(wide * scale, wide), _even(tall * scale, tall)
    codec = rung.codec if min(width, height) >= SMALLEST_SIDE else Codec.H264
    return Rendition(
        name=name,
        width=width,
        height=height,
        crf=min(rung.crf, HIGHEST_CRF[codec]),
        maxrate_bps=rung.maxrate_bps,
        bufsize_bits=rung.bufsize_bits,
        mp4=rung.mp4,
        codec=codec,
    )


def _even(length: Fraction, limit: Fraction) -> int:
    """The even number nearest to a length, not above the source's own length, at least 2 (4:2:0 needs even sizes)."""
    even = 2 * round(length / 2)
    while even > limit and even > 2:
        even -= 2
    return max(2, even)
