"""Reading bits of codec headers: fixed lengths, Exp-Golomb codes, emulation prevention. Pure; standard library only.

Only for streams that the farm encoded itself: foreign ones are parsed by FFmpeg in a confined process.
"""

from __future__ import annotations


class BitReader:
    """Bits of a byte string, most significant first; reading past the end is a ValueError."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def bits(self, count: int) -> int:
        """The next `count` bits as an unsigned number."""
        if count > self._left:
            raise ValueError(f"{count} bits wanted where {self._left} are left")
        self._left -= count
        return self._value >> self._left & ((1 << count) - 1)

    def flag(self) -> bool:
        """The next bit."""
        return self.bits(1) == 1

    def golomb(self) -> int:
        """ue(v). Source: ITU-T H.265, 9.2; AV1 specification, 4.10.3 (uvlc) is the same."""
        zeros = 0
        while not self.flag():
            zeros += 1
        return (1 << zeros) - 1 + self.bits(zeros)


def without_prevention(unit: bytes) -> bytes:
    """A NAL unit without its emulation prevention bytes (ITU-T H.264 and H.265, 7.3.1.1)."""
    return unit.replace(b"\0\0\3", b"\0\0")
