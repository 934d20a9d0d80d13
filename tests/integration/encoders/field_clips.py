"""H.264 whose frames are coded as two fields each, which no encoder at hand makes: written bit by bit, all I_PCM."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

MACROBLOCK = 16
IDR, SLICE, SPS, PPS = 5, 1, 7, 8
I_SLICE, I_PCM = 7, 25
"""slice_type and mb_type. Source: ITU-T H.264, tables 7-6 and 7-11."""


class Bits:
    """Writes big-endian bits and Exp-Golomb codes (H.264, 9.1)."""

    def __init__(self) -> None:
        self._bits: list[int] = []

    def put(self, value: int, count: int) -> Bits:
        self._bits += [value >> place & 1 for place in range(count - 1, -1, -1)]
        return self

    def ue(self, *values: int) -> Bits:
        for value in values:
            self.put(value + 1, 2 * (value + 1).bit_length() - 1)
        return self

    def align(self) -> Bits:
        return self.put(0, -len(self._bits) % 8)

    def stopped(self) -> bytes:
        return self.put(1, 1).align().aligned()

    def aligned(self) -> bytes:
        return bytes(np.packbits(np.array(self._bits, np.uint8)))


def unit(kind: int, payload: bytes, importance: int = 3) -> bytes:
    """A NAL unit with its start code, no start code emulated (7.4.1)."""
    out, zeros = bytearray(), 0
    for byte in payload:
        if zeros >= 2 and byte <= 3:
            out.append(3)
            zeros = 0
        out.append(byte)
        zeros = 0 if byte else zeros + 1
    return b"\0\0\0\1" + bytes([importance << 5 | kind]) + bytes(out)


def parameter_sets(columns: int, rows: int) -> bytes:
    """Main profile without timing, so that nobody knows the rate; `rows` of macroblocks in a field."""
    sps = Bits().put(77, 8).put(0, 8).put(30, 8).ue(0, 0, 0, 4, 1).put(0, 1).ue(columns - 1, rows - 1)
    sps.put(0b00100, 5)  # fields, no macroblock-adaptive ones, direct_8x8_inference, no cropping, no VUI
    pps = Bits().ue(0, 0).put(0, 2).ue(0, 0, 0).put(0, 3).ue(0, 0, 0).put(0, 3)
    return unit(SPS, sps.stopped()) + unit(PPS, pps.stopped())


def field(number: int, *, bottom: bool, group: int, columns: int, rows: int) -> bytes:
    """One field of frame `number`; the top field of every group's first frame is an IDR."""
    first = number % group == 0
    idr = first and not bottom
    bits = Bits().ue(0, I_SLICE, 0).put(number % group % 16, 4).put(1, 1).put(bottom, 1)
    if idr:
        bits.ue(number // group % 2)
    bits.put((2 * (number % group) + bottom) % 256, 8).put(0, 2 if idr else 1).ue(0)
    luma = 40 + number * 3 % 160
    samples = bytes([luma + 20 * bottom]) * 256 + bytes([120]) * 128
    out = bits
    for _ in range(columns * rows):
        out.ue(I_PCM).align()
        for sample in samples:
            out.put(sample, 8)
    return unit(IDR if idr else SLICE, out.stopped())


def fields(frames: int, group: int = 12, columns: int = 4, rows: int = 2) -> list[bytes]:
    """The fields of so many frames, top field first; parameter sets with every group's first."""
    found = []
    for number in range(frames):
        for bottom in (False, True):
            data = field(number, bottom=bottom, group=group, columns=columns, rows=rows)
            head = parameter_sets(columns, rows) if number % group == 0 and not bottom else b""
            found.append(head + data)
    return found


def write_bare(path: Path, frames: int) -> Path:
    """A bare stream."""
    path.write_bytes(b"".join(fields(frames)))
    return path


def write_stream(path: Path, frames: int, fps: int = 25) -> Path:
    """A transport stream in which every field has a packet and a time of its own."""
    bare = write_bare(path.with_suffix(".264"), frames)
    step = 90_000 // (2 * fps)
    with av.open(str(bare)) as source, av.open(str(path), "w", format="mpegts") as output:
        twin = output.add_stream_from_template(source.streams.video[0])
        for number, data in enumerate(fields(frames)):
            packet = av.Packet(data)
            packet.stream, packet.time_base = twin, Fraction(1, 90_000)
            packet.pts = packet.dts = number * step
            packet.is_keyframe = number % 24 == 0
            output.mux(packet)
    return path
