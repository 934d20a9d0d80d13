"""Broken files from whole ones: pure, and the same for the same seed.

Half of the damage goes where parsers are (headers, boxes, lengths, counts), half anywhere.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF)
"""Values at which counts and lengths overflow."""
HEADER_BYTES = 4096
_NAMES = re.compile(
    rb"moov|trak|mdia|stbl|stsd|stts|ctts|stsc|stsz|stco|stss|elst|tkhd|mvhd|mdhd|avcC|esds|moof|traf|trun|tfhd|tfdt"
    rb"|\x1aE\xdf\xa3|\x16T\xaek|\x1fC\xb6u|\x18S\x80g|RIFF|LIST|strh|strf|idx1|OggS|FLV|ID3|\x00\x00\x01"
)
"""Four-character codes of ISO BMFF, RIFF and Ogg, identifiers of EBML, start codes of MPEG."""

Change = Callable[[bytearray, random.Random], None]


def _spot(data: bytearray, dice: random.Random) -> int:
    """A place: in the first or last bytes, right behind a known name, or anywhere."""
    choice = dice.random()
    if choice < 0.25:
        return dice.randrange(min(len(data), HEADER_BYTES))
    if choice < 0.4:
        return len(data) - 1 - dice.randrange(min(len(data), HEADER_BYTES))
    if choice < 0.7 and (names := [found.start() for found in _NAMES.finditer(data, 0, 1 << 20)]):
        return min(len(data) - 1, max(0, dice.choice(names) + dice.randrange(-4, 24)))
    return dice.randrange(len(data))


def _flip(data: bytearray, dice: random.Random) -> None:
    for _ in range(dice.choice((1, 1, 2, 8, 64))):
        data[_spot(data, dice)] ^= 1 << dice.randrange(8)


def _set_extreme(data: bytearray, dice: random.Random) -> None:
    width, at = dice.choice((1, 2, 4, 8)), _spot(data, dice)
    value = dice.choice(EXTREMES) & ((1 << 8 * width) - 1)
    data[at : at + width] = value.to_bytes(width, dice.choice(("big", "little")))[: len(data) - at]


def _set_noise(data: bytearray, dice: random.Random) -> None:
    at, length = _spot(data, dice), dice.choice((4, 16, 64, 512, 4096))
    data[at : at + length] = dice.randbytes(min(length, len(data) - at))


def _remove(data: bytearray, dice: random.Random) -> None:
    at = _spot(data, dice)
    del data[at : at + dice.choice((1, 4, 188, 1000, 20_000))]


def _insert(data: bytearray, dice: random.Random) -> None:
    data[_spot(data, dice) : 0] = dice.randbytes(dice.choice((1, 4, 188, 1000)))


def _repeat(data: bytearray, dice: random.Random) -> None:
    at, length = _spot(data, dice), dice.choice((8, 188, 1000, 8000))
    data[at:at] = data[at : at + length] * dice.choice((1, 2, 20))


def _move(data: bytearray, dice: random.Random) -> None:
    at, length, to = _spot(data, dice), dice.choice((4, 100, 4000)), _spot(data, dice)
    data[to : to + length] = data[at : at + length]


def _cut(data: bytearray, dice: random.Random) -> None:
    del data[dice.randrange(len(data)) :]


CHANGES: tuple[Change, ...] = (_flip, _set_extreme, _set_extreme, _set_noise, _remove, _insert, _repeat, _move, _cut)


def mutate(seeds: Sequence[bytes], number: int, series: int) -> bytes:
    """The `number`-th mutation of a series: one of the seeds with one to six changes, sometimes joined to another.

    Args:
        seeds: whole files; none empty.
        number: which mutation.
        series: which series; another one gives other mutations.
    """
    dice = random.Random(f"{series}/{number}")
    data = bytearray(seeds[number % len(seeds)])
    if dice.random() < 0.05:
        other = dice.choice(seeds)
        data[dice.randrange(len(data)) :] = other[dice.randrange(len(other)) :]
    for _ in range(dice.choice((1, 1, 2, 3, 6))):
        if data:
            dice.choice(CHANGES)(data, dice)
    return bytes(data)
