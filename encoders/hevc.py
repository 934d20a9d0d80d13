"""HEVC NAL units: from an encoder's byte stream to what MP4 stores. Pure functions on bytes; standard library only.

Source: ITU-T H.265 (clauses at the functions), ISO/IEC 14496-15 (8.3.3.1, hvcC; annex E, names).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from encoders.bits import BitReader, without_prevention
from encoders.mux import box
from encoders.nal import split_units

LAST_SLICE_TYPE, IDR_TYPES = 31, (19, 20)
"""nal_unit_type below 32 is a coded slice; IDR_W_RADL and IDR_N_LP. Source: ITU-T H.265, table 7-1."""
VPS, SPS, PPS, DELIMITER, PREFIX_SEI = 32, 33, 34, 35, 39
_NOT_STORED = {VPS, SPS, PPS, DELIMITER}
_USER_DATA = 5
"""payloadType of unregistered user data. Source: ITU-T H.265, D.2.1."""


def unit_type(unit: bytes) -> int:
    """nal_unit_type (7.3.1.2)."""
    return unit[0] >> 1 & 63


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileTierLevel:
    """What a sequence parameter set says of its stream: general profile, tier and level, and the form of samples.

    Attributes:
        general: the twelve bytes of general_profile_space to general_level_idc (7.3.3), as hvcC has them too.
        chroma: chroma_format_idc, 1 for 4:2:0.
        luma_bits, chroma_bits: depth of samples.
        temporal_layers: sps_max_sub_layers.
        nested: sps_temporal_id_nesting_flag.
    """

    general: bytes
    chroma: int
    luma_bits: int
    chroma_bits: int
    temporal_layers: int
    nested: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HevcSets:
    """The video, sequence and picture parameter sets of a rendition, without start codes."""

    vps: tuple[bytes, ...]
    sps: tuple[bytes, ...]
    pps: tuple[bytes, ...]

    def __post_init__(self) -> None:
        if not self.vps or not self.sps or not self.pps:
            raise ValueError(
                f"{len(self.vps)} VPS, {len(self.sps)} SPS and {len(self.pps)} PPS: want at least one of each"
            )

    @property
    def sample_entry(self) -> bytes:
        """hvc1: parameter sets lie in the sample entry only."""
        return b"hvc1"

    @property
    def units(self) -> tuple[bytes, ...]:
        """All parameter sets, in the order of decoding."""
        return (*self.vps, *self.sps, *self.pps)

    @property
    def codec(self) -> str:
        """RFC 6381 name, as in "hvc1.1.6.L93.90" (ISO/IEC 14496-15, E.3)."""
        return hevc_codec(read_sps(self.sps[0]).general)

    @property
    def configuration(self) -> bytes:
        """The hvcC box, with 4-byte lengths (ISO/IEC 14496-15, 8.3.3.1.2)."""
        said = read_sps(self.sps[0])
        head = bytes((1,)) + said.general
        head += struct.pack(
            ">HBBBBHB",
            0xF000,  # min_spatial_segmentation_idc: not said
            0xFC,  # parallelismType: not said
            0xFC | said.chroma,
            0xF8 | said.luma_bits - 8,
            0xF8 | said.chroma_bits - 8,
            0,  # avgFrameRate: not said
            said.temporal_layers << 3 | said.nested << 2 | 3,
        )
        arrays = [_array(VPS, self.vps), _array(SPS, self.sps), _array(PPS, self.pps)]
        return box(b"hvcC", head, bytes((len(arrays),)), *arrays)


def _array(kind: int, units: Sequence[bytes]) -> bytes:
    """All parameter sets of one kind; array_completeness says that there are no others in the samples."""
    return struct.pack(">BH", 0x80 | kind, len(units)) + b"".join(struct.pack(">H", len(unit)) + unit for unit in units)


def parameter_sets(extradata: bytes) -> HevcSets:
    """The parameter sets in an Annex B byte stream; ValueError when one kind is missing."""
    units = [unit for unit in split_units(extradata) if len(unit) > 2]
    vps, sps, pps = (tuple(unit for unit in units if unit_type(unit) == kind) for kind in (VPS, SPS, PPS))
    return HevcSets(vps=vps, sps=sps, pps=pps)


def read_sps(unit: bytes) -> ProfileTierLevel:
    """The beginning of a sequence parameter set (7.3.2.2.1); ValueError when it is cut."""
    payload = without_prevention(unit)[2:]
    if len(payload) < 13:
        raise ValueError(f"an SPS of {len(unit)} bytes")
    layers = payload[0] >> 1 & 7
    rest = BitReader(payload[13:])
    present = [(rest.flag(), rest.flag()) for _ in range(layers)]
    if layers:
        rest.bits(2 * (8 - layers))
    for profile, level in present:
        rest.bits(88 * profile + 8 * level)
    rest.golomb()  # sps_seq_parameter_set_id
    chroma = rest.golomb()
    if chroma == 3:
        rest.flag()
    rest.golomb()  # pic_width_in_luma_samples
    rest.golomb()  # pic_height_in_luma_samples
    if rest.flag():
        for _ in range(4):
            rest.golomb()
    return ProfileTierLevel(
        general=payload[1:13],
        chroma=chroma,
        luma_bits=8 + rest.golomb(),
        chroma_bits=8 + rest.golomb(),
        temporal_layers=layers + 1,
        nested=bool(payload[0] & 1),
    )


def hevc_codec(general: bytes) -> str:
    """RFC 6381 name of a stream with these general profile, tier and level bytes (ISO/IEC 14496-15, E.3).

    Profile space and profile; the compatibility flags in reverse order of bits; tier and level; the constraint bytes
    up to the last that is not zero.
    """
    space, tier, profile = general[0] >> 6, general[0] >> 5 & 1, general[0] & 31
    flags = int(f"{int.from_bytes(general[1:5], 'big'):032b}"[::-1], 2)
    constraints = [f"{byte:X}" for byte in general[5:11].rstrip(b"\0")]
    parts = ["hvc1", f"{('', 'A', 'B', 'C')[space]}{profile}", f"{flags:X}", f"{'LH'[tier]}{general[11]}", *constraints]
    return ".".join(parts)


def sample_of(picture: bytes) -> bytes:
    """One access unit as an MP4 sample: each NAL unit after its 4-byte length.

    Parameter sets, delimiters and user data are left out, as in `nal.sample_of`.
    """
    out: list[bytes] = []
    for unit in split_units(picture):
        if len(unit) < 3 or unit_type(unit) in _NOT_STORED:
            continue
        if unit_type(unit) == PREFIX_SEI and unit[2] == _USER_DATA:
            continue
        out += (struct.pack(">I", len(unit)), unit)
    return b"".join(out)


def starts_with_idr(sample: bytes) -> bool:
    """Whether the first coded slice of an MP4 sample belongs to an IDR picture."""
    at = 0
    while at + 6 <= len(sample):
        kind = sample[at + 4] >> 1 & 63
        if kind <= LAST_SLICE_TYPE:
            return kind in IDR_TYPES
        at += 4 + int.from_bytes(sample[at : at + 4], "big")
    return False
