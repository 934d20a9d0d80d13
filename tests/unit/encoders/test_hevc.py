"""HEVC parameter sets as hvcC, names, samples."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from encoders.boxes import find_box
from encoders.hevc import hevc_codec, parameter_sets, read_sps, sample_of, starts_with_idr
from encoders.hevc_level import choose_hevc_level

# By x265 4.2 for 640x360 at 30 frames a second.
EXTRADATA = bytes.fromhex(
    "0000000140010c01ffff01600000030090000003000003003f959809"
    "00000001420101016000000300900000030000" + "03003fa00502016965959a4932b9a808080820000003002000000303c1"
    "000000014401c172b42240"
)
IDR = b"\x28\x01\xaf\x19\x80"
TRAIL = b"\x02\x01\xd0\x09\x80"


def test_parameter_sets_name_the_codec() -> None:
    sets = parameter_sets(EXTRADATA)
    assert [len(sets.vps), len(sets.sps), len(sets.pps)] == [1, 1, 1]
    assert sets.codec == "hvc1.1.6.L63.90"
    said = read_sps(sets.sps[0])
    assert (said.chroma, said.luma_bits, said.chroma_bits, said.temporal_layers, said.nested) == (1, 8, 8, 1, True)


def test_the_configuration_box_holds_them_all() -> None:
    sets = parameter_sets(EXTRADATA)
    body = sets.configuration[find_box(sets.configuration, "hvcC").body :]
    assert body[0] == 1
    assert body[1:13] == read_sps(sets.sps[0]).general
    assert body[13:23] == bytes.fromhex("f000fcfdf8f800000f03")
    for unit in sets.units:
        assert len(unit).to_bytes(2, "big") + unit in body[23:]
    assert [body[23] & 63, body[23] >> 7] == [32, 1], "complete: none in the samples"


@pytest.mark.parametrize(
    ("general", "name"),
    [
        ("0160000000b0000000000078", "hvc1.1.6.L120.B0"),
        ("2220000000b000000000005d", "hvc1.2.4.H93.B0"),
        ("010000000000000000000000", "hvc1.1.0.L0"),
    ],
)
def test_names(general: str, name: str) -> None:
    assert hevc_codec(bytes.fromhex(general)) == name


@pytest.mark.parametrize("extradata", [b"", EXTRADATA[:60], EXTRADATA[28:]])
def test_missing_parameter_sets_are_refused(extradata: bytes) -> None:
    with pytest.raises(ValueError, match="want at least one of each"):
        parameter_sets(extradata)


def test_a_cut_sps_is_refused() -> None:
    sets = parameter_sets(EXTRADATA)
    for length in (10, 18):
        with pytest.raises(ValueError, match=r"SPS|left"):
            assert replace(sets, sps=(sets.sps[0][:length],)).configuration


def test_samples_have_lengths_and_no_parameter_sets() -> None:
    said = b"\x4e\x01\x05\x04abcd\x80"
    other = b"\x4e\x01\x06\x01\x10\x80"
    sample = sample_of(EXTRADATA + b"\0\0\1" + said + b"\0\0\1" + other + b"\0\0\0\1" + IDR + b"\0\0\1")
    assert sample == b"\0\0\0\x06" + other + b"\0\0\0\5" + IDR
    assert starts_with_idr(sample)


def test_other_pictures_are_no_start() -> None:
    assert not starts_with_idr(sample_of(b"\0\0\1" + TRAIL))
    assert not starts_with_idr(sample_of(b"\0\0\1\x2a\x01\xaf\x19\x80")), (
        "CRA: pictures before it may refer further back"
    )
    assert not starts_with_idr(b"")


@pytest.mark.parametrize(
    ("size", "fps", "maxrate", "bufsize", "level"),
    [
        ((256, 144), 30, 200_000, 300_000, 60),
        ((176, 144), 15, 100_000, 150_000, 30),
        ((640, 360), 30, 600_000, 900_000, 63),
        ((1280, 720), 30, 2_000_000, 3_000_000, 93),
        ((1280, 720), 60, 2_000_000, 3_000_000, 120),
        ((1920, 1080), 30, 4_000_000, 6_000_000, 120),
        ((1920, 1080), 60, 4_000_000, 6_000_000, 123),
        ((1080, 1920), 30, 30_000_000, 30_000_000, 153),
        ((4096, 26), 30, 1_000_000, 1_000_000, 120),
        ((16_000, 16_000), 30, 1_000_000, 1_000_000, 186),
    ],
)
def test_levels(size: tuple[int, int], fps: int, maxrate: int, bufsize: int, level: int) -> None:
    assert choose_hevc_level(*size, Fraction(fps), maxrate, bufsize) == level
