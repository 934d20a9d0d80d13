"""Text tracks of a source as WebVTT: one file for each rendition, on the asset's clock.

Whatever the source's format (SubRip, SSA/ASS, mov_text, WebVTT, closed captions), FFmpeg decodes it to a dialogue line,
of which the plain text and its place on the picture (`placing.py`) are kept: no styling, no markup, so nothing of it
can do more in a player than be read.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import av.error
from av.packet import Packet
from av.stream import Stream
from av.subtitles.subtitle import AssSubtitle, SubtitleSet

from encoders.captions import FIELDS, OWN_TRACK, CaptionTrack
from encoders.demux import open_source, read_packets
from encoders.placing import Script, checked_settings, placed, read_script
from encoders.plan import Plan, TextRendition
from encoders.scan import codec_name
from encoders.vtt import Cue, document, escaped

MOST_CUES = 20_000
"""Of one track; a three-hour film has about two thousand."""
MOST_SIGNS = 1000
"""Of one cue: ten lines on a screen hold fewer."""
MARKED = 20
"""So many signs are read for one that is kept, of text with markup in it."""
STYLED = ("ass", "ssa")
HEADER_BYTES = 1 << 20
BESIDE: Final = "matroska_block_additional"
STYLE_BYTES = 300
"""So much of a script's header, and of an event for the name of its style, is read."""
UNTIMED_S = Fraction(4)
"""How long text without an end stays, unless the next one comes before."""
LONGEST_S = Fraction(30)
"""No text stays longer: an end so far away is a broken one."""

_DRAWING = re.compile(r"\\p(\d)")
_MARKUP = re.compile(r"</?(?:[a-zA-Z][^<>]{0,100}|\d[\d:.]*)>")


@dataclass(frozen=True, slots=True, kw_only=True)
class TextResult:
    """One text rendition.

    Attributes:
        name: of the rendition.
        cues: in order; a rendition without any is not published.
        warnings: what was left out.
    """

    name: str
    cues: tuple[Cue, ...]
    warnings: tuple[str, ...] = ()

    @property
    def vtt(self) -> str:
        """The whole as a WebVTT file."""
        return document(self.cues)


def encode_text(source: Path, plan: Plan, captions: bool = False) -> tuple[TextResult, ...]:
    """Read all text tracks that a plan names, in one pass over the source.

    Args:
        source: local path, opened in this process: run this confined.
        captions: those that the pictures carry, instead of those in tracks of their own. Pictures may be read from
            another file (`MediaInfo.copy`).

    Returns:
        a result for each, in the plan's order; tracks that do not decode have no cues.
    """
    wanted = [rendition for rendition in plan.text if bool(rendition.captions) == captions]
    tracks: list[_Track] = []
    if wanted:
        with open_source(source) as container:
            tracks = [_track(rendition, container.streams[rendition.stream]) for rendition in wanted]
            streams = {rendition.stream: container.streams[rendition.stream] for rendition in wanted}
            for packet in read_packets(container, list(streams.values())):
                for track in tracks:
                    if track.rendition.stream == packet.stream.index:
                        track.add(packet)
    return tuple(track.result(plan.origin_s, plan.duration_s) for track in tracks)


def _track(rendition: TextRendition, stream: Stream) -> _Track:
    codec = codec_name(stream)
    if rendition.captions or codec == OWN_TRACK:
        return _Captions(rendition, CaptionTrack(rendition.captions or FIELDS[0], codec))
    if not codec:
        return _Raw(rendition)
    header = getattr(stream.codec_context, "extradata", None) if codec in STYLED else None
    return _Track(rendition, read_script((header or b"")[:HEADER_BYTES].decode("utf-8", errors="replace")))


def plain_text(dialogue: str) -> str:
    """What is read of a dialogue line: no overrides, drawings or markup; line breaks as they are meant."""
    text = _spoken(dialogue).replace("\\N", "\n").replace("\\n", "\n").replace("\\h", " ")
    return _MARKUP.sub("", text)[:MOST_SIGNS]


def _spoken(dialogue: str) -> str:
    """A dialogue line without its blocks of overrides, and without what is drawn between them.

    One pass, each sign looked at a few times at most: lines are as long as an attacker likes, and searching by patterns
    that start anew at each brace takes hours for one of 80 kB. At most `MOST_SIGNS` times `MARKED` signs are given.
    """
    kept: list[str] = []
    left, at, drawing = MOST_SIGNS * MARKED, 0, False
    while left > 0:
        begin = dialogue.find("{", at)
        end = dialogue.find("}", begin) if begin >= 0 else -1
        stop = begin if end >= 0 else len(dialogue)
        if not drawing:
            kept.append(dialogue[at : min(stop, at + left)])
            left -= len(kept[-1])
        if end < 0:
            break
        at = end + 1
        block = dialogue[begin:at]
        if "\\" in block:
            modes = _DRAWING.findall(block)
            drawing = modes[-1] != "0" if modes else drawing
        elif not drawing:
            kept.append(block[:left])
            left -= len(kept[-1])
    return "".join(kept)


@dataclass
class _Track:
    """One text track while it is read; times on the source's clock."""

    rendition: TextRendition
    script: Script = field(default_factory=Script)
    lines: list[tuple[Fraction, Fraction | None, str, str]] = field(default_factory=list)
    errors: int = 0
    dropped: int = 0

    def add(self, packet: Packet[Stream]) -> None:
        """Decode a packet and keep its text."""
        if packet.pts is None:
            self.errors += 1
            return
        if len(self.lines) >= MOST_CUES:
            self.dropped += 1
            return
        start_s = packet.pts * packet.time_base
        end_s = start_s + packet.duration * packet.time_base if packet.duration else None
        try:
            found = self.read(packet)
        except (av.error.FFmpegError, ValueError):
            self.errors += 1
            return
        # A packet without text takes away what is shown; it is kept for the end that it gives to the one before.
        text = "\n".join(line for line, _ in found)
        settings = next((each for _, each in found if each), "") or _own_settings(packet)
        self.lines.append((start_s, end_s, text, settings))

    def read(self, packet: Packet[Stream]) -> list[tuple[str, str]]:
        """(plain text, WebVTT's settings) of a packet's lines.

        Raises:
            FFmpegError, ValueError: it does not decode.
        """
        return [*_dialogues(packet, self.script)]

    def result(self, origin_s: Fraction, duration_s: Fraction) -> TextResult:
        """The rendition, on the asset's clock."""
        cues = tuple(cue for cue in self._cues(origin_s, duration_s) if escaped(cue.text))
        name, warnings = self.rendition.name, []
        if self.errors:
            warnings.append(f"{name}: {self.errors} entries of the source's text did not decode and are left out")
        if self.dropped:
            warnings.append(f"{name}: the source's text has more than {MOST_CUES} entries; the rest is left out")
        return TextResult(name=name, cues=cues, warnings=tuple(warnings))

    def _cues(self, origin_s: Fraction, duration_s: Fraction) -> Iterator[Cue]:
        self.lines.sort(key=lambda line: line[0])
        for index, (start_s, end_s, text, settings) in enumerate(self.lines):
            if end_s is None:
                following = self.lines[index + 1][0] if index + 1 < len(self.lines) else start_s + UNTIMED_S
                end_s = min(following, start_s + UNTIMED_S)
            shown_s = max(Fraction(0), start_s - origin_s)
            gone_s = min(duration_s, end_s - origin_s, start_s - origin_s + LONGEST_S)
            if gone_s > shown_s:
                yield Cue(start_s=shown_s, end_s=gone_s, text=text, settings=settings)


class _Raw(_Track):
    """WebVTT of which FFmpeg does not know that it is: a packet is a cue's text, beside it its settings and its name.

    Source: RFC 9559 and "Matroska Codec" (S_TEXT/WEBVTT): BlockAdditional 1 has a line of settings, then others.
    """

    def read(self, packet: Packet[Stream]) -> list[tuple[str, str]]:
        """A cue."""
        text = html.unescape(plain_text(bytes(packet).decode("utf-8", errors="replace")))
        beside = bytes(packet.get_sidedata(BESIDE)) if packet.has_sidedata(BESIDE) else b""
        settings = beside[8:].decode("utf-8", errors="replace").split("\n")[0]
        return [(text[:MOST_SIGNS], checked_settings(settings))]


class _Captions(_Track):
    """Closed captions while they are read: what is shown when is known only once all of them are there."""

    def __init__(self, rendition: TextRendition, track: CaptionTrack) -> None:
        super().__init__(rendition)
        self._track = track

    def add(self, packet: Packet[Stream]) -> None:
        """Keep what a packet carries."""
        self._track.add(packet)

    def result(self, origin_s: Fraction, duration_s: Fraction) -> TextResult:
        """The rendition, on the asset's clock."""
        lines = self._track.lines(origin_s + duration_s)
        self.lines = [
            (start_s, end_s, plain_text(text), placed(self.script, "", text))
            for start_s, end_s, text in lines[:MOST_CUES]
        ]
        self.dropped = max(0, len(lines) - MOST_CUES) + self._track.dropped
        return super().result(origin_s, duration_s)


def _dialogues(packet: Packet[Stream], script: Script) -> Iterator[tuple[str, str]]:
    """(plain text, WebVTT's settings) of a packet's dialogue lines."""
    for subtitle in packet.decode():
        for rect in subtitle if isinstance(subtitle, SubtitleSet) else (subtitle,):
            if isinstance(rect, AssSubtitle):
                dialogue = bytes(rect.dialogue).decode("utf-8", errors="replace")
                yield plain_text(dialogue), placed(script, _style_of(rect), dialogue)


def _style_of(rect: AssSubtitle) -> str:
    """The name of a line's style: ReadOrder, Layer, Style, ... as libavcodec writes events."""
    parts = bytes(rect.ass)[:STYLE_BYTES].split(b",", 3)
    return parts[2].decode("utf-8", errors="replace") if len(parts) > 2 else ""


def _own_settings(packet: Packet[Stream]) -> str:
    """The settings of a WebVTT cue, which its container keeps beside it."""
    if not packet.has_sidedata("webvtt_settings"):
        return ""
    return checked_settings(bytes(packet.get_sidedata("webvtt_settings")).decode("utf-8", errors="replace"))
