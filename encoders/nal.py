"""H.264 NAL units: from an encoder's byte stream to what MP4 stores. Pure functions on bytes; standard library only.

Source: ITU-T H.264 (clauses 7.3.1, 7.3.2.1 and annex B), ISO/IEC 14496-15 (5.3.3.1, avcC).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from encoders.mux import box

IDR, SEI, SPS, PPS, DELIMITER = 5, 6, 7, 8, 9
"""nal_unit_type. Source: ITU-T H.264, table 7-1."""

_NOT_STORED = {SPS, PPS, DELIMITER}


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterSets:
    """The sequence and picture parameter sets of a rendition, without start codes."""

    sps: tuple[bytes, ...]
    pps: tuple[bytes, ...]

    def __post_init__(self) -> None:
        if not self.sps or not self.pps or len(self.sps[0]) < 4:
            raise ValueError(f"{len(self.sps)} SPS and {len(self.pps)} PPS: want at least one of each")

    @property
    def sample_entry(self) -> bytes:
        """avc1: parameter sets lie in the sample entry only."""
        return b"avc1"

    @property
    def units(self) -> tuple[bytes, ...]:
        """All parameter sets, in the order of decoding."""
        return (*self.sps, *self.pps)

    @property
    def configuration(self) -> bytes:
        """The avcC box."""
        return box(b"avcC", avc_configuration(self))

    @property
    def codec(self) -> str:
        """RFC 6381 name, as in "avc1.64001f": profile, constraint flags and level of the SPS, in hex."""
        return f"avc1.{self.sps[0][1:4].hex()}"


def split_units(stream: bytes) -> Iterator[bytes]:
    """The NAL units of an Annex B byte stream, without start codes (H.264 B.1.1)."""
    at = stream.find(b"\0\0\1")
    while at >= 0:
        begin = at + 3
        at = stream.find(b"\0\0\1", begin)
        # Zero bytes before a start code are the stream's, not the unit's: a unit never ends in one.
        yield stream[begin : at if at >= 0 else len(stream)].rstrip(b"\0")


def parameter_sets(extradata: bytes) -> ParameterSets:
    """The parameter sets in an Annex B byte stream; ValueError when one kind is missing."""
    units = [unit for unit in split_units(extradata) if unit]
    return ParameterSets(
        sps=tuple(unit for unit in units if unit[0] & 31 == SPS),
        pps=tuple(unit for unit in units if unit[0] & 31 == PPS),
    )


def avc_configuration(sets: ParameterSets) -> bytes:
    """Payload of avcC for 8-bit 4:2:0 with 4-byte lengths (ISO/IEC 14496-15, 5.3.3.1.2)."""
    profile, flags, level = sets.sps[0][1:4]
    out = [bytes((1, profile, flags, level, 0xFC | 3, 0xE0 | len(sets.sps)))]
    out += [struct.pack(">H", len(unit)) + unit for unit in sets.sps]
    out.append(bytes((len(sets.pps),)))
    out += [struct.pack(">H", len(unit)) + unit for unit in sets.pps]
    if profile in (100, 110, 122, 144):
        out.append(bytes((0xFC | 1, 0xF8, 0xF8, 0)))  # 4:2:0, 8 bits of luma, 8 bits of chroma, no SPS extension
    return b"".join(out)


def sample_of(picture: bytes) -> bytes:
    """One access unit as an MP4 sample: each NAL unit after its 4-byte length.

    Parameter sets and delimiters are left out, since the init segment has the first and boxes replace the second; so
    is user data, in which encoders repeat their settings at each start (700 bytes that say nothing to a player).
    """
    out: list[bytes] = []
    for unit in split_units(picture):
        if not unit or unit[0] & 31 in _NOT_STORED or (unit[0] & 31 == SEI and unit[1:2] == b"\5"):
            continue
        out += (struct.pack(">I", len(unit)), unit)
    return b"".join(out)


def starts_with_idr(sample: bytes) -> bool:
    """Whether the first coded slice of an MP4 sample belongs to an IDR picture."""
    at = 0
    while at + 5 <= len(sample):
        kind = sample[at + 4] & 31
        if 1 <= kind <= IDR:
            return kind == IDR
        at += 4 + int.from_bytes(sample[at : at + 4], "big")
    return False
