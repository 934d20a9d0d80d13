"""What NVDEC is not given: packets that show by themselves that they are damaged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from encoders.backends.nvdec import sound_packets
from encoders.backends.nverrors import Unsupported


@dataclass
class Packet:
    pts: int


class Reader:
    """Its third packet is damaged; it is its own witness."""

    suspects = False

    @property
    def witness(self) -> Reader:
        return self

    def packets(self, key_pts: int | None) -> Iterator[Packet]:
        for pts in range(key_pts or 0, 9):
            self.suspects = pts == 2
            yield Packet(pts)


def test_ffmpeg_goes_on_where_a_packet_is_damaged() -> None:
    packets = sound_packets(Reader(), 0)  # type: ignore[arg-type]
    assert [next(packets).pts, next(packets).pts] == [0, 1]
    with pytest.raises(Unsupported, match="damaged at 2"):
        next(packets)
    assert [packet.pts for packet in sound_packets(Reader(), 3)] == [3, 4, 5, 6, 7, 8]  # type: ignore[arg-type]
