"""Which filters a frame gets: none where it already is what renditions hold, the right conversion where it is not."""

from __future__ import annotations

from fractions import Fraction

import pytest
from described_sources import video

from encoders.ladder import Rendition
from encoders.media import Colour, ColourRange
from encoders.picture import FrameShape, Matrix, convert_steps, guess_matrix, plan_picture, read_light, read_matrix
from encoders.tonemap import Light

HD = Colour(primaries=1, transfer=1, matrix=1)


def shape(width: int = 1920, height: int = 1080, form: str = "yuv420p", colour: Colour = HD) -> FrameShape:
    return FrameShape(width=width, height=height, format=form, colour=colour)


def rendition(width: int, height: int) -> Rendition:
    return Rendition(
        name=f"{height}p", width=width, height=height, crf=23, maxrate_bps=10**6, bufsize_bits=10**6, mp4=False
    )


LADDER = (rendition(640, 360), rendition(1280, 720), rendition(1920, 1080))


def test_high_definition_passes_untouched_and_the_rest_is_a_cascade() -> None:
    chain = plan_picture(shape(), video(), LADDER)
    assert chain.head == ()
    assert [step.arguments.split(":flags")[0] for step in chain.cascade] == ["1280:720", "640:360"]
    assert chain.light is None


@pytest.mark.parametrize(
    ("changed", "matrix", "code_range"),
    [
        ({"colour": Colour(matrix=6)}, "smpte170m", "tv"),
        ({"colour": Colour(matrix=5)}, "bt470bg", "tv"),
        ({"colour": Colour(matrix=9, primaries=1)}, "bt2020nc", "tv"),
        ({"colour": Colour(matrix=1, range=ColourRange.FULL)}, "bt709", "pc"),
        ({"form": "yuvj420p"}, "bt709", "pc"),
        ({"form": "uyvy422", "colour": Colour(matrix=6)}, "smpte170m", "tv"),
        ({"width": 720, "height": 576, "colour": Colour()}, "smpte170m", "tv"),
    ],
)
def test_other_matrices_and_ranges_are_recoded_once_the_size_is_right(
    changed: dict[str, object], matrix: str, code_range: str
) -> None:
    steps = convert_steps(shape(**changed), 640, 360)  # type: ignore[arg-type]
    assert [step.filter for step in steps] == ["scale", "format", "colorspace"]
    scaled = dict(part.split("=") for part in steps[0].arguments.split(":")[3:])
    # What is scaled stays as it is coded: the scaler's way to another matrix leads through RGB, which cuts off.
    assert scaled["in_range"] == scaled["out_range"] == {"tv": "limited", "pc": "full"}[code_range]
    assert scaled["in_color_matrix"] == scaled["out_color_matrix"]
    for word in (f"ispace={matrix}", f"irange={code_range}", "all=bt709", "range=tv"):
        assert word in steps[2].arguments.split(":")


def test_of_the_right_size_a_picture_is_only_recoded() -> None:
    assert [step.filter for step in convert_steps(shape(640, 360, colour=Colour()), 640, 360)] == ["colorspace"]
    assert [step.filter for step in convert_steps(shape(641, 361, colour=Colour()), 640, 360)] == ["crop", "colorspace"]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"form": "yuv422p10le"}, ["in_color_matrix=bt709", "in_range=limited", "out_range=limited"]),
        ({"form": "gbrp", "colour": Colour(matrix=0)}, ["in_range=full", "out_range=limited"]),
        ({"form": "gray", "colour": Colour(range=ColourRange.FULL)}, ["in_range=full", "out_range=limited"]),
    ],
)
def test_other_formats_are_only_scaled(changed: dict[str, object], words: list[str]) -> None:
    steps = convert_steps(shape(**changed), 640, 360)  # type: ignore[arg-type]
    assert [step.filter for step in steps] == ["scale", "format"]
    assert steps[1].arguments == "yuv420p"
    for word in [*words, "out_color_matrix=bt709"]:
        assert word in steps[0].arguments.split(":")


def test_rgb_has_no_matrix_to_read() -> None:
    for form in ("rgb24", "gbrp10le", "bgra", "pal8"):
        assert read_matrix(shape(form=form)) is Matrix.RGB
        assert "in_color_matrix" not in convert_steps(shape(form=form), 640, 360)[0].arguments


@pytest.mark.parametrize(
    ("size", "matrix"),
    [
        ((1920, 1080), Matrix.BT709),
        ((1280, 534), Matrix.BT709),
        ((720, 1280), Matrix.BT709),
        ((720, 576), Matrix.SMPTE170M),
        ((640, 360), Matrix.SMPTE170M),
    ],
)
def test_untagged_samples_are_read_as_players_do(size: tuple[int, int], matrix: Matrix) -> None:
    assert guess_matrix(*size) is matrix
    for code in (2, 3, 99):
        assert read_matrix(shape(*size, colour=Colour(matrix=code))) is matrix


def test_an_odd_line_is_cut_off_instead_of_scaled() -> None:
    steps = convert_steps(shape(1169, 557), 1168, 556)
    assert [(step.filter, step.arguments) for step in steps] == [("crop", "1168:556:0:0:exact=1")]
    steps = convert_steps(shape(1169, 556, form="yuv444p"), 1168, 556)
    assert [step.filter for step in steps] == ["crop", "scale", "format"]
    assert [step.filter for step in convert_steps(shape(1170, 556), 1168, 556)] == ["scale", "format"]
    assert [step.filter for step in convert_steps(shape(1, 1, "gray"), 2, 2)] == ["scale", "format"]


@pytest.mark.parametrize(
    ("rotation", "mirrored", "filters"),
    [
        (0, False, []),
        (90, False, ["transpose=clock"]),
        (180, False, ["hflip=", "vflip="]),
        (270, False, ["transpose=cclock"]),
        (0, True, ["hflip="]),
        (270, True, ["hflip=", "transpose=cclock"]),
    ],
)
def test_pictures_are_turned_upright(rotation: int, mirrored: bool, filters: list[str]) -> None:
    turned = rotation in (90, 270)
    ladder = (rendition(360, 640), rendition(1080, 1920)) if turned else (rendition(640, 360), rendition(1920, 1080))
    chain = plan_picture(shape(), video(rotation=rotation, mirrored=mirrored), ladder)
    assert [f"{step.filter}={step.arguments}" for step in chain.head] == filters


def test_a_turned_picture_is_scaled_before_it_is_turned() -> None:
    chain = plan_picture(shape(3840, 2160), video(rotation=90), (rendition(1080, 1920),))
    assert [step.filter for step in chain.head] == ["scale", "format", "transpose"]
    assert chain.head[0].arguments.startswith("1920:1080:")


@pytest.mark.parametrize(
    ("colour", "light"),
    [
        (Colour(primaries=9, transfer=16, matrix=9), Light.PQ),
        (Colour(primaries=9, transfer=18, matrix=9), Light.HLG),
        (Colour(primaries=9, transfer=14, matrix=9), Light.WIDE),
        (Colour(primaries=12, transfer=1, matrix=1), Light.P3),
        (Colour(primaries=6, transfer=6, matrix=6), None),
        (Colour(), None),
    ],
)
def test_light_that_is_not_bt709s_goes_through_the_table(colour: Colour, light: Light | None) -> None:
    assert read_light(shape(colour=colour)) is light
    steps = convert_steps(shape(form="yuv420p10le", colour=colour), 1280, 720)
    assert ("haldclut" in [step.filter for step in steps]) is (light is not None)
    assert steps[-1].arguments.endswith("yuv420p")


def test_sample_aspect_is_squared_by_the_renditions_size() -> None:
    chain = plan_picture(shape(720, 576), video(width=720, height=576, sar=Fraction(16, 11)), (rendition(720, 396),))
    assert chain.head[0].arguments.startswith("720:396:")
