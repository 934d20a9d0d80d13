"""What a source may be, whatever its profile takes: bounds for what a small file can have us do.

Rule: every refusal says what was found, what is taken and what the owner can do.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from encoders import timeline
from encoders.demux import MAX_PIXELS
from encoders.errors import TooLarge, TooLong
from encoders.media import MediaInfo
from encoders.timeline import Packets, Ticks

SMALL_BYTES = 64_000_000
"""So much any file may unpack to."""
FEW_PACKETS, PACKET_BYTES = 1_000_000, 8
"""So many packets any file may have, and one more for each so many of its bytes. Silence in Opus has 7 bytes a packet,
with its container's; laced samples of two bytes would be millions in a small file."""
STILL_S = 10.0
"""A picture, or silence between two sounds, of so long is nothing special."""
HELD_BYTES_S = 64
"""A file may stand still for a second more for each so many bytes of it: slides have pictures, an album has sound, and
what has neither costs as much to encode as a film while it is made of nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeLimits:
    """What a source may be; beyond it is refused as TooLarge or TooLong.

    Attributes:
        max_bytes: length of the file.
        max_pixels: of one frame.
        max_streams: tracks of any kind.
        max_packets: of all tracks; a day of 60 fps with sound has about 10 million.
        max_duration_s: from the first to the last frame.
        max_expansion: bytes of all packets for each of the file, beyond `SMALL_BYTES`: packed tracks and samples that
            share their bytes let a tiny file stand for any amount of work.
        max_hold_s: how long a track may stand still in all, beyond `STILL_S` at a time and what the file's size allows.
        max_gap_s: longest time for which one frame may be shown: bounds what a tiny file can have us encode.
    """

    max_bytes: int = 1 << 40
    max_pixels: int = MAX_PIXELS
    max_streams: int = 100
    max_packets: int = 20_000_000
    max_duration_s: int = 24 * 3600
    max_gap_s: int = 1800
    max_expansion: int = 32
    max_hold_s: int = 600

    def most_bytes(self, size_bytes: int) -> int:
        """What the packets of a file of so many bytes may hold together."""
        return SMALL_BYTES + self.max_expansion * size_bytes

    def most_packets(self, size_bytes: int) -> int:
        """How many packets a file of so many bytes may have."""
        return min(self.max_packets, FEW_PACKETS + size_bytes // PACKET_BYTES)

    def check_pixels(self, width: int, height: int) -> None:
        """Let a frame pass; raises TooLarge."""
        if width * height > self.max_pixels:
            raise TooLarge(
                f"The picture has {width}x{height} pixels; at most {self.max_pixels / 1e6:.0f} million are taken. "
                "Scale it down."
            )

    def check_gap(self, times: Ticks, time_base: Fraction) -> None:
        """Let the times of a track's frames pass; raises TooLong."""
        gap_s = timeline.longest_gap(times) * time_base
        if gap_s > self.max_gap_s:
            raise TooLong(
                f"One frame is shown for {float(gap_s):.0f} s; at most {self.max_gap_s} s are taken. "
                "The file's timestamps are broken; export it again."
            )

    def check_length(self, info: MediaInfo) -> None:
        """Let a source's length pass; raises TooLong."""
        if info.duration_s > self.max_duration_s:
            raise TooLong(
                f"The file plays for {float(info.duration_s):.0f} s; at most {self.max_duration_s} s are taken. "
                "Upload a part of it."
            )

    def check_holds(self, tracks: Iterable[tuple[Packets, Fraction | None]], size_bytes: int) -> None:
        """Let tracks, each with its time base, pass that do not stand still for too long; raises TooLong."""
        most_s = self.max_hold_s + size_bytes // HELD_BYTES_S
        for packets, time_base in tracks:
            held_s = timeline.held_s(timeline.shown_times(packets), time_base or Fraction(0), STILL_S)
            if held_s > most_s:
                raise TooLong(
                    f"The file stands still for {held_s:.0f} s in all; at most {most_s} s are taken of one of its "
                    "size. Its timestamps are broken, or it is made of nothing; export it again."
                )
