"""AV1 open bitstream units: from an encoder's temporal units to what MP4 stores. Pure; standard library only.

Source: AV1 bitstream and decoding process specification (clauses at the functions), AV1 codec ISO media file format
binding (2.3 av1C, 2.4 and 2.5 samples, 5 names).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from encoders.bits import BitReader
from encoders.mux import box

SEQUENCE_HEADER, TEMPORAL_DELIMITER, FRAME_HEADER, FRAME = 1, 2, 3, 6
REDUNDANT_FRAME_HEADER, TILE_LIST, PADDING = 7, 8, 15
"""obu_type. Source: AV1 specification, 6.2.2."""
_NOT_STORED = {TEMPORAL_DELIMITER, REDUNDANT_FRAME_HEADER, TILE_LIST, PADDING}
_SELECT = 2
"""SELECT_SCREEN_CONTENT_TOOLS and SELECT_INTEGER_MV. Source: AV1 specification, 3."""
_BT709, _SRGB, _IDENTITY = 1, 13, 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One OBU: bytes [start, end) with its header, its payload from `body`."""

    kind: int
    start: int
    body: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceHeader:
    """What a decoder has to know before the first picture, and the OBU that says so.

    Attributes:
        unit: the whole OBU; a key frame repeats it.
        profile, level, tier: seq_profile, seq_level_idx[0] and seq_tier[0].
        bits: depth of samples.
        monochrome, subsampled: mono_chrome; subsampling_x and subsampling_y.
        position: chroma_sample_position.
    """

    unit: bytes
    profile: int
    level: int
    tier: int
    bits: int
    monochrome: bool
    subsampled: tuple[int, int]
    position: int

    @property
    def sample_entry(self) -> bytes:
        """av01."""
        return b"av01"

    @property
    def units(self) -> tuple[bytes, ...]:
        """The OBU alone."""
        return (self.unit,)

    @property
    def codec(self) -> str:
        """RFC 6381 name, as in "av01.0.04M.08" (binding, 5)."""
        return av1_codec(self._fixed)

    @property
    def configuration(self) -> bytes:
        """The av1C box (binding, 2.3.3)."""
        return box(b"av1C", self._fixed, self.unit)

    @property
    def _fixed(self) -> bytes:
        wide, tall = self.subsampled
        depth = (self.bits > 8) << 6 | (self.bits > 10) << 5
        chroma = self.monochrome << 4 | wide << 3 | tall << 2 | self.position
        return bytes((0x81, self.profile << 5 | self.level, self.tier << 7 | depth | chroma, 0))


def av1_codec(configuration: bytes) -> str:
    """RFC 6381 name of a stream, from the payload of its av1C box (binding, 5; the mandatory fields)."""
    profile, level, tier = configuration[1] >> 5, configuration[1] & 31, configuration[2] >> 7
    high, twelve = configuration[2] >> 6 & 1, configuration[2] >> 5 & 1
    return f"av01.{profile}.{level:02d}{'MH'[tier]}.{12 if twelve else 10 if high else 8:02d}"


def split_obus(stream: bytes) -> Iterator[Unit]:
    """The OBUs of a stream in low-overhead format (5.3); the last may lack its size. ValueError when one is cut."""
    start = 0
    while start < len(stream):
        head = stream[start]
        body = start + 1 + (head >> 2 & 1)
        end = len(stream)
        if head & 2:
            size = shift = 0
            while True:
                if body >= len(stream) or shift > 28:
                    raise ValueError(f"the OBU at {start} has no whole size")
                byte = stream[body]
                size, shift, body = size | (byte & 0x7F) << shift, shift + 7, body + 1
                if not byte & 0x80:
                    break
            end = body + size
        if body > end or end > len(stream):
            raise ValueError(f"the OBU at {start} ends at {end} of {len(stream)} bytes")
        yield Unit(kind=head >> 3 & 15, start=start, body=body, end=end)
        start = end


def sequence_headers(stream: bytes) -> tuple[bytes, ...]:
    """The sequence header OBUs in a stream, whole."""
    return tuple(stream[unit.start : unit.end] for unit in split_obus(stream) if unit.kind == SEQUENCE_HEADER)


def sample_of(picture: bytes) -> bytes:
    """One temporal unit as an MP4 sample: without delimiter and padding; key frames keep their sequence header."""
    return b"".join(picture[unit.start : unit.end] for unit in split_obus(picture) if unit.kind not in _NOT_STORED)


def starts_with_key_frame(sample: bytes) -> bool:
    """Whether decoding can start with a sample: a sequence header, then a key frame that is shown (binding, 2.4).

    Args:
        sample: whole, or cut anywhere behind its first frame header.
    """
    at, headed = 0, False
    while at + 2 < len(sample):
        kind, sized = sample[at] >> 3 & 15, sample[at] & 2
        body = at + 1 + (sample[at] >> 2 & 1)
        size = shift = 0
        while sized and body < len(sample):
            byte = sample[body]
            size, shift, body = size | (byte & 0x7F) << shift, shift + 7, body + 1
            if not byte & 0x80:
                break
        if kind in (FRAME, FRAME_HEADER):
            # show_existing_frame 0, frame_type 0 (KEY_FRAME), show_frame 1 (5.9.2)
            return headed and body < len(sample) and sample[body] >> 4 == 0b0001
        headed = headed or kind == SEQUENCE_HEADER
        at = body + size if sized else len(sample)
    return False


def read_sequence_header(stream: bytes) -> SequenceHeader:
    """The first sequence header in a stream (5.5.1); ValueError when there is none, or it is cut."""
    for unit in split_obus(stream):
        if unit.kind == SEQUENCE_HEADER:
            return _parse(stream[unit.start : unit.end], BitReader(stream[unit.body : unit.end]))
    raise ValueError("no sequence header")


def _parse(unit: bytes, bits: BitReader) -> SequenceHeader:
    profile = bits.bits(3)
    bits.flag()  # still_picture
    reduced = bits.flag()
    level, tier = (bits.bits(5), 0) if reduced else _operating_points(bits)
    wide, tall = bits.bits(4) + 1, bits.bits(4) + 1
    bits.bits(wide + tall)
    if not reduced and bits.flag():
        bits.bits(7)  # lengths of frame ids
    bits.bits(3)  # use_128x128_superblock, enable_filter_intra, enable_intra_edge_filter
    if not reduced:
        _inter_tools(bits)
    bits.bits(3)  # enable_superres, enable_cdef, enable_restoration
    depth, monochrome, subsampled, position = _colour(bits, profile)
    return SequenceHeader(
        unit=unit,
        profile=profile,
        level=level,
        tier=tier,
        bits=depth,
        monochrome=monochrome,
        subsampled=subsampled,
        position=position,
    )


def _operating_points(bits: BitReader) -> tuple[int, int]:
    """(level, tier) of the first operating point; reads past all of them."""
    delay_bits, decoder_model = 0, False
    if bits.flag():  # timing_info_present_flag
        bits.bits(64)
        if bits.flag():
            bits.golomb()
        decoder_model = bits.flag()
        if decoder_model:
            delay_bits = bits.bits(5) + 1
            bits.bits(42)
    display_delay = bits.flag()
    found: list[tuple[int, int]] = []
    for _ in range(bits.bits(5) + 1):
        bits.bits(12)
        level = bits.bits(5)
        found.append((level, bits.bits(1) if level > 7 else 0))
        if decoder_model and bits.flag():
            bits.bits(2 * delay_bits + 1)
        if display_delay and bits.flag():
            bits.bits(4)
    return found[0]


def _inter_tools(bits: BitReader) -> None:
    bits.bits(4)  # enable_interintra_compound, enable_masked_compound, enable_warped_motion, enable_dual_filter
    order_hint = bits.flag()
    if order_hint:
        bits.bits(2)  # enable_jnt_comp, enable_ref_frame_mvs
    screen = _SELECT if bits.flag() else bits.bits(1)
    if screen and not bits.flag():
        bits.flag()  # seq_force_integer_mv
    if order_hint:
        bits.bits(3)


def _colour(bits: BitReader, profile: int) -> tuple[int, bool, tuple[int, int], int]:
    """(bit depth, monochrome, subsampling, chroma sample position) of color_config (5.5.2)."""
    depth = 10 if bits.flag() else 8
    if profile == 2 and depth == 10 and bits.flag():
        depth = 12
    monochrome = profile != 1 and bits.flag()
    said = (bits.bits(8), bits.bits(8), bits.bits(8)) if bits.flag() else (2, 2, 2)
    if monochrome:
        bits.flag()
        return depth, True, (1, 1), 0
    if said == (_BT709, _SRGB, _IDENTITY):
        return depth, False, (0, 0), 0
    bits.flag()  # color_range
    if profile == 0:
        subsampled = (1, 1)
    elif profile == 1:
        subsampled = (0, 0)
    elif depth < 12:
        subsampled = (1, 0)
    else:
        wide = bits.bits(1)
        subsampled = (wide, bits.bits(1) if wide else 0)
    return depth, False, subsampled, bits.bits(2) if subsampled == (1, 1) else 0
