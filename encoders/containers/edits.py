"""Edit lists that begin inside a frame: how much later the picture is than FFmpeg's times say.

An edit that begins inside a frame leaves that frame out, so the picture begins with the rest of its time; FFmpeg moves
it to the begin of the edit, and so away from the sound, which it cuts to the sample.
Source: ISO/IEC 14496-12, 8.6.6; libavformat 62, `mov_fix_index`: "subtract the dts by that amount to make the first
pts zero".
"""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

from encoders.boxes import Box, MalformedBoxes, find_boxes
from encoders.containers.moov import full_box_number, read_moov
from encoders.demux import open_source, read_packets

MOST_LATE_S = Fraction(38, 1000)
"""Sound that is early by less than 45 ms is not noticed, and players that go by FFmpeg's times (Chrome, mpv) show such
files without the shift: it stays below, so that nobody finds either wrong. Source: ITU-R BT.1359, 2."""


def picture_late_s(path: Path, stream: int, first_pts: int, step_s: Fraction) -> Fraction:
    """How much later a track's picture is than its presentation times, seconds; 0 for nearly all files.

    Args:
        path: local MP4 or MOV.
        stream: index of the track.
        first_pts: of the first frame shown.
        step_s: how long a frame is shown: no shift is longer.
    """
    with open_source(path) as container:
        track = container.streams[stream]
        time_base = track.time_base
        edit = _first_edit(read_moov(path), track.id)
    if edit is None or not time_base:
        return Fraction(0)
    empty_s, begin = edit
    shown = _first_shown(path, stream, begin)
    late_s = empty_s + (shown - begin) * time_base - first_pts * time_base if shown is not None else Fraction(0)
    return min(late_s, MOST_LATE_S) if Fraction(1, 1000) <= late_s < step_s else Fraction(0)


def _first_shown(path: Path, stream: int, begin: int) -> int | None:
    """The first composition time at or after the begin of an edit, ticks."""
    shown: int | None = None
    with open_source(path, ignore_editlist="1") as container:
        for packet in read_packets(container, [container.streams[stream]]):
            if packet.pts is not None and packet.pts >= begin:
                shown = packet.pts if shown is None else min(shown, packet.pts)
            if shown is not None and packet.dts is not None and packet.dts >= shown:
                break
    return shown


def _first_edit(moov: bytes, track_id: int) -> tuple[Fraction, int] | None:
    """(empty time before it in seconds, its begin in ticks of the track) of a track's first edit; None without one."""
    try:
        scale = full_box_number(moov, next(find_boxes(moov, "mvhd")), 12, 20)
        for track in find_boxes(moov, "trak"):
            if full_box_number(moov, next(find_boxes(moov, "tkhd", track)), 12, 20) != track_id:
                continue
            empty_s = Fraction(0)
            for length, begin in _edits(moov, next(find_boxes(moov, "edts/elst", track))):
                if begin >= 0:
                    return empty_s, begin
                empty_s += Fraction(length, scale)
    except (MalformedBoxes, StopIteration, struct.error, ZeroDivisionError):
        return None
    return None


def _edits(moov: bytes, box: Box) -> list[tuple[int, int]]:
    """(length in the film's ticks, begin in the track's, -1 where empty) of each edit. Source: 14496-12, 8.6.6.2."""
    form = ">Qqi" if moov[box.body] == 1 else ">Iii"
    return [(length, begin) for length, begin, _ in struct.iter_unpack(form, moov[box.body + 8 : box.end])]
