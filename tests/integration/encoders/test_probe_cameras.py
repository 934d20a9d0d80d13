"""The probe on what cameras and phones write beside their pictures."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import pytest
from clips import picture

from encoders.probe import probe_source

TURNED = {1: (0, False), 2: (0, True), 3: (180, False), 6: (90, False), 8: (270, False)}
"""Orientation of Exif -> how the picture is to be turned. Source: CIPA DC-008, 4.6.4."""


def jpegs(count: int, orientation: int) -> list[bytes]:
    """Pictures as a camera writes them, each with an Exif header."""
    encoder = av.CodecContext.create("mjpeg", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 96, 64, "yuvj420p", Fraction(1, 10)
    packets = []
    for number in range(count):
        frame = picture(number, 96, 64).reformat(format="yuvj420p")
        frame.pts = number
        packets += encoder.encode(frame)
    tiff = struct.pack("<2sHIHHHIHHI", b"II", 42, 8, 1, 0x112, 3, 1, orientation, 0, 0)
    exif = b"\xff\xe1" + struct.pack(">H", 8 + len(tiff)) + b"Exif\0\0" + tiff
    return [bytes(packet)[:2] + exif + bytes(packet)[2:] for packet in packets + encoder.encode(None)]


@pytest.mark.parametrize("orientation", TURNED)
def test_motion_jpeg_with_exif_headers(orientation: int, tmp_path: Path) -> None:
    path = tmp_path / "clip.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuvj420p"
        for number, data in enumerate(jpegs(10, orientation)):
            packet = av.Packet(data)
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, number, number, Fraction(1, 10)
            packet.is_keyframe = True
            container.mux(packet)
    with av.open(str(path)) as container, pytest.raises(ValueError, match="is not a valid Type"):
        # What makes this worth a test: PyAV does not know Exif beside a frame.
        _ = next(container.decode(video=0)).side_data
    track = probe_source(path, "0" * 64).video
    assert track is not None
    assert (track.codec, track.frames, track.width, track.height) == ("mjpeg", 10, 96, 64)
    assert (track.rotation, track.mirrored) == TURNED[orientation]
