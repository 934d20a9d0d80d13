"""Bitstreams of NVENC's codecs: parameter sets tagged with what every rendition is, pictures without them.

PyNvVideoCodec's `colorspace` writes no VUI, and NVENC repeats parameter sets before IDR pictures; here both are put
right, so that a rendition has one set of them, told apart from its pictures.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import av.error
from av.bitstream import BitStreamFilterContext
from av.packet import Packet

from encoders.backends.nverrors import DeviceFault
from encoders.backends.nvparams import NvCodec
from encoders.nal import split_units

START_CODE = b"\0\0\0\1"
_TAGS = "colour_primaries=1:transfer_characteristics=1:matrix_coefficients=1"
TAGGING = {
    NvCodec.H264: f"h264_metadata={_TAGS}:video_full_range_flag=0",
    NvCodec.HEVC: f"hevc_metadata={_TAGS}:video_full_range_flag=0",
    NvCodec.AV1: f"av1_metadata={_TAGS.replace('colour', 'color')}:color_range=tv",
}
"""BT.709, limited range. Source: ITU-T H.273, code 1; FFmpeg's bitstream filters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _NalTypes:
    """Types of NAL units, by a codec's header."""

    shift: int
    mask: int
    sets: tuple[int, ...]
    delimiter: int
    idr: tuple[int, ...]

    def of(self, unit: bytes) -> int:
        """The type of a unit."""
        return unit[0] >> self.shift & self.mask


_NAL = {
    # SPS, PPS. Source: H.264, table 7-1.
    NvCodec.H264: _NalTypes(shift=0, mask=31, sets=(7, 8), delimiter=9, idr=(5,)),
    # VPS, SPS, PPS; IDR_W_RADL, IDR_N_LP. Source: H.265, table 7-1.
    NvCodec.HEVC: _NalTypes(shift=1, mask=63, sets=(32, 33, 34), delimiter=35, idr=(19, 20)),
}
SEQUENCE_HEADER, TEMPORAL_DELIMITER = 1, 2
"""OBU types. Source: AV1 Bitstream & Decoding Process Specification, 6.2.2."""


def tag_parameter_sets(codec: NvCodec, data: bytes) -> bytes:
    """An encoder's parameter sets with BT.709, limited range; nothing else.

    Raises:
        DeviceFault: the encoder gave none, or not all of them.
    """
    try:
        filtered = BitStreamFilterContext(TAGGING[codec], codec.value).filter(Packet(data))
    except av.error.FFmpegError as error:
        raise DeviceFault(f"NVENC's parameter sets cannot be read: {error}") from error
    tagged = b"".join(bytes(packet) for packet in filtered)
    if codec is NvCodec.AV1:
        found = b"".join(raw for kind, raw in _obus(tagged) if kind == SEQUENCE_HEADER)
        if not found:
            raise DeviceFault("NVENC gave no sequence header")
        return found
    nal = _NAL[codec]
    units = [unit for unit in split_units(tagged) if unit and nal.of(unit) in nal.sets]
    if {nal.of(unit) for unit in units} != set(nal.sets):
        raise DeviceFault(f"NVENC gave parameter sets of types {sorted(nal.of(unit) for unit in units)}")
    return b"".join(START_CODE + unit for unit in units)


def strip_parameter_sets(codec: NvCodec, data: bytes) -> tuple[bytes, bool]:
    """A picture without parameter sets and delimiters; and whether decoding can start at it."""
    if codec is NvCodec.AV1:
        obus = list(_obus(data))
        kept = b"".join(raw for kind, raw in obus if kind not in (SEQUENCE_HEADER, TEMPORAL_DELIMITER))
        # A sequence header comes with each key frame that starts a coded video sequence, and nowhere else.
        return kept, any(kind == SEQUENCE_HEADER for kind, _ in obus)
    nal = _NAL[codec]
    units = [unit for unit in split_units(data) if unit and nal.of(unit) not in (*nal.sets, nal.delimiter)]
    return b"".join(START_CODE + unit for unit in units), any(nal.of(unit) in nal.idr for unit in units)


def _obus(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, all bytes) of each OBU. Source: AV1 specification, 5.3 (low-overhead format, sizes present)."""
    at = 0
    while at < len(data):
        begin, header = at, data[at]
        at += 2 if header & 4 else 1  # obu_extension_flag
        if not header & 2:  # obu_has_size_field
            yield header >> 3 & 15, data[begin:]
            return
        size = shift = 0
        while True:
            byte = data[at]
            at += 1
            size |= (byte & 127) << shift
            shift += 7
            if not byte & 128:
                break
        at += size
        yield header >> 3 & 15, data[begin:at]
