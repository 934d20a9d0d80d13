"""Picture renditions as CMAF: the init segment, and media segments with one fragment a GOP. Standard library only.

Written here, byte by byte, so that workers on any host write the same init segment, decode times are exactly the count
of frames before, and each GOP is a fragment of its own: the bytes from a moof to the end of its first sample are one
I-frame, which is what I-frame playlists address.

Source: ISO/IEC 14496-12 (boxes), 14496-15 (avc1, hvc1), AV1 codec ISO media file format binding (av01), ISO/IEC
23000-19 (CMAF), 23001-8 (colour codes).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from encoders.mux import (
    SEGMENT_TYPE,
    box,
    data_in_this_file,
    file_type,
    full_box,
    handler,
    media_header,
    movie_header,
    sample_table,
    track_header,
)

MIN_TIMESCALE = 10_000
"""Coarser scales make players' own arithmetic coarse. Source: FFmpeg's movenc.c, mov_init, doubles so too."""
BT709 = 1
"""Primaries, transfer and matrix of every rendition. Source: ITU-T H.273, tables 2 to 4."""
REORDER_FRAMES = 2
"""Frames by which every composition time is late; the init segment's edit list takes it back. Without it offsets would
be negative, which players understand, but FFmpeg's demuxer presents such a rendition as late as its first offset, and
sound then leads by two frames. x264 and x265 with B-pyramids and NVENC reorder over two frames at most; more would only
make some offsets negative. AV1's temporal units come in the order of presentation: there it is 0, without edit list."""
SYNC_FLAGS, OTHER_FLAGS = 0x0200_0000, 0x0101_0000
"""Depends on no sample; depends on others and is no sync sample. Source: ISO/IEC 14496-12, 8.8.3.1."""


class DecoderConfiguration(Protocol):
    """What an init segment says of a stream: its parameter sets, whatever the codec calls them."""

    @property
    def sample_entry(self) -> bytes:
        """Four-character code."""
        ...

    @property
    def configuration(self) -> bytes:
        """The box that goes into the sample entry."""
        ...

    @property
    def units(self) -> tuple[bytes, ...]:
        """The parameter sets."""
        ...

    @property
    def codec(self) -> str:
        """RFC 6381 name."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoSample:
    """One picture in decode order: MP4 sample data, and its presentation time in output frames."""

    data: bytes
    frame: int


def ticks_per_frame(fps: Fraction) -> int:
    """Ticks of `timescale(fps)` that one output frame lasts, exactly."""
    return timescale(fps) // fps.numerator * fps.denominator


def timescale(fps: Fraction) -> int:
    """Ticks a second of the renditions' clock: a multiple of the rate's numerator, so that every frame is whole."""
    scale = fps.numerator
    while scale < MIN_TIMESCALE:
        scale *= 2
    return scale


def init_segment(
    sets: DecoderConfiguration, width: int, height: int, fps: Fraction, reorder_frames: int = REORDER_FRAMES
) -> bytes:
    """ftyp and moov of a rendition; the same for the same arguments on every host.

    Its edit list starts the presentation `reorder_frames` into the media, so that the first picture is presented at its
    decode time; that is CMAF's brand cmfc (ISO/IEC 23000-19, 7.5.13).
    """
    entry = box(
        sets.sample_entry,
        struct.pack(">6xH16xHHII4xH32xHh", 1, width, height, 72 << 16, 72 << 16, 1, 24, -1),
        sets.configuration,
        box(b"pasp", struct.pack(">II", 1, 1)),
        box(b"colr", struct.pack(">4sHHHB", b"nclx", BT709, BT709, BT709, 0)),
    )
    media = box(
        b"mdia",
        media_header(timescale(fps), 0, None),
        handler(b"vide", "Picture"),
        box(
            b"minf",
            full_box(b"vmhd", 0, 1, bytes(8)),
            data_in_this_file(),
            sample_table(full_box(b"stsd", 0, 0, struct.pack(">I", 1), entry)),
        ),
    )
    movie = box(
        b"moov",
        movie_header(timescale(fps), 0, 2),
        box(b"trak", track_header(1, 0, width=width, height=height), _edit_list(reorder_frames, fps), media),
        box(b"mvex", full_box(b"trex", 0, 0, struct.pack(">5I", 1, 1, 0, 0, 0))),
    )
    return file_type(b"iso6", b"iso6", b"cmfc", b"mp41") + movie


def _edit_list(reorder_frames: int, fps: Fraction) -> bytes:
    """One edit that lasts as long as the media and starts at the first picture (ISO/IEC 14496-12, 8.6.6)."""
    if not reorder_frames:
        return b""
    entry = struct.pack(">IIiI", 1, 0, reorder_frames * ticks_per_frame(fps), 0x10000)
    return box(b"edts", full_box(b"elst", 0, 0, entry))


def media_segment(
    gops: Sequence[Sequence[VideoSample]],
    first_frame: int,
    sequence: int,
    fps: Fraction,
    reorder_frames: int = REORDER_FRAMES,
) -> bytes:
    """A media segment: styp, then a moof and mdat for each GOP.

    Args:
        gops: the GOPs' samples in decode order, each starting with its IDR picture; consecutive in time.
        first_frame: output frame of the first IDR picture: its decode time, as its presentation time.
        sequence: of the first fragment; they count on.
        reorder_frames: as in the init segment.
    """
    pieces, decoded = [SEGMENT_TYPE], first_frame
    for index, gop in enumerate(gops):
        pieces.append(_fragment(gop, decoded, sequence + index, ticks_per_frame(fps), reorder_frames))
        decoded += len(gop)
    return b"".join(pieces)


def _fragment(gop: Sequence[VideoSample], decoded: int, sequence: int, ticks: int, reorder_frames: int) -> bytes:
    rows = b"".join(
        struct.pack(">Ii", len(sample.data), (sample.frame - decoded - index + reorder_frames) * ticks)
        for index, sample in enumerate(gop)
    )

    def moof(offset: int) -> bytes:
        return box(
            b"moof",
            full_box(b"mfhd", 0, 0, struct.pack(">I", sequence)),
            box(
                b"traf",
                full_box(b"tfhd", 0, 0x02_0028, struct.pack(">III", 1, ticks, OTHER_FLAGS)),
                full_box(b"tfdt", 1, 0, struct.pack(">Q", decoded * ticks)),
                full_box(b"trun", 1, 0xA05, struct.pack(">IiI", len(gop), offset, SYNC_FLAGS), rows),
            ),
        )

    return moof(len(moof(0)) + 8) + box(b"mdat", *(sample.data for sample in gop))
