"""Certain signs of damage in messages and in the syntax of packets; what sound files may hold is none."""

from __future__ import annotations

import pytest

from encoders.signs import breaks_syntax, has_checksum, is_referred_to, length_size, means_damage, temporal_layer

AVCC = bytes((1, 100, 0, 31, 0xFF, 0xE1))
HVCC = bytes((1, *bytes(20), 0xFF, 1))


def with_lengths(*units: bytes) -> bytes:
    return b"".join(len(unit).to_bytes(4, "big") + unit for unit in units)


def with_start_codes(*units: bytes) -> bytes:
    return b"".join(b"\0\0\0\1" + unit for unit in units)


@pytest.mark.parametrize(
    ("name", "text", "damage"),
    [
        ("hevc", "Verifying checksum for frame with POC 2: mismatching checksum of plane 0 - 12 != 13\n", True),
        ("hevc", "Skipping invalid undecodable NALU: 1\n", True),
        ("hevc", "Skipping invalid undecodable NALU: 39\n", False),
        ("hevc", "Multiple Dolby Vision RPUs found in one AU. Skipping previous.\n", False),
        ("ffv1", "slice CRC mismatch 6CEE1A22!", True),
        ("mjpeg", "overread 8\n", True),
        ("mjpeg", "EOI missing, emulating\n", False),
        ("wmv2", "dc overflow- block: 0 qscale: 5//\n", True),
        ("wmv2", "ignoring overflow at 3 4\n", False),
        ("h264", "mmco: unref short failure\n", False),
        ("mov,mp4,m4a,3gp,3g2,mj2", "overread 8\n", False),
    ],
)
def test_only_what_is_said_of_broken_data_counts(name: str, text: str, damage: bool) -> None:
    assert means_damage([(24, "swscaler", "overread 8"), (16, name, text)]) is damage


def test_the_length_before_units_is_read_from_the_configuration() -> None:
    assert (length_size("h264", AVCC), length_size("hevc", HVCC)) == (4, 4)
    assert length_size("h264", b"\0\0\0\1\x67") == length_size("hevc", b"") == length_size("vp9", AVCC) == 0


@pytest.mark.parametrize("codec", ["h264", "hevc"])
@pytest.mark.parametrize("wrap", [with_lengths, with_start_codes])
def test_zeros_in_a_slice_break_the_syntax(codec: str, wrap: object) -> None:
    assert callable(wrap)
    size = 4 if wrap is with_lengths else 0
    slice_, sei = (b"\x65", b"\x06") if codec == "h264" else (b"\x02\1", b"\x4e\1")
    sound = wrap(sei + b"\5\0\0\3\0\x80", slice_ + b"\x9a\0\0\3\1\x77\0\0\3")
    assert not breaks_syntax(codec, sound, size)
    assert not breaks_syntax(codec, sound + bytes(9), size)  # padding
    assert breaks_syntax(codec, wrap(slice_ + b"\x9a\0\0\2\x77"), size)
    assert breaks_syntax(codec, wrap(slice_ + b"\x9a\0\0\3\4\x77"), size)
    assert breaks_syntax(codec, wrap(slice_ + b"\x9a" + bytes(188) + b"\x77"), size)


def test_user_data_may_lack_what_prevents_start_codes() -> None:
    assert not breaks_syntax("h264", with_lengths(b"\x06\5\0\0\0\7", b"\x41\x9a\x80"), 4)


def test_units_with_start_codes_behind_one_with_a_length_are_read_as_decoders_do() -> None:
    mixed = with_lengths(b"\x06\5\x80", b"\x41\x9a\x80" + with_start_codes(b"\x09\x30", b"\x41\x9b\x80"))
    assert not breaks_syntax("h264", mixed, 4)
    assert breaks_syntax("h264", with_lengths(b"\x41\x9a\x80" + with_start_codes(b"\x41\x9b\0\0\2\x80")), 4)


def test_lengths_must_add_up() -> None:
    sound = with_lengths(b"\x65\x88\x80", b"\x41\x9a\x80")
    assert breaks_syntax("h264", sound[:-1], 4)
    assert breaks_syntax("hevc", b"\0\0\0\3\2\1\x80\7\7", 4)
    assert not breaks_syntax("vp9", b"\0\0\0", 4)


@pytest.mark.parametrize(
    ("codec", "data", "size", "referred"),
    [
        ("h264", with_lengths(b"\x06\5\x80", b"\x61\x9a"), 4, True),
        ("h264", with_lengths(b"\x06\5\x80", b"\x01\x9a"), 4, False),
        ("hevc", with_start_codes(b"\x02\1\x80"), 0, True),
        ("hevc", with_start_codes(b"\x00\1\x80"), 0, False),
        ("hevc", with_start_codes(b"\x26\1\x80"), 0, True),
        ("mpeg2video", b"\0\0\1\0\0\x18\xff\xff", 0, False),
        ("mpeg2video", b"\0\0\1\0\0\x10\xff\xff", 0, True),
        ("mpeg4", b"\0\0\1\xb6\x90", 0, False),
        ("mpeg4", b"\0\0\1\xb6\x50", 0, True),
        ("vp9", b"\x86", 0, True),
    ],
)
def test_pictures_that_nothing_refers_to_are_known(codec: str, data: bytes, size: int, referred: bool) -> None:
    assert is_referred_to(codec, data, size) is referred


def test_a_picture_may_carry_a_checksum_of_itself() -> None:
    slice_, hashed, other = b"\x02\1\x80", b"\x50\1\x84\x13\2", b"\x50\1\x05\1\x80"
    assert has_checksum("hevc", with_lengths(slice_, hashed), 4)
    assert has_checksum("hevc", with_start_codes(slice_, hashed), 0)
    assert not has_checksum("hevc", with_lengths(slice_, other), 4)
    assert not has_checksum("h264", with_lengths(slice_, hashed), 4)


def test_temporal_layers_are_read_from_the_first_slice() -> None:
    assert temporal_layer("hevc", with_lengths(b"\x4e\1\5", b"\x02\3\x80"), 4) == 2
    assert temporal_layer("vvc", with_start_codes(b"\0\x79\5", b"\0\x04\x80"), 0) == 3
    assert temporal_layer("h264", with_lengths(b"\x41\7"), 4) == 0
    assert temporal_layer("hevc", b"", 4) == 0
    assert length_size("vvc", bytes((0xFF, 0, 0x65, 0x5F))) == 4
    assert length_size("vvc", b"\0\0\0\1") == length_size("vvc", b"\0\0\1\0") == 0
