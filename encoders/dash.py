"""The DASH manifest of an asset: static, one period, SegmentTimeline with exact ticks. Pure: values in, text out.

Source: ISO/IEC 23009-1 (clause numbers below), DASH-IF interoperability points; the same files as HLS plays.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from encoders.hls import EFFICIENCY, Sound
from encoders.tracks import Track

PROFILES = "urn:mpeg:dash:profile:isoff-live:2011,urn:mpeg:dash:profile:cmaf:2019"
ROLE = "urn:mpeg:dash:role:2011"
CHANNELS = "urn:mpeg:dash:23003:3:audio_channel_configuration:2011"
"""Its value is the number of channels. Source: ISO/IEC 23009-1, 5.8.5.4."""
SWITCHING = "urn:mpeg:dash:adaptation-set-switching:2016"
"""Its value names the other adaptation sets that show the same. Source: ISO/IEC 23009-1, 5.3.3.5."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caption:
    """A text rendition in MP4, with what a player shows of it.

    Attributes:
        sounds: written for those who do not hear: it tells of sounds too.
    """

    track: Track
    label: str
    language: str | None
    forced: bool
    sounds: bool = False


def manifest(
    pictures: Sequence[Track],
    sounds: Sequence[Sound],
    captions: Sequence[Caption],
    fps: Fraction | None,
    duration_s: Fraction,
    target_s: int,
) -> str:
    """The MPD.

    Args:
        pictures: from small to large; empty for audio-only assets.
        duration_s: of the presentation: its longest track's.
        target_s: over which peaks are measured, as in HLS; also the buffer that a player fills before it starts.
    """
    tracks = [*pictures, *(sound.track for sound in sounds), *(caption.track for caption in captions)]
    root = ET.Element(
        "MPD",
        {
            "xmlns": "urn:mpeg:dash:schema:mpd:2011",
            "type": "static",
            "profiles": PROFILES,
            "mediaPresentationDuration": _duration(duration_s),
            "minBufferTime": f"PT{target_s}S",
            "maxSegmentDuration": _duration(max(track.longest_s for track in tracks)),
        },
    )
    period = ET.SubElement(root, "Period", {"id": "0", "start": "PT0S"})
    families = [
        [track for track in pictures if track.family == family]
        for family in EFFICIENCY
        if any(track.family == family for track in pictures)
    ]
    spoken_for = len(sounds) + len(captions)
    ids = [str(spoken_for + number) if number else "0" for number in range(len(families))]
    for number, family in enumerate(families):
        others = [each for each in ids if each != ids[number]]
        _pictures(period, ids[number], others, family, fps or Fraction(1), target_s)
    for number, sound in enumerate(sounds, 1):
        _sound(period, number, sound, target_s)
    for number, caption in enumerate(captions, len(sounds) + 1):
        _caption(period, number, caption)
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _pictures(
    period: ET.Element, number: str, others: Sequence[str], pictures: Sequence[Track], fps: Fraction, target_s: int
) -> None:
    """An adaptation set of one codec; with others, which it may be left for, the more efficient is preferred."""
    preferred = {"selectionPriority": str(1 + EFFICIENCY.index(pictures[0].family))} if others else {}
    group = ET.SubElement(
        period,
        "AdaptationSet",
        {
            "id": number,
            "contentType": "video",
            "mimeType": "video/mp4",
            "segmentAlignment": "true",
            "startWithSAP": "1",
            **preferred,
            "maxWidth": str(max(track.width for track in pictures)),
            "maxHeight": str(max(track.height for track in pictures)),
            "maxFrameRate": _rate(fps),
        },
    )
    if others:
        ET.SubElement(group, "SupplementalProperty", {"schemeIdUri": SWITCHING, "value": ",".join(others)})
    ET.SubElement(group, "Role", {"schemeIdUri": ROLE, "value": "main"})
    for track in pictures:
        attributes = {
            "id": track.name,
            "bandwidth": str(track.peak_bps(target_s)),
            "codecs": track.codec,
            "width": str(track.width),
            "height": str(track.height),
            "frameRate": _rate(fps),
            "sar": "1:1",
        }
        _segments(ET.SubElement(group, "Representation", attributes), track)


def _sound(period: ET.Element, number: int, sound: Sound, target_s: int) -> None:
    track = sound.track
    attributes = {
        "id": str(number),
        "contentType": "audio",
        "mimeType": "audio/mp4",
        "segmentAlignment": "true",
        "startWithSAP": "1",
        "lang": sound.language or "und",
    }
    group = ET.SubElement(period, "AdaptationSet", attributes)
    ET.SubElement(group, "Label").text = sound.label
    ET.SubElement(group, "Role", {"schemeIdUri": ROLE, "value": "main" if sound.default else "alternate"})
    attributes = {
        "id": track.name,
        "bandwidth": str(track.peak_bps(target_s)),
        "codecs": track.codec,
        "audioSamplingRate": str(track.sample_rate),
    }
    representation = ET.SubElement(group, "Representation", attributes)
    ET.SubElement(representation, "AudioChannelConfiguration", {"schemeIdUri": CHANNELS, "value": str(track.channels)})
    _segments(representation, track)


def _caption(period: ET.Element, number: int, caption: Caption) -> None:
    attributes = {
        "id": str(number),
        "contentType": "text",
        "mimeType": "application/mp4",
        "segmentAlignment": "true",
        "startWithSAP": "1",
        "lang": caption.language or "und",
    }
    group = ET.SubElement(period, "AdaptationSet", attributes)
    ET.SubElement(group, "Label").text = caption.label
    role = "forced-subtitle" if caption.forced else "caption" if caption.sounds else "subtitle"
    ET.SubElement(group, "Role", {"schemeIdUri": ROLE, "value": role})
    track = caption.track
    longest_s = max(1, math.ceil(track.longest_s))
    attributes = {"id": track.name, "bandwidth": str(track.peak_bps(longest_s)), "codecs": track.codec}
    _segments(ET.SubElement(group, "Representation", attributes), track)


def _segments(representation: ET.Element, track: Track) -> None:
    """SegmentTemplate with a timeline of the real decode times (5.3.9.6); equal neighbours are written once."""
    template = ET.SubElement(
        representation,
        "SegmentTemplate",
        {
            "timescale": str(track.timescale),
            "initialization": "$RepresentationID$/init.mp4",
            "media": "$RepresentationID$/$Number%05d$.m4s",
            "startNumber": "1",
        },
    )
    timeline = ET.SubElement(template, "SegmentTimeline")
    runs: list[list[int]] = []
    for piece in track.pieces:
        if runs and runs[-1][0] == piece.duration:
            runs[-1][1] += 1
        else:
            runs.append([piece.duration, 0])
    for index, (duration, repeat) in enumerate(runs):
        attributes = {"t": str(track.pieces[0].start)} if index == 0 else {}
        attributes["d"] = str(duration)
        if repeat:
            attributes["r"] = str(repeat)
        ET.SubElement(timeline, "S", attributes)


def _duration(length_s: Fraction) -> str:
    """xs:duration in microseconds, rounded up, so that nothing is cut off the end."""
    micros = math.ceil(length_s * 1_000_000)
    return f"PT{micros // 1_000_000}.{micros % 1_000_000:06d}S"


def _rate(fps: Fraction) -> str:
    return str(fps.numerator) if fps.denominator == 1 else f"{fps.numerator}/{fps.denominator}"
