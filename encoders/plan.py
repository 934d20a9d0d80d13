"""How a source is laid out for encoding: output frame grid, segments, IDR grid. Pure; standard library only.

Rule: frames are counted, not timed. Output frame n stands for the span [n/fps, (n+1)/fps) after `origin_s`; it shows
the source frame that is on screen at that time, within half a grid step (`shown_before`). Segments are half-open ranges
of output frames, cut on one grid of IDR frames that all renditions and all backends share.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction

from encoders.cuts import decoding_starts, worth_their_reach
from encoders.ladder import (
    AudioSettings,
    ChapterSettings,
    Codec,
    Profile,
    Rendition,
    StillSettings,
    VideoSettings,
    plan_ladder,
)
from encoders.languages import language_name, language_tag
from encoders.media import MediaInfo, VideoTrack


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
    """One WebVTT rendition of a subtitle track.

    Attributes:
        captions: as `SubtitleTrack.captions`.
    """

    name: str
    stream: int
    language: str | None
    label: str
    default: bool
    forced: bool
    captions: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that workers and the packager agree on for one asset. Made once, stored with the job, never changed.

    Attributes:
        source_sha256: identity of the source; part of every content key.
        profile: name of the profile.
        grid: None for audio-only assets, as are then `renditions` and `segments` empty.
        renditions: from small to large.
        audio: empty for silent sources.
        duration_s: of the asset: from its time 0 to the end of its longest track, sound or picture.
        origin_s: the asset's time 0 on the source's clock; with a picture the grid's origin and the track's `late_s`.
        encoder: identity of the encoder and its settings, one for all segments of all renditions (decision 7).
        asset_key: identity of everything that is made: 20 hex digits over all of the above; folder of the asset.
        notes: sentences for the owner about how the asset was made: where it had to fall back; no part of its identity.
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
    notes: tuple[str, ...] = ()
    chapter_settings: ChapterSettings = field(default_factory=ChapterSettings)


MAX_SOUND_TRACKS = 16
"""More tracks than any player lists; a file with hundreds of them is an attack on the encoders' time."""
STANDARD_RATES = (
    *(Fraction(rate) for rate in (1, 2, 5, 8, 10, 12, 15, 20)),
    *(
        Fraction(24000, 1001),
        Fraction(24),
        Fraction(25),
        Fraction(30000, 1001),
        Fraction(30),
        Fraction(48),
        Fraction(50),
    ),
    *(Fraction(60000, 1001), Fraction(60), Fraction(100), Fraction(120_000, 1001), Fraction(120)),
)
"""Rates that displays and players know, for sources without one of their own."""
RATE_TOLERANCE = Fraction(2, 100)
"""Recorders miss their nominal rate by less; the next standard rates (24000/1001 and 24 aside) lie further away."""
FAST_RATE = Fraction(61, 2)
"""Above this a rendition counts as fast, and its rate caps are raised."""
WORTH_PADDING_FRAMES = Fraction(6, 10)
"""A picture that starts less than this after the sound starts the asset; a later one is led in by its first frame."""
ROUNDS = 2
"""Segments for each slot at least, so that one slow segment does not leave the other slots idle at the end."""
SMOOTH_RATES = tuple(rate for rate in STANDARD_RATES if 23 < rate <= 30)
"""Frames that come at no constant rate are shown within half a step of their time: within 21 ms at these rates, less
than half of what viewers notice. Source: ITU-R BT.1359, sound early by 45 ms."""
WORTH_REPEATING = 8
"""So many output frames for one of the source at most, for the sake of `SMOOTH_RATES`: hours with a picture now and
then are slides, which nobody sees late, and would cost what a film costs."""
SLOW_RATE = Fraction(8)
"""Segments of slower sources are as long in frames as at this rate: a segment of slides at one frame a second would
cost more to start than to encode."""
CUT_FRAMES = 16
"""What each segment takes beyond its frames, in frames: decoding from the key frame before, looking past its end.
Measured on a 720p film: 14 segments of 96 frames take 58.4 s of a core, 5 of 288 take 52.3 s."""


def plan_asset(info: MediaInfo, profile: Profile, slots: int, encoder: str) -> Plan:
    """Lay a source out for encoding.

    Args:
        info: what the probe found.
        profile: what is wanted.
        slots: how many segments the farm can encode at once; shapes the segments of short sources only.
        encoder: `Backend.encoder_id` of the backend that encodes all of it.

    Returns:
        the plan; equal arguments give equal plans, with equal `asset_key`.
    """
    grid = plan_grid(info, profile.video)
    origin_s = grid.origin_s + info.video.late_s if grid and info.video else info.start_s
    audio = plan_audio(info)
    ends = [track.end_s for track in info.audio if any(track.stream == rendition.stream for rendition in audio)]
    length_s = max([end_s - origin_s for end_s in ends] + ([grid.duration_s] if grid else []))
    plan = Plan(
        source_sha256=info.sha256,
        profile=profile.name,
        preset=profile.video.preset,
        grid=grid,
        renditions=plan_renditions(info.video, profile, grid.fps) if info.video and grid else (),
        segments=plan_segments(grid, profile.video, slots, info.video) if grid else (),
        audio=audio,
        text=plan_text(info),
        audio_settings=profile.audio,
        still_settings=profile.stills,
        chapter_settings=profile.chapters,
        duration_s=length_s,
        origin_s=origin_s,
        encoder=encoder,
        asset_key="",
    )
    return replace(plan, asset_key=_key(plan))


def plan_grid(info: MediaInfo, settings: VideoSettings) -> Grid | None:
    """The frame grid: the source's own where it has one, else the standard rate that suits it; None without picture.

    A picture that starts after the sound is led in by whole frames, so that sound and picture keep their distance
    exactly: the origin is the first frame's start, less the lead-in.
    """
    video = info.video
    if video is None:
        return None
    if video.frame_rate is not None:
        every = max(1, -(-video.frame_rate // settings.max_fps))
        fps, frames = video.frame_rate / every, -(-video.frames // every)
    else:
        typical = video.typical_rate or video.average_rate
        smooth = smooth_rate(typical)
        if smooth <= settings.max_fps and video.duration_s * smooth <= video.frames * WORTH_REPEATING:
            typical = max(typical, smooth)
        fps = choose_rate(typical, settings.max_fps)
        frames = max(1, round(video.duration_s * fps))
    late = (video.start_s - info.start_s) * fps
    lead = round(late) if late >= WORTH_PADDING_FRAMES else 0
    gop_frames = max(1, round(Fraction(settings.gop_s) * fps))
    gops = max(1, round(Fraction(settings.media_segment_s) * fps / gop_frames))
    return Grid(
        fps=fps,
        frames=frames + lead,
        origin_s=video.start_s - lead / fps,
        gop_frames=gop_frames,
        media_segment_frames=gops * gop_frames,
    )


def smooth_rate(typical: Fraction) -> Fraction:
    """One of `SMOOTH_RATES`: a multiple of what a slower source does most of the time, else the highest."""

    def off(rate: Fraction) -> Fraction:
        return abs(rate / (max(1, round(rate / typical)) * typical) - 1)

    nearest = min(SMOOTH_RATES, key=off)
    return nearest if off(nearest) <= RATE_TOLERANCE else SMOOTH_RATES[-1]


def choose_rate(typical: Fraction, max_fps: int) -> Fraction:
    """The constant rate for frames that come at no constant one.

    Args:
        typical: what the source does most of the time; long holds must not lower it, nor single short gaps raise it.

    Returns:
        the standard rate nearest to it when it is near, else the next above, so that no motion is lost.
    """
    allowed = [rate for rate in STANDARD_RATES if rate <= max_fps] or [Fraction(max_fps)]
    nearest = min(allowed, key=lambda rate: abs(rate - typical))
    if abs(nearest - typical) <= RATE_TOLERANCE * typical:
        return nearest
    return next((rate for rate in allowed if rate >= typical), allowed[-1])


def plan_renditions(video: VideoTrack, profile: Profile, fps: Fraction) -> tuple[Rendition, ...]:
    """The ladder of a track; above 30 frames a second with the caps that the profile allows there."""
    ladder = plan_ladder(video, profile)
    if fps <= FAST_RATE:
        return ladder
    factor = profile.video.fast_maxrate_factor
    return tuple(
        replace(
            rendition,
            maxrate_bps=round(rendition.maxrate_bps * factor),
            bufsize_bits=round(rendition.bufsize_bits * factor),
        )
        for rendition in ladder
    )


def plan_segments(
    grid: Grid, settings: VideoSettings, slots: int, video: VideoTrack | None = None
) -> tuple[Segment, ...]:
    """Cut the grid into segments of whole media segments, near `segment_s` (slow sources: longer), all about equal.

    Shorter where slots would idle: short sources get `ROUNDS` segments a slot, down to one media segment each. Of the
    lengths left, the longest is taken with which all slots are done first, if frames take equally long.

    Args:
        video: the source's; where its key frames are far between, segments are longer (`cuts.worth_their_reach`).
    """
    media = grid.media_segments
    aim = round(Fraction(settings.segment_s) * max(grid.fps, SLOW_RATE) / grid.media_segment_frames)
    longest = max(1, min(aim, media // (ROUNDS * max(1, slots))))

    def takes(shares: list[int]) -> int:
        """Frames until the last slot is done, the longest segments first."""
        costs = [share * grid.media_segment_frames + CUT_FRAMES for share in shares]
        costs[-1] -= media * grid.media_segment_frames - grid.frames
        return sum(sorted(costs, reverse=True)[:: max(1, slots)])

    shares = min((_shares(media, length) for length in range(longest, 0, -1)), key=takes)
    if video is not None:
        starts = decoding_starts(video, grid.origin_s, grid.fps)
        shares = worth_their_reach(shares, grid.media_segment_frames, starts)
    segments, first = [], 0
    for index, share in enumerate(shares):
        last = first + share
        segments.append(
            Segment(
                index=index,
                start=first * grid.media_segment_frames,
                end=min(grid.frames, last * grid.media_segment_frames),
                first_media=first,
            )
        )
        first = last
    return tuple(segments)


def _shares(media: int, length: int) -> list[int]:
    """Media segments of each segment, at most `length`, the larger shares first."""
    count = -(-media // length)
    return [media // count + (index < media % count) for index in range(count)]


def plan_audio(info: MediaInfo) -> tuple[AudioRendition, ...]:
    """Every sound track as a rendition; the default one first, labels that tell them apart."""
    tracks = sorted(info.audio[:MAX_SOUND_TRACKS], key=lambda track: not track.default)
    labels = _labels([(track.title, track.language) for track in tracks], "Sound")
    return tuple(
        AudioRendition(
            name=_numbered("audio", number),
            stream=track.stream,
            language=language_tag(track.language),
            label=label,
            default=number == 1,
        )
        for number, (track, label) in enumerate(zip(tracks, labels, strict=True), 1)
    )


def plan_text(info: MediaInfo) -> tuple[TextRendition, ...]:
    """Every subtitle track as a rendition, in the source's order."""
    labels = _labels([(track.title, track.language) for track in info.subtitles], "Subtitles")
    return tuple(
        TextRendition(
            name=_numbered("text", number),
            stream=track.stream,
            language=language_tag(track.language),
            label=label,
            default=track.default,
            forced=track.forced,
            captions=track.captions,
        )
        for number, (track, label) in enumerate(zip(info.subtitles, labels, strict=True), 1)
    )


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name}-{number}"


def _labels(tracks: list[tuple[str | None, str | None]], otherwise: str) -> list[str]:
    """A label for each (title, language), no two the same: HLS wants names that are unique in a group."""
    labels: list[str] = []
    for title, language in tracks:
        plain = "".join(sign for sign in title or "" if sign.isprintable() and sign != '"').strip()[:80]
        label = plain or language_name(language) or otherwise
        same = sum(1 for other in labels if other == label or other.startswith(f"{label} ("))
        labels.append(f"{label} ({same + 1})" if same else label)
    return labels


def _key(plan: Plan) -> str:
    """20 hex digits of a digest over everything else in the plan, rationals as "n/d"."""
    values = asdict(replace(plan, asset_key="", notes=()))
    for rendition in values["renditions"]:
        if rendition["codec"] == Codec.H264:
            del rendition["codec"]  # plans of H.264 keep the keys that they had before there were other codecs
    for text in values["text"]:
        if not text["captions"]:
            del text["captions"]  # likewise
    canonical = json.dumps(values, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()[:20]
