"""NAL units between an encoder's byte stream and MP4's samples."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoders.nal import avc_configuration, parameter_sets, sample_of, split_units, starts_with_idr

SPS, PPS = bytes.fromhex("6764001fac"), bytes.fromhex("68ebe3cb")
# Emulation prevention (H.264 7.4.1) keeps start codes and trailing zeros out of units.
UNITS = st.lists(
    st.binary(min_size=1, max_size=60).map(lambda unit: unit.replace(b"\0", b"\7") + b"\x80"), min_size=1, max_size=8
)


@given(UNITS, st.booleans())
def test_units_are_split_at_short_and_long_start_codes(units: list[bytes], long: bool) -> None:
    code = b"\0\0\0\1" if long else b"\0\0\1"
    assert list(split_units(b"".join(code + unit for unit in units))) == units


def test_parameter_sets_name_the_codec() -> None:
    sets = parameter_sets(b"\0\0\0\1" + SPS + b"\0\0\0\1" + PPS + b"\0\0\1\6\5abc")
    assert (sets.sps, sets.pps) == ((SPS,), (PPS,))
    assert sets.codec == "avc1.64001f"
    configuration = avc_configuration(sets)
    assert configuration[:4] == b"\1\x64\0\x1f"
    assert configuration[4:6] == b"\xff\xe1"
    assert struct.pack(">H", len(SPS)) + SPS + b"\1" + struct.pack(">H", len(PPS)) + PPS in configuration
    assert configuration[-4:] == b"\xfd\xf8\xf8\0"


def test_baseline_has_no_extension_in_its_configuration() -> None:
    sets = parameter_sets(b"\0\0\1\x67\x42\xc0\x1f\xac\0\0\1" + PPS)
    assert avc_configuration(sets).endswith(PPS)
    assert sets.codec == "avc1.42c01f"


@pytest.mark.parametrize("extradata", [b"", b"\0\0\1" + SPS, b"\0\0\1" + PPS])
def test_missing_parameter_sets_are_refused(extradata: bytes) -> None:
    with pytest.raises(ValueError, match="at least one"):
        parameter_sets(extradata)


def test_a_sample_keeps_slices_and_drops_what_boxes_say() -> None:
    idr, timing, text = b"\x65idr", b"\6\1timing", b"\6\5x264 - core"
    picture = b"".join(b"\0\0\0\1" + unit for unit in (b"\x09\xf0", SPS, PPS, text, timing, idr))
    sample = sample_of(picture)
    assert sample == struct.pack(">I", len(timing)) + timing + struct.pack(">I", len(idr)) + idr
    assert starts_with_idr(sample)


def test_other_pictures_are_no_idr() -> None:
    assert not starts_with_idr(sample_of(b"\0\0\1\x41abc"))
    assert not starts_with_idr(sample_of(b"\0\0\1\6\1abc\0\0\1\1b"))
    assert not starts_with_idr(b"")
