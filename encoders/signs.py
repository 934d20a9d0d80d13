"""Certain signs that a coded picture is damaged, by what decoders say and by what a stream's syntax forbids. Pure.

Rule: no sound file shows one. So a message counts only where the decoder's source gives it for nothing but broken data;
what decoders also say of odd encoders, of streams that begin in the middle, or of metadata is not in the table. All
undamaged files at hand, decoded from their start and from their key frames, show none. Standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_HEVC = (
    r"mismatching (?:MD5|CRC|checksum)|is outside the valid range|CABAC_MAX_BIN|Could not find ref with POC"
    r"|Error constructing the frame RPS|undecodable NALU: (?:[0-9]|[12][0-9]|3[01])\b|Invalid NAL unit size"
)
_MJPEG = r"overread \d|error y=\d|bad vlc|huffman table decode error|error count: \d"
_MICROSOFT = r"dc overflow|Error at MB|ac-tex damaged|error while decoding block"
SAYINGS = {
    name: re.compile(pattern)
    for name, pattern in {
        "hevc": _HEVC,
        "vvc": r"mismatching (?:MD5|CRC|checksum)|Invalid NAL unit size",
        "mjpeg": _MJPEG,
        "mjpegb": _MJPEG,
        "ffv1": r"slice CRC mismatch|bytestream end mismatching|[Ss]lice pointer chain broken",
        "theora": r"Coefficient index overflow|error in unpack",
        "vp3": r"Coefficient index overflow|error in unpack",
        "wmv1": _MICROSOFT,
        "wmv2": _MICROSOFT,
        "msmpeg4": _MICROSOFT,
        "msmpeg4v1": _MICROSOFT,
        "msmpeg4v2": _MICROSOFT,
        "dvvideo": r"AC EOB marker is absent|Concealing bitstream errors",
        "flac": r"CRC error",
        "ac3": r"frame CRC mismatch",
        "eac3": r"frame CRC mismatch",
        "cinepak": r"cinepak_decode failed",
        "utvideo": r"bits left after decoding slice",
    }.items()
}
"""Decoder's name -> what it says of broken data only. Decoders that mark their frames (H.264, MPEG-1, -2 and -4, H.263,
Sorenson Spark, ProRes) or refuse them (AV1, DNxHD, Sorenson Video) are not in it. Source: libavcodec 62, and flipped
bits (`python -m benchmarks damage`). Left out: "ignoring overflow" of the Microsoft codecs, of which FFmpeg's
source lets one form pass even when told to be strict."""

CHECKSUMMED = frozenset(("hevc", "vvc"))
"""Codecs whose streams may carry a checksum of each decoded picture, which FFmpeg's decoders compare when `err_detect`
has `crccheck`; they say so, and show the picture all the same. Source: ITU-T H.265, D.3.19; H.274, 8.13."""

SOUND_CHECKSUMMED = frozenset(("flac", "ac3", "eac3"))
"""Codecs of sound with a checksum in each frame, which FFmpeg's decoders compare likewise. A frame whose checksum fails
is mostly noise: silence takes its place. Source: RFC 9639, 9.3; ETSI TS 102 366, 4.4.5 and E.1.3.4."""

LAST_VVC_SLICE = 11
"""nal_unit_type of the last kind of coded slice. Source: ITU-T H.266, table 5."""

_FORBIDDEN = re.compile(rb"\x00\x00(?:[\x00-\x02]|\x03[^\x00-\x03])")
"""Byte sequences that no NAL unit has. Source: ITU-T H.264, 7.4.1; H.265, 7.4.2.1."""


def means_damage(messages: Iterable[tuple[int, str, str]]) -> bool:
    """Whether one of these messages (level, who, text) is a certain sign."""
    for _, name, text in messages:
        pattern = SAYINGS.get(name)
        if pattern is not None and pattern.search(text):
            return True
    return False


def length_size(codec: str, extradata: bytes) -> int:
    """Bytes of the length before each NAL unit; 0 for start codes in their place.

    Source: ISO/IEC 14496-15, 5.3.3.1.2 (avcC), 8.3.3.1.2 (hvcC) and 11.2.4.2 (vvcC, which FFmpeg gives without its
    version).
    """
    if codec == "vvc":
        return (extradata[0] >> 1 & 3) + 1 if len(extradata) > 3 and extradata[:3] > b"\0\0\1" else 0
    at = {"h264": 4, "hevc": 21}.get(codec)
    if at is None or len(extradata) <= at or extradata[0] != 1:
        return 0
    return (extradata[at] & 3) + 1


def nal_units(data: bytes, size: int) -> Iterator[bytes] | None:
    """The NAL units of a packet whose units have lengths of `size` bytes; None where the lengths do not add up.

    Zeros after the last unit are let pass: some muxers pad.
    """
    spans, at = [], 0
    while at + size <= len(data):
        length = int.from_bytes(data[at : at + size], "big")
        if not length:
            break
        at += size
        if at + length > len(data):
            return None
        spans.append((at, at + length))
        at += length
    return (data[begin:end] for begin, end in spans) if not any(data[at:]) else None


def breaks_syntax(codec: str, data: bytes, size: int) -> bool:
    """Whether a packet of H.264 or HEVC holds what no encoder may write.

    Only coded slices are looked at: some cameras write user data without the bytes that prevent start codes.

    Args:
        size: as `length_size` says.
    """
    if codec not in ("h264", "hevc"):
        return False
    units = nal_units(data, size) if size else _between_start_codes(data)
    if size and units is not None:
        # Some writers put more units, with start codes, behind the last one that has a length; decoders read them.
        units = (piece for unit in units for piece in (unit[: _start_code(unit)], *_between_start_codes(unit)))
    return units is None or any(_is_slice(codec, unit) and _FORBIDDEN.search(unit.rstrip(b"\0")) for unit in units)


def temporal_layer(codec: str, data: bytes, size: int) -> int:
    """TemporalId of a packet's picture: none of a lower layer refers to it. 0 where there are no layers.

    Source: ITU-T H.265, 7.4.2.2; H.266, 7.4.2.2.
    """
    if codec not in ("hevc", "vvc"):
        return 0
    units = nal_units(data, size) if size else _between_start_codes(data)
    for unit in units or ():
        if len(unit) > 1 and (_is_slice("hevc", unit) if codec == "hevc" else unit[1] >> 3 <= LAST_VVC_SLICE):
            return max(0, (unit[1] & 7) - 1)
    return 0


def has_checksum(codec: str, data: bytes, size: int) -> bool:
    """Whether a packet of HEVC carries the checksum of its picture, so that its decoder would speak of any difference.

    Source: ITU-T H.265, table 7-1 (suffix SEI) and D.2.1 (payloadType 132).
    """
    if codec != "hevc":
        return False
    units = nal_units(data, size) if size else _between_start_codes(data)
    return any(unit[0] >> 1 & 63 == 40 and unit[2] == 132 for unit in units or () if len(unit) > 2)


def _start_code(data: bytes) -> int:
    """Where the first start code begins, or the end."""
    at = data.find(b"\0\0\1")
    return at if at >= 0 else len(data)


def _between_start_codes(data: bytes) -> Iterator[bytes]:
    """As `nal.split_units`, which is for whole streams of our own."""
    at = data.find(b"\0\0\1")
    while at >= 0:
        begin = at + 3
        at = data.find(b"\0\0\1", begin)
        yield data[begin : at if at >= 0 else len(data)]


def _is_slice(codec: str, unit: bytes) -> bool:
    """Source: ITU-T H.264, table 7-1; H.265, table 7-1."""
    if not unit:
        return False
    return 1 <= unit[0] & 31 <= 5 if codec == "h264" else unit[0] >> 1 & 63 < 32


def is_referred_to(codec: str, data: bytes, size: int) -> bool:
    """Whether later pictures may be predicted from the one in a packet; True where that is not told cheaply.

    Source: ITU-T H.264, 7.4.1 (nal_ref_idc); H.265, table 7-1 (names in _N); ISO/IEC 11172-2, 2.4.3.4, 13818-2, 6.3.9
    and 14496-2, 6.3.5 (B pictures).
    """
    if codec in ("h264", "hevc"):
        units = nal_units(data, size) if size else _between_start_codes(data)
        for unit in units or ():
            if _is_slice(codec, unit):
                return bool(unit[0] & 0x60) if codec == "h264" else unit[0] >> 1 & 63 > 14 or bool(unit[0] >> 1 & 1)
    if codec in ("mpeg1video", "mpeg2video"):
        at = data.find(b"\0\0\1\0")
        return not (0 <= at < len(data) - 5 and data[at + 5] >> 3 & 7 == 3)
    if codec == "mpeg4":
        at = data.find(b"\0\0\1\xb6")
        return not (0 <= at < len(data) - 4 and data[at + 4] >> 6 == 2)
    return True
