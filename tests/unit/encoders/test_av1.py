"""AV1 sequence headers as av1C, names, temporal units as samples."""

from __future__ import annotations

import pytest

from encoders.av1 import (
    av1_codec,
    read_sequence_header,
    sample_of,
    sequence_headers,
    split_obus,
    starts_with_key_frame,
)
from encoders.boxes import find_box

# By SVT-AV1 4.1 for 640x360: temporal delimiter, sequence header, the beginning of a key frame.
HEADER = bytes.fromhex("0a0e0000000cc4ff6712be4404040410")
DELIMITER = b"\x12\0"
KEY = b"\x32\x03\x10\0\x80"
INTER = b"\x32\x03\x30\0\x80"
SHOWN_AGAIN = b"\x1a\x01\xa0"


def test_the_sequence_header_names_the_codec() -> None:
    header = read_sequence_header(DELIMITER + HEADER + KEY)
    assert header.unit == HEADER
    assert header.codec == "av01.0.01M.08"
    assert (header.profile, header.level, header.tier, header.bits) == (0, 1, 0, 8)
    assert (header.monochrome, header.subsampled) == (False, (1, 1))


def test_the_configuration_box_holds_it() -> None:
    box = read_sequence_header(HEADER).configuration
    assert box[find_box(box, "av1C").body :] == bytes((0x81, 0x01, 0x0C, 0)) + HEADER


@pytest.mark.parametrize(
    ("fixed", "name"),
    [("81090c00", "av01.0.09M.08"), ("810dcc00", "av01.0.13H.10"), ("8148ec00", "av01.2.08H.12")],
)
def test_names(fixed: str, name: str) -> None:
    assert av1_codec(bytes.fromhex(fixed)) == name


def test_samples_have_no_delimiter_and_keep_the_sequence_header() -> None:
    padding = b"\x7a\x02\0\x80"
    assert sample_of(DELIMITER + HEADER + KEY + padding) == HEADER + KEY
    assert sequence_headers(HEADER + KEY) == (HEADER,)
    assert sequence_headers(INTER) == ()


def test_only_a_shown_key_frame_behind_its_header_is_a_start() -> None:
    assert starts_with_key_frame(HEADER + KEY)
    assert starts_with_key_frame(HEADER + KEY[:4]), "a piece is enough"
    hidden = b"\x32\x03\x00\0\x80"
    for sample in (KEY, HEADER + INTER, HEADER + SHOWN_AGAIN, HEADER + hidden, HEADER, b""):
        assert not starts_with_key_frame(sample)


@pytest.mark.parametrize("stream", [b"\x0a\x0e\0", b"\x0a", b"\x0a\xff\xff\xff\xff\xff\xff"])
def test_cut_units_are_refused(stream: bytes) -> None:
    with pytest.raises(ValueError, match="OBU"):
        list(split_obus(stream))


def test_a_stream_without_a_sequence_header_is_refused() -> None:
    with pytest.raises(ValueError, match="no sequence header"):
        read_sequence_header(DELIMITER + KEY)
    with pytest.raises(ValueError, match="left"):
        read_sequence_header(b"\x0a\x04" + HEADER[2:6])


def test_timing_and_several_operating_points_are_read_past() -> None:
    # profile 0, not still, not reduced; timing with equal intervals, a decoder model, a display delay, two points
    bits = "000" + "0" + "0"
    bits += "1" + f"{1:032b}{30:032b}" + "1" + "1"
    bits += "1" + f"{9:05b}" + f"{1:032b}" + f"{9:05b}{9:05b}"
    bits += "1" + f"{1:05b}"
    bits += f"{0:012b}" + f"{9:05b}" + "1" + "1" + "0" * 20 + "0" + "1" + "0101"
    bits += f"{0:012b}" + f"{4:05b}" + "0" + "0"
    bits += f"{9:04b}{9:04b}" + f"{639:010b}{359:010b}" + "0" + "000" + "0000" + "0" + "0" + "1" + "1" + "000"
    bits += "1" + "0" + "1" + f"{1:08b}{1:08b}{1:08b}" + "0" + "10" + "0"
    body = int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")
    header = read_sequence_header(bytes((0x0A, len(body))) + body)
    assert (header.level, header.tier, header.bits, header.position) == (9, 1, 10, 2)
    assert header.codec == "av01.0.09H.10"
