"""One pass over a source's packets, nothing decoded: the arrays that `encoders/timeline.py` reads."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream

from encoders.captions import CaptionFinder
from encoders.demux import read_packets
from encoders.errors import Encrypted, TooLarge
from encoders.timeline import LONE_FRAME_RATE, NO_TIME, RATE_RANGE, Packets

KEY, DISCARD, HIDDEN, CORRUPT = 1, 2, 4, 8
_WIDEST_TIME = (1 << 62) - 1
TURN_S = Fraction(1, 2)
"""A decoding time that falls by more is a jump of the clock; less is a muxer's carelessness."""


def stated_rate(stream: Stream) -> Fraction:
    """Frames a second by the codec's headers or the container's; LONE_FRAME_RATE where neither says something sane."""
    rate = getattr(stream, "guessed_rate", None) or getattr(stream, "average_rate", None)
    return Fraction(rate) if rate and RATE_RANGE[0] <= rate <= RATE_RANGE[1] else LONE_FRAME_RATE


def stated_step(stream: Stream) -> int:
    """Ticks from one frame to the next at the rate that is stated."""
    return max(1, round(1 / (stated_rate(stream) * (stream.time_base or Fraction(1, 90_000)))))


class _Rows:
    """Growing columns of one track; 17 bytes a packet."""

    def __init__(self, stream: Stream) -> None:
        self.codec = codec_name(stream)
        self._step = stated_step(stream)
        self._captions = CaptionFinder(self.codec)
        self.pts, self.duration, self.flags = array("q"), array("q"), array("B")
        self._decoded: int | None = None
        self._turned_back = False
        self._untimed = True

    def add(self, packet: Packet[Any]) -> None:
        pts, duration = packet.pts, packet.duration or 0
        # Times near the ends of the range come from broken files only, and would overflow differences.
        self.pts.append(NO_TIME if pts is None or abs(pts) > _WIDEST_TIME else pts)
        self.duration.append(duration if 0 <= duration <= _WIDEST_TIME else 0)
        self._untimed &= pts is None and packet.dts is None
        flags = KEY * packet.is_keyframe | DISCARD * packet.is_discard | CORRUPT * packet.is_corrupt
        self.flags.append(flags | HIDDEN * is_hidden(self.codec, packet))
        self._captions.add(packet)
        if packet.dts is not None and abs(packet.dts) <= _WIDEST_TIME:
            if self._decoded is not None and (self._decoded - packet.dts) * (packet.time_base or 0) > TURN_S:
                self._turned_back = True
            self._decoded = packet.dts

    def packets(self) -> Packets:
        flags = np.frombuffer(self.flags.tobytes(), np.uint8)
        pts = np.frombuffer(self.pts.tobytes(), np.int64)
        duration = np.frombuffer(self.duration.tobytes(), np.int64)
        if self._untimed:
            # Not by durations: where the stream states no rate, those that libavformat 62 gives are a tick long after
            # the first fifty.
            pts = np.arange(len(pts), dtype=np.int64) * self._step
        return Packets(
            pts=pts,
            duration=duration,
            key=flags & KEY != 0,
            discard=flags & DISCARD != 0,
            hidden=flags & HIDDEN != 0,
            corrupt=flags & CORRUPT != 0,
            turned_back=self._turned_back,
            untimed=self._untimed,
            captions=self._captions.fields,
        )


def is_hidden(codec: str, packet: Packet[Any]) -> bool:
    """Whether a VP8 or VP9 packet holds only a reference frame, which is never shown.

    Source: RFC 6386 9.1 (show_frame); VP9 bitstream specification 0.6, 6.2 (show_existing_frame, show_frame) and
    annex B (a superframe, which ends in its index, always shows a frame).
    """
    if codec == "vp8":
        return not memoryview(packet)[0] >> 4 & 1
    if codec != "vp9":
        return False
    data = memoryview(packet)
    first, superframe = data[0], data[-1] & 0xE0 == 0xC0
    reserved_bit = 1 if first & 0x30 == 0x30 else 0
    show_existing, show = first >> (3 - reserved_bit) & 1, first >> (1 - reserved_bit) & 1
    return not (superframe or show_existing or show)


def scan_packets(
    container: InputContainer, streams: list[Stream], max_packets: int, max_bytes: int
) -> Mapping[int, Packets]:
    """Read all packets of some tracks.

    Args:
        max_bytes: of all packets together.

    Returns:
        Stream index -> its packets, as far as the container can be read.

    Raises:
        TooLarge: more packets than allowed, or more in them.
        Encrypted: the first packets of a track say that they are.
        ResourceExceeded: a packet asks for more memory than there is.
    """
    rows = {stream.index: _Rows(stream) for stream in streams}
    left, left_bytes = max_packets, max_bytes
    for packet in read_packets(container, streams):
        row = rows[packet.stream_index]
        if not row.pts and packet.has_sidedata("encryption_info"):
            raise Encrypted("The media is encrypted and there is no key for it. Upload an unencrypted copy.")
        row.add(packet)
        left -= 1
        if left < 0:
            raise TooLarge(
                f"The file has more than {max_packets:,} packets, more than one of its size may have. Export it again, "
                "or upload a shorter part of it."
            )
        left_bytes -= packet.size
        if left_bytes < 0:
            raise TooLarge(
                f"The file is small and unpacks to more than {max_bytes / 1e6:.0f} million bytes, or shows the same "
                "ones again and again. Export it again."
            )
    return {index: row.packets() for index, row in rows.items()}


def codec_name(stream: Stream) -> str:
    """Name of the codec, not of the decoder; empty when there is no decoder."""
    # Streams without a decoder have no context, whatever the annotations say.
    context: Any = stream.codec_context
    return str(context.codec.canonical_name) if context is not None else ""
