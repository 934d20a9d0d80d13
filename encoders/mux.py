"""Writing ISO base media files: boxes, init segments of sound renditions, CMAF media segments. Standard library only.

Sound is muxed here, byte by byte, so that decode times, durations and the decoder's configuration are exactly what is
said and the same on every host. `boxes` reads and frames boxes; here is what goes into them.

Source: ISO/IEC 14496-12 (boxes), 14496-14 (esds), 14496-1 (descriptors), 23000-19 (CMAF brands).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

SYNC_SAMPLE = 0x02000000
"""Sample flags: depends on no other sample, is a sync sample. Source: ISO/IEC 14496-12, 8.8.3.1."""
UNITY_MATRIX = struct.pack(">9i", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
"""No transformation. Source: ISO/IEC 14496-12, 8.2.2.2."""
SEGMENT_TYPE = struct.pack(">I4s4sI4s4s", 24, b"styp", b"cmfs", 0, b"msdh", b"cmfs")
"""Brands of every media segment. Source: ISO/IEC 23000-19, 7.3.3.1; 23009-1, 6.3.4.2."""


def box(kind: bytes, *payload: bytes) -> bytes:
    """A box around the payload, under 4 GiB. Source: ISO/IEC 14496-12, 4.2."""
    return b"".join((struct.pack(">I4s", 8 + sum(map(len, payload)), kind), *payload))


def full_box(kind: bytes, version: int, flags: int, *payload: bytes) -> bytes:
    """A box with version and flags. Source: ISO/IEC 14496-12, 4.2."""
    return box(kind, struct.pack(">I", version << 24 | flags), *payload)


def file_type(major: bytes, *compatible: bytes) -> bytes:
    """ftyp."""
    return box(b"ftyp", major, struct.pack(">I", 0), *compatible)


def movie_header(timescale: int, duration: int, next_track: int) -> bytes:
    """mvhd, with the duration in ticks of `timescale`; 0 for fragmented files."""
    return full_box(
        b"mvhd",
        1,
        0,
        struct.pack(">QQIQ", 0, 0, timescale, duration),
        struct.pack(">iH10x", 0x10000, 0x100),
        UNITY_MATRIX,
        bytes(24),
        struct.pack(">I", next_track),
    )


def track_header(
    track: int,
    duration: int,
    *,
    width: int = 0,
    height: int = 0,
    volume: bool = False,
    enabled: bool = True,
    group: int = 0,
) -> bytes:
    """tkhd; the duration is in ticks of the movie, the size in pixels as displayed."""
    return full_box(
        b"tkhd",
        1,
        0x7 if enabled else 0x2,
        struct.pack(">QQI4xQ8x", 0, 0, track, duration),
        struct.pack(">hhh2x", 0, group, 0x100 if volume else 0),
        UNITY_MATRIX,
        struct.pack(">II", width << 16, height << 16),
    )


def media_header(timescale: int, duration: int, language: str | None) -> bytes:
    """mdhd, and elng when the language is no three-letter code; the duration is in ticks of `timescale`."""
    code = language if language and len(language) == 3 and language.isascii() and language.islower() else "und"
    packed = sum((ord(letter) - 0x60) << shift for letter, shift in zip(code, (10, 5, 0), strict=True))
    header = full_box(b"mdhd", 1, 0, struct.pack(">QQIQHH", 0, 0, timescale, duration, packed, 0))
    if language and code != language and language.isascii():
        header += full_box(b"elng", 0, 0, language.encode() + b"\0")
    return header


def handler(kind: bytes, name: str) -> bytes:
    """hdlr."""
    return full_box(b"hdlr", 0, 0, struct.pack(">I4s12x", 0, kind), name.encode() + b"\0")


def data_in_this_file() -> bytes:
    """dinf: samples lie in the same file."""
    return box(b"dinf", full_box(b"dref", 0, 0, struct.pack(">I", 1), full_box(b"url ", 0, 1)))


def sample_table(description: bytes, *tables: bytes) -> bytes:
    """stbl of a sample description (stsd) and tables; without tables, the empty ones that a fragmented file holds."""
    empty = (
        full_box(b"stts", 0, 0, struct.pack(">I", 0)),
        full_box(b"stsc", 0, 0, struct.pack(">I", 0)),
        full_box(b"stsz", 0, 0, struct.pack(">II", 0, 0)),
        full_box(b"stco", 0, 0, struct.pack(">I", 0)),
    )
    return box(b"stbl", description, *(tables or empty))


def aac_description(config: bytes, sample_rate: int, channels: int, bitrate_bps: int) -> bytes:
    """stsd of AAC.

    Args:
        config: AudioSpecificConfig. Source: ISO/IEC 14496-3, 1.6.2.1.
    """
    decoder = _descriptor(4, struct.pack(">BBxHII", 0x40, 0x15, 0, bitrate_bps, bitrate_bps) + _descriptor(5, config))
    stream = _descriptor(3, struct.pack(">HB", 0, 0) + decoder + _descriptor(6, b"\x02"))
    entry = box(
        b"mp4a",
        struct.pack(">6xH8xHH4xI", 1, channels, 16, sample_rate << 16),
        full_box(b"esds", 0, 0, stream),
    )
    return full_box(b"stsd", 0, 0, struct.pack(">I", 1), entry)


def aac_init(config: bytes, sample_rate: int, channels: int, bitrate_bps: int, language: str | None) -> bytes:
    """The init segment of an AAC rendition; its media timescale is the sampling rate."""
    media = box(
        b"mdia",
        media_header(sample_rate, 0, language),
        handler(b"soun", "Sound"),
        box(
            b"minf",
            full_box(b"smhd", 0, 0, bytes(4)),
            data_in_this_file(),
            sample_table(aac_description(config, sample_rate, channels, bitrate_bps)),
        ),
    )
    movie = box(
        b"moov",
        movie_header(sample_rate, 0, 2),
        box(b"trak", track_header(1, 0, volume=True, group=1), media),
        box(b"mvex", full_box(b"trex", 0, 0, struct.pack(">5I", 1, 1, 0, 0, 0))),
    )
    return file_type(b"iso6", b"iso6", b"cmfc", b"mp41") + movie


def sync_media_segment(number: int, decode_time: int, durations: Sequence[int], samples: Sequence[bytes]) -> bytes:
    """A media segment of which every sample is a sync sample, as in sound.

    Args:
        number: from 1; the fragment's sequence number.
        decode_time: of the first sample, in ticks of the track.
        durations: ticks of each sample.
    """
    usual = durations[0]
    sizes = [len(sample) for sample in samples]
    if all(duration == usual for duration in durations):
        flags, rows = 0x201, struct.pack(f">{len(sizes)}I", *sizes)
    else:
        pairs: Iterable[tuple[int, int]] = zip(durations, sizes, strict=True)
        flags, rows = 0x301, b"".join(struct.pack(">II", *pair) for pair in pairs)

    def fragment(offset: int) -> bytes:
        return box(
            b"moof",
            full_box(b"mfhd", 0, 0, struct.pack(">I", number)),
            box(
                b"traf",
                full_box(b"tfhd", 0, 0x020028, struct.pack(">III", 1, usual, SYNC_SAMPLE)),
                full_box(b"tfdt", 1, 0, struct.pack(">Q", decode_time)),
                full_box(b"trun", 0, flags, struct.pack(">Ii", len(sizes), offset), rows),
            ),
        )

    return SEGMENT_TYPE + fragment(len(fragment(0)) + 8) + box(b"mdat", *samples)


def _descriptor(tag: int, payload: bytes) -> bytes:
    """An MPEG-4 descriptor with a four-byte length. Source: ISO/IEC 14496-1, 8.3.3."""
    size = len(payload)
    return (
        bytes((tag, size >> 21 & 0x7F | 0x80, size >> 14 & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size & 0x7F)) + payload
    )
