"""How a file is cut into parts, and whether the parts that a client names are the ones that storage holds. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cluster.storage.base import MAX_PART_BYTES, MAX_PARTS, MIN_PART_BYTES, Part, bare_etag
from gateway.errors import (
    PartEtagMismatch,
    PartLayoutInvalid,
    PartLengthInvalid,
    PartNumberInvalid,
    PartSizeMismatch,
    PartsMissing,
    PartsUnexpected,
)

NAMED_AT_MOST = 20
"""Part numbers that an error's detail lists; the rest is counted."""
MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class PartLayout:
    """A file in parts: all of `part_size_bytes`, but the last, which has the rest."""

    size_bytes: int
    part_size_bytes: int

    def __post_init__(self) -> None:
        if self.size_bytes < 1 or self.part_size_bytes < 1:
            raise ValueError(f"{self.size_bytes} bytes in parts of {self.part_size_bytes}: both must be positive")

    @property
    def count(self) -> int:
        """How many parts there are; their numbers start at 1."""
        return -(-self.size_bytes // self.part_size_bytes)

    def length_of(self, number: int) -> int:
        """Bytes of a part.

        Raises:
            PartNumberInvalid: the layout has no such part.
        """
        if not 1 <= number <= self.count:
            raise PartNumberInvalid(f"part {number}: this upload has the parts 1 to {self.count}")
        return min(self.part_size_bytes, self.size_bytes - (number - 1) * self.part_size_bytes)

    def check_length(self, number: int, length_bytes: int) -> None:
        """Refuse a part of another length than the layout gives it.

        Raises:
            PartNumberInvalid: the layout has no such part.
            PartLengthInvalid: says which length is right.
        """
        right = self.length_of(number)
        if length_bytes != right:
            raise PartLengthInvalid(f"part {number} has {right} bytes in this upload, not {length_bytes}")


def plan_parts(size_bytes: int, wanted_bytes: int | None, default_bytes: int) -> PartLayout:
    """The layout of a file: with the client's part size where it names one, else a default that grows with the file.

    Raises:
        PartLayoutInvalid: the client's part size is beyond what storage takes, or needs too many parts.
    """
    if wanted_bytes is None:
        least = -(-size_bytes // MAX_PARTS)
        grown = -(-least // MEBIBYTE) * MEBIBYTE
        return PartLayout(size_bytes=size_bytes, part_size_bytes=max(default_bytes, grown))
    layout = PartLayout(size_bytes=size_bytes, part_size_bytes=wanted_bytes)
    if layout.count > 1 and not MIN_PART_BYTES <= wanted_bytes <= MAX_PART_BYTES:
        raise PartLayoutInvalid(f"part_size_bytes must be {MIN_PART_BYTES} to {MAX_PART_BYTES}, not {wanted_bytes}")
    if layout.count > MAX_PARTS:
        raise PartLayoutInvalid(f"{layout.count} parts of {wanted_bytes} bytes: storage takes {MAX_PARTS} at most")
    return layout


def check_parts(layout: PartLayout, named: Sequence[tuple[int, str]], stored: Sequence[Part]) -> tuple[Part, ...]:
    """The stored parts in order, when they are all there and are what the client says it sent.

    Args:
        named: (part number, ETag) as the client gives them, in any order.
        stored: what storage holds.

    Raises:
        PartsUnexpected: a part is named twice, or is not in the layout.
        PartsMissing: a part of the layout is not named, or storage does not hold it.
        PartSizeMismatch: a stored part has another length than the layout says.
        PartEtagMismatch: a named ETag is not the stored one.
    """
    etags = dict(named)
    numbers = range(1, layout.count + 1)
    if len(etags) < len(named):
        raise PartsUnexpected("a part is named more than once")
    if strangers := sorted(set(etags) - set(numbers)):
        raise PartsUnexpected(f"this upload has the parts 1 to {layout.count}, not {_listed(strangers)}")
    if unnamed := [number for number in numbers if number not in etags]:
        raise PartsMissing(f"not named: part {_listed(unnamed)}")
    held = {part.number: part for part in stored}
    if absent := [number for number in numbers if number not in held]:
        raise PartsMissing(f"not received: part {_listed(absent)}")
    if wrong := [number for number in numbers if held[number].size_bytes != layout.length_of(number)]:
        raise PartSizeMismatch(f"of another length than announced: part {_listed(wrong)}")
    if other := [number for number in numbers if bare_etag(etags[number]) != bare_etag(held[number].etag)]:
        raise PartEtagMismatch(f"of another ETag than received: part {_listed(other)}")
    return tuple(held[number] for number in numbers)


def _listed(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:NAMED_AT_MOST]))
    more = len(numbers) - NAMED_AT_MOST
    return f"{shown} and {more} more" if more > 0 else shown
