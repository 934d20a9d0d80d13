"""HLS playlists of an asset: multivariant, media and I-frame playlists. Pure: values in, text out.

Source: RFC 8216bis (clause numbers below) and Apple's HLS authoring specification.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from encoders.tracks import Track, peak_bps

VERSION = 7
"""Lowest protocol version that all clients of fragmented MP4 read. Source: RFC 8216bis, 8."""
SOUND_GROUP, TEXT_GROUP = "sound", "text"
TELLS_OF_SOUNDS = "public.accessibility.transcribes-spoken-dialog,public.accessibility.describes-music-and-sound"
"""Source: HLS authoring specification for Apple devices, 4.8 (closed captions as WebVTT)."""
FIRST_CHOICE_BPS = 2_000_000
"""The first variant listed is where players start: the best one below this. Source: Apple's authoring specification,
item 9.14 (the default variant for Wi-Fi)."""
EFFICIENCY = ("avc1", "hvc1", "av01")
"""Codecs by what they make of a bit, the best last; the first is what every player plays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sound:
    """A sound rendition with what a player shows of it."""

    track: Track
    label: str
    language: str | None
    default: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A WebVTT rendition: name of its folder, and what a player shows of it.

    Attributes:
        sounds: as `dash.Caption.sounds`.
    """

    name: str
    label: str
    language: str | None
    default: bool
    forced: bool
    sounds: bool = False


def media_playlist(track: Track, target_s: int) -> str:
    """The media playlist of one rendition (4.4.3)."""
    lines = _head(target_s, independent=True)
    lines.append('#EXT-X-MAP:URI="init.mp4"')
    for piece in track.pieces:
        lines += [f"#EXTINF:{_seconds(Fraction(piece.duration, track.timescale))},", f"{piece.number:05d}.m4s"]
    return _text([*lines, "#EXT-X-ENDLIST"])


def iframe_playlist(track: Track) -> str:
    """The I-frame playlist of one picture rendition (4.4.3.6): each entry is an I-frame's fragment head and sample."""
    longest = max(Fraction(frame.duration, track.timescale) for frame in track.iframes)
    lines = [*_head(max(1, int(longest + Fraction(1, 2))), independent=False), "#EXT-X-I-FRAMES-ONLY"]
    lines.append('#EXT-X-MAP:URI="init.mp4"')
    for frame in track.iframes:
        lines += [
            f"#EXTINF:{_seconds(Fraction(frame.duration, track.timescale))},",
            f"#EXT-X-BYTERANGE:{frame.size_bytes}@{frame.offset}",
            f"{frame.number:05d}.m4s",
        ]
    return _text([*lines, "#EXT-X-ENDLIST"])


def text_playlist(files: Sequence[tuple[str, Fraction]], target_s: int) -> str:
    """The media playlist of a WebVTT rendition, of (file name, length in seconds)."""
    lines = _head(target_s, independent=False)
    for name, length_s in files:
        lines += [f"#EXTINF:{_seconds(length_s)},", name]
    return _text([*lines, "#EXT-X-ENDLIST"])


def multivariant_playlist(
    pictures: Sequence[Track],
    sounds: Sequence[Sound],
    texts: Sequence[Text],
    fps: Fraction | None,
    target_s: int,
    chapters: str | None = None,
) -> str:
    """The playlist that names all others (4.4.6).

    Args:
        pictures: any order; empty for audio-only assets, whose variant is then the default sound.
        fps: of the pictures.
        chapters: URI of the JSON file of chapters.
    """
    lines = ["#EXTM3U", f"#EXT-X-VERSION:{VERSION}", "#EXT-X-INDEPENDENT-SEGMENTS"]
    if chapters:
        lines.append(f'#EXT-X-SESSION-DATA:DATA-ID="com.apple.hls.chapters",URI="{chapters}"')
    grouped = sounds if pictures or len(sounds) > 1 else ()
    lines += [_sound_line(sound) for sound in grouped]
    lines += [_text_line(text) for text in texts]
    groups = f',AUDIO="{SOUND_GROUP}"' if grouped else ""
    groups += f',SUBTITLES="{TEXT_GROUP}"' if texts else ""
    peak = max((sound.track.peak_bps(target_s) for sound in sounds), default=0)
    average = max((sound.track.average_bps for sound in sounds), default=0)
    codecs = list(dict.fromkeys(sound.track.codec for sound in sounds))
    scores = _scores(pictures)
    for track in _ordered(pictures, target_s):
        lines += [
            f"#EXT-X-STREAM-INF:BANDWIDTH={track.peak_bps(target_s) + peak},"
            f"AVERAGE-BANDWIDTH={track.average_bps + average},"
            f'CODECS="{",".join([track.codec, *codecs])}",RESOLUTION={track.width}x{track.height},'
            f"FRAME-RATE={float(fps or 0):.3f}{groups},CLOSED-CAPTIONS=NONE{scores.get(track.name, '')}",
            f"{track.name}/index.m3u8",
        ]
    if not pictures:
        lines += _sound_variant(sounds, groups, peak, target_s)
    for track in sorted(pictures, key=lambda each: each.peak_bps(target_s)):
        lines.append(_iframe_line(track))
    return _text(lines)


def _sound_variant(sounds: Sequence[Sound], groups: str, peak: int, target_s: int) -> list[str]:
    """The variant of an audio-only asset: its default sound, with the others in its group."""
    track = next((sound for sound in sounds if sound.default), sounds[0]).track
    others = [sound.track for sound in sounds if sound.track is not track]
    peak = track.peak_bps(target_s) + max((other.peak_bps(target_s) for other in others), default=0)
    average = track.average_bps + max((other.average_bps for other in others), default=0)
    return [
        f'#EXT-X-STREAM-INF:BANDWIDTH={peak},AVERAGE-BANDWIDTH={average},CODECS="{track.codec}"{groups}',
        f"{track.name}/index.m3u8",
    ]


def _scores(pictures: Sequence[Track]) -> dict[str, str]:
    """SCORE of each variant where there are several codecs, none else (4.4.6.2).

    Without it a player takes the highest rate for the best picture, and would prefer the larger H.264 variant to the
    smaller one that looks the same: so variants rank by size, and then by codec.
    """
    if len({track.family for track in pictures}) < 2:
        return {}
    worst_first = sorted(
        pictures, key=lambda track: (track.width * track.height, EFFICIENCY.index(track.family), track.average_bps)
    )
    return {track.name: f",SCORE={rank}" for rank, track in enumerate(worst_first, 1)}


def _ordered(pictures: Sequence[Track], target_s: int) -> list[Track]:
    """Rising by rate, but first the one to start with: of the codec that most players play."""
    rising = sorted(pictures, key=lambda track: track.peak_bps(target_s))
    if rising:
        first = min((track.family for track in rising), key=EFFICIENCY.index)
        common = [track for track in rising if track.family == first]
        modest = [track for track in common if track.average_bps <= FIRST_CHOICE_BPS]
        start = modest[-1] if modest else common[0]
        rising.remove(start)
        rising.insert(0, start)
    return rising


def _sound_line(sound: Sound) -> str:
    language = f'LANGUAGE="{quoted(sound.language)}",' if sound.language else ""
    return (
        f'#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="{SOUND_GROUP}",NAME="{quoted(sound.label)}",{language}'
        f"DEFAULT={_yes(sound.default)},AUTOSELECT={_yes(sound.default or sound.language is not None)},"
        f'CHANNELS="{sound.track.channels}",URI="{sound.track.name}/index.m3u8"'
    )


def _text_line(text: Text) -> str:
    language = f'LANGUAGE="{quoted(text.language)}",' if text.language else ""
    about = f'CHARACTERISTICS="{TELLS_OF_SOUNDS}",' if text.sounds else ""
    return (
        f'#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="{TEXT_GROUP}",NAME="{quoted(text.label)}",{language}'
        f"DEFAULT={_yes(text.default)},AUTOSELECT={_yes(text.default or text.forced)},FORCED={_yes(text.forced)},"
        f'{about}URI="{text.name}/index.m3u8"'
    )


def _iframe_line(track: Track) -> str:
    pieces = [(frame.size_bytes, Fraction(frame.duration, track.timescale)) for frame in track.iframes]
    longest = max(length for _, length in pieces)
    peak = peak_bps(pieces, max(1, int(longest + Fraction(1, 2))))
    return (
        f'#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH={peak},CODECS="{track.codec}",RESOLUTION={track.width}x{track.height},'
        f'URI="{track.name}/iframes.m3u8"'
    )


def _head(target_s: int, *, independent: bool) -> list[str]:
    lines = [
        "#EXTM3U",
        f"#EXT-X-VERSION:{VERSION}",
        f"#EXT-X-TARGETDURATION:{target_s}",
        "#EXT-X-MEDIA-SEQUENCE:1",
        "#EXT-X-PLAYLIST-TYPE:VOD",
    ]
    return [*lines, "#EXT-X-INDEPENDENT-SEGMENTS"] if independent else lines


def quoted(text: str | None) -> str:
    """What may stand in a quoted string (4.2): no quote, no line break, no control sign."""
    return "".join(sign for sign in text or "" if sign.isprintable() and sign != '"')


def _yes(truth: bool) -> str:
    return "YES" if truth else "NO"


def _seconds(length_s: Fraction) -> str:
    return f"{float(length_s):.6f}"


def _text(lines: Sequence[str]) -> str:
    return "\n".join(lines) + "\n"
