"""Bits as codec headers have them."""

from __future__ import annotations

import pytest

from encoders.bits import BitReader, without_prevention


def test_fields_follow_each_other() -> None:
    bits = BitReader(bytes([0b1010_0110, 0b0100_0000]))
    assert (bits.bits(3), bits.flag(), bits.bits(4)) == (0b101, False, 0b0110)
    assert bits.golomb() == 1
    with pytest.raises(ValueError, match="left"):
        bits.bits(9)


@pytest.mark.parametrize(("code", "number"), [("1", 0), ("010", 1), ("011", 2), ("00100", 3), ("0001000", 7)])
def test_exponential_golomb_codes(code: str, number: int) -> None:
    assert BitReader(int(code.ljust(8, "0"), 2).to_bytes(1, "big")).golomb() == number


def test_a_code_that_never_ends_is_refused() -> None:
    with pytest.raises(ValueError, match="left"):
        BitReader(bytes(4)).golomb()


def test_emulation_prevention_is_taken_out() -> None:
    assert without_prevention(b"\x01\0\0\3\0\0\3\x90") == b"\x01\0\0\0\0\x90"
