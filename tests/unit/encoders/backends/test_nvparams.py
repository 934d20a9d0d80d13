"""The builder passes only arguments that do what they say."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from encoders.backends.nverrors import BadConfiguration
from encoders.backends.nvparams import (
    EncoderSpec,
    NvCodec,
    Speed,
    check_kwargs,
    encoder_kwargs,
    plan_encoder,
    speed_of,
)
from encoders.ladder import Rendition
from encoders.plan import Grid
from encoders.tuning import PRESETS

SPEC = EncoderSpec(
    codec=NvCodec.H264,
    width=1280,
    height=720,
    fps=Fraction(30000, 1001),
    gop_frames=60,
    cq=23,
    maxrate_bps=4_000_000,
    bufsize_bits=8_000_000,
    speed=Speed.BALANCED,
)


def test_balanced_h264() -> None:
    assert encoder_kwargs(SPEC) == {
        "codec": "h264",
        "preset": "P5",
        "tuning_info": "high_quality",
        "rc": "vbr",
        "cq": 23,
        "maxbitrate": 4_000_000,
        "vbvbufsize": 8_000_000,
        "vbvinit": 4_800_000,
        "fps": "30000/1001",
        "gop": 60,
        "idrperiod": 60,
        "bf": 3,
        "lookahead": 0,
        "multipass": "qres",
        "aq": 8,
    }


def test_fast_leaves_out_what_cannot_be_switched_off_by_a_value() -> None:
    kwargs = encoder_kwargs(replace(SPEC, speed=Speed.FAST))

    assert kwargs["preset"] == "P3"
    assert "multipass" not in kwargs
    assert "aq" not in kwargs, "aq=0 would switch it on with automatic strength"


def test_best_is_two_full_passes() -> None:
    kwargs = encoder_kwargs(replace(SPEC, speed=Speed.BEST))

    assert (kwargs["preset"], kwargs["multipass"]) == ("P7", "fullres")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("profile", "high"),
        ("b_ref_mode", 2),
        ("qmin", 10),
        ("temporalaq", 0),
        ("colorspace", "bt709"),
        ("preset", "p4"),
        ("tuning_info", "hq"),
        ("bitrate", "5M"),
        ("fps", "29.97"),
        ("aq", 0),
        ("cq", 0),
        ("bf", True),
        ("codec", "H264"),
        ("lookahead", 32),
    ],
)
def test_what_the_library_ignores_or_misreads_is_refused(name: str, value: str | int) -> None:
    with pytest.raises(BadConfiguration, match=name):
        check_kwargs({name: value})


@pytest.mark.parametrize(
    ("preset", "speed"),
    [("ultrafast", Speed.FAST), ("veryfast", Speed.FAST), ("medium", Speed.BALANCED), ("slower", Speed.BEST)],
)
def test_presets_fall_in_three_classes(preset: str, speed: Speed) -> None:
    assert speed_of(preset) is speed


def test_whatever_a_profile_may_name_has_a_speed() -> None:
    assert {speed_of(preset) for preset in PRESETS} == set(Speed)


def test_an_unknown_preset_is_refused() -> None:
    with pytest.raises(BadConfiguration, match="placebo"):
        speed_of("placebo")


def test_a_rendition_gets_its_cap_and_the_grid() -> None:
    rendition = Rendition(
        name="360p", width=640, height=360, crf=22.6, maxrate_bps=900_000, bufsize_bits=1_800_000, mp4=False
    )
    grid = Grid(fps=Fraction(25), frames=100, origin_s=Fraction(0), gop_frames=50, media_segment_frames=100)

    spec = plan_encoder(rendition, grid, "veryfast", b_frames=0)

    assert (spec.width, spec.height, spec.cq, spec.gop_frames, spec.b_frames) == (640, 360, 23, 50, 0)
    assert spec.vbv_initial_bits == 1_080_000


@pytest.mark.parametrize(
    "wrong",
    [{"width": 641}, {"height": 0}, {"cq": 52}, {"gop_frames": 0}, {"b_frames": 4}, {"fps": Fraction(0)}],
)
def test_a_spec_checks_itself(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError):
        replace(SPEC, **wrong)  # type: ignore[arg-type]


def test_a_codec_s_own_bounds_hold() -> None:
    assert replace(SPEC, codec=NvCodec.AV1, cq=60).cq == 60
    with pytest.raises(ValueError, match="outside"):
        replace(SPEC, codec=NvCodec.HEVC, cq=60)
    assert replace(SPEC, codec=NvCodec.AV1).reorder_frames == 0, "an AV1 temporal unit shows one picture"
    assert encoder_kwargs(replace(SPEC, codec=NvCodec.HEVC))["codec"] == "hevc"
