"""Closed captions that broadcasters put into the pictures' bitstream (CEA-608 in A/53 user data), read from packets.

Nothing is decoded but the captions: packets are searched for the user data that H.264 and HEVC carry in an SEI message
and MPEG-2 in its picture's header, and what they hold is put in the order in which pictures are shown. FFmpeg's decoder
then makes text of it. It wants the clock of a demuxer, which PyAV gives to streams only; so it reads an SCC file made
here, in which the n-th pair of bytes stands at frame n, and its frames are turned back into times.

Of each field the first service is read (CC1, CC3). Not read: CEA-708 alone, teletext, and the caption formats of DVDs
and SCTE 20.

Source: ATSC A/53 part 4, 6.2.3 (user data), CEA-608-E (pairs and commands), CEA-708-E 4.3 (cc_data).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from io import BytesIO
from typing import cast

import av
from av.packet import Packet
from av.stream import Stream
from av.subtitles.codeccontext import SubtitleCodecContext
from av.subtitles.subtitle import AssSubtitle, SubtitleSet

CARRIERS = frozenset(("h264", "hevc", "mpeg2video"))
"""Codecs (FFmpeg's names) whose pictures may carry captions."""
OWN_TRACK = "eia_608"
"""A track that holds nothing but the triplets of cc_data, as QuickTime has it."""
FIELDS = (1, 2)
_MARK = b"GA94\x03"
"""ATSC's identifier, and the type of user data that is cc_data."""
_SEARCHED_BYTES = 1 << 14
"""User data come before the picture's slices; other messages before them are hundreds of bytes long."""
_ESCAPED = frozenset(("h264", "hevc"))
_NULL = b"\x00\x00"
_ERASE = b"\x94\x2c"
"""Erase displayed memory, with its parity bits: ends what is still shown."""
_LOADS = frozenset((0x20, 0x25, 0x26, 0x27, 0x29, 0x2F))
"""Commands without which no caption is shown: pop-on, roll-up, paint-on, and the end of a caption."""
MOST_PAIRS = 1_000_000
"""Of one track, padding not counted: an hour of dense captions has 100,000."""
_SCC_FPS, _SCC_STEP_MS = 30, 33
"""FFmpeg's SCC demuxer: 30 frames to a second of its time codes, 33 ms each."""


def pairs_of(codec: str, data: bytes) -> Iterator[tuple[int, bytes]]:
    """(field, two bytes) of each pair that a packet carries, padding included."""
    if codec == OWN_TRACK:
        yield from _pairs(data)
        return
    at = data.find(_MARK)
    while at >= 0:
        body = data[at + len(_MARK) : at + len(_MARK) + 140]
        if codec in _ESCAPED:
            body = body.replace(b"\x00\x00\x03", b"\x00\x00")
        if len(body) > 2 and body[0] & 0x40:
            yield from _pairs(body[2 : 2 + 3 * (body[0] & 0x1F)])
        at = data.find(_MARK, at + len(_MARK))


def _pairs(triplets: bytes) -> Iterator[tuple[int, bytes]]:
    for at in range(0, len(triplets) - 2, 3):
        valid, kind = triplets[at] & 4, triplets[at] & 3
        if valid and kind < len(FIELDS):
            pair = triplets[at + 1 : at + 3]
            yield FIELDS[kind], _NULL if not (pair[0] | pair[1]) & 0x7F else pair


class CaptionFinder:
    """Learns from the packets of one track which fields hold captions."""

    def __init__(self, codec: str) -> None:
        self._codec = codec
        self._found: set[int] = set()

    def add(self, packet: Packet[Stream]) -> None:
        """Look at a packet."""
        if self._codec in CARRIERS and len(self._found) < len(FIELDS):
            for field, pair in pairs_of(self._codec, head_of(packet)):
                # Field 2 has 0x15 where field 1 has 0x14; other control codes there are programme data, no captions.
                if pair[0] & 0x7F in (0x14, 0x15) and pair[1] & 0x7F in _LOADS:
                    self._found.add(field)

    @property
    def fields(self) -> tuple[int, ...]:
        """The fields that hold captions, in order."""
        return tuple(sorted(self._found))


def head_of(packet: Packet[Stream]) -> bytes:
    """The part of a packet that may hold captions."""
    return bytes(memoryview(packet)[:_SEARCHED_BYTES])


class CaptionTrack:
    """The pairs of one field while they are read, and the text that they are.

    Attributes:
        dropped: pairs beyond `MOST_PAIRS`.
    """

    def __init__(self, field: int, codec: str) -> None:
        self._field, self._codec = field, codec
        self._pairs: list[tuple[Fraction, bytes]] = []
        self.dropped = 0

    def add(self, packet: Packet[Stream]) -> None:
        """Keep what a packet carries for this field; packets come in any order of time."""
        if packet.pts is None:
            return
        at_s = packet.pts * packet.time_base
        for field, pair in pairs_of(self._codec, head_of(packet)):
            if field != self._field:
                continue
            if len(self._pairs) >= MOST_PAIRS:
                self.dropped += 1
            elif pair != _NULL or (self._pairs and self._pairs[-1][1] != _NULL):
                # One of a run of padding stays: it keeps apart two commands that would else be one said twice.
                self._pairs.append((at_s, pair))

    def lines(self, end_s: Fraction) -> list[tuple[Fraction, Fraction, str]]:
        """(from, to, dialogue line) of all captions, in order; those never erased end at `end_s`."""
        pairs = sorted(self._pairs, key=lambda pair: pair[0])
        if not pairs:
            return []
        pairs += [(max(end_s, pairs[-1][0]), _ERASE)] * 2
        return list(_decoded(pairs))


def _decoded(pairs: list[tuple[Fraction, bytes]]) -> Iterator[tuple[Fraction, Fraction, str]]:
    rows = "\n\n".join(f"{_time_code(number)}\t{pair.hex()}" for number, (_, pair) in enumerate(pairs))
    # Not `open_source`: this is no file of anybody's, but hex digits in a format that only names itself.
    with av.open(BytesIO(f"Scenarist_SCC V1.0\n\n{rows}\n\n".encode()), "r", format="scc") as container:
        stream = container.streams[0]
        decoder = cast(SubtitleCodecContext, stream.codec_context)
        for packet in container.demux(stream):
            shown = decoder.decode2(packet) if packet.size else None
            if shown is not None and shown.pts is not None:
                begin_ms = shown.pts // 1000 + shown.start_display_time
                begin = _number(begin_ms)
                end = _number(begin_ms + shown.end_display_time - shown.start_display_time)
                if begin < len(pairs) and end < len(pairs):
                    yield pairs[begin][0], pairs[end][0], "\n".join(_dialogues(shown))


def _dialogues(shown: SubtitleSet) -> Iterable[str]:
    for rect in shown:
        if isinstance(rect, AssSubtitle):
            yield bytes(rect.dialogue).decode("utf-8", errors="replace")


def _time_code(number: int) -> str:
    seconds, frame = divmod(number, _SCC_FPS)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}:{frame:02d}"


def _number(millis: int) -> int:
    seconds, rest = divmod(millis, 1000)
    return seconds * _SCC_FPS + round(rest / _SCC_STEP_MS)
