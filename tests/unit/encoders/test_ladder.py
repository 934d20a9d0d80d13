"""Ladders: each source gets the rungs that it fills, in its own shape, and nothing is scaled up."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from described_sources import video
from hypothesis import given
from hypothesis import strategies as st

from encoders.ladder import LONGEST_SIDE, Profile, Rendition, Rung, VideoSettings, plan_ladder
from encoders.profiles.load import load_profile

DEFAULT = load_profile("default")


def ladder(width: int, height: int, **changes: object) -> tuple[Rendition, ...]:
    return plan_ladder(video(width=width, height=height, **changes), DEFAULT)


def sizes(renditions: tuple[Rendition, ...]) -> list[tuple[str, int, int]]:
    return [(rendition.name, rendition.width, rendition.height) for rendition in renditions]


@pytest.mark.parametrize(
    ("source", "largest", "count"),
    [
        ((1920, 1080), ("1080p", 1920, 1080), 6),
        ((3840, 2160), ("1080p", 1920, 1080), 6),
        ((1080, 1920), ("1080p", 1080, 1920), 6),
        ((1280, 720), ("720p", 1280, 720), 5),
        ((960, 540), ("540p", 960, 540), 5),
        ((854, 500), ("480p", 820, 480), 4),
        ((1668, 1080), ("1080p", 1668, 1080), 6),
        ((320, 240), ("240p", 320, 240), 2),
        ((100, 75), ("75p", 100, 74), 1),
        ((10, 5), ("5p", 10, 4), 1),
        ((1, 1), ("1p", 2, 2), 1),
        ((1169, 556), ("556p", 1168, 556), 5),
    ],
)
def test_a_source_gets_the_rungs_that_it_fills(
    source: tuple[int, int], largest: tuple[str, int, int], count: int
) -> None:
    got = sizes(ladder(*source))
    assert got[-1] == largest
    assert len(got) == count


def test_rotation_and_sample_aspect_shape_the_rungs() -> None:
    assert sizes(ladder(1920, 1080, rotation=90))[-1] == ("1080p", 1080, 1920)
    assert sizes(ladder(720, 576, sar=Fraction(64, 45)))[-1] == ("405p", 720, 404)
    assert sizes(ladder(640, 360, sar=Fraction(2, 3)))[-1] == ("360p", 426, 360)


def test_a_shape_that_is_square_to_the_pixel_is_left_alone() -> None:
    assert sizes(ladder(1168, 556, sar=Fraction(1169, 1168)))[-1] == ("556p", 1168, 556)


def test_a_long_strip_stays_within_what_devices_decode() -> None:
    got = sizes(ladder(9841, 705))
    assert max(wide for _, wide, _ in got) == LONGEST_SIDE
    assert len({(wide, tall) for _, wide, tall in got}) == len(got)
    assert sizes(ladder(16_000, 100))[-1][1:] == (4096, 26)


@given(st.integers(1, 9000), st.integers(1, 9000), st.sampled_from([0, 90]))
def test_sizes_are_even_rising_and_never_above_the_source(width: int, height: int, rotation: int) -> None:
    got = ladder(width, height, rotation=rotation)
    wide, tall = (height, width) if rotation else (width, height)
    assert got
    assert any(rendition.mp4 for rendition in got)
    for rendition in got:
        assert rendition.width % 2 == rendition.height % 2 == 0
        assert rendition.width <= max(2, wide)
        assert rendition.height <= max(2, tall)
        # The source's shape, within the pixel that evenness costs each way.
        assert abs(rendition.width * tall - rendition.height * wide) <= 2 * max(wide, tall) + 2 * max(wide, tall)
    areas = [rendition.width * rendition.height for rendition in got]
    assert areas == sorted(set(areas))


def test_the_profiles_mp4s_are_made_or_else_the_largest() -> None:
    assert [rendition.name for rendition in ladder(1920, 1080) if rendition.mp4] == ["360p", "720p"]
    assert [rendition.name for rendition in ladder(320, 240) if rendition.mp4] == ["240p"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"short_side": 241}, "even"),
        ({"short_side": 0}, "even"),
        ({"bufsize_bits": 2_000_001}, "bufsize_bits"),
        ({"bufsize_bits": 0}, "bufsize_bits"),
    ],
)
def test_rungs_refuse_nonsense(changes: dict[str, int], words: str) -> None:
    rung = Rung(name="240p", short_side=240, crf=23, maxrate_bps=1_000_000, bufsize_bits=1_000_000)
    with pytest.raises(ValueError, match=words):
        replace(rung, **changes)


def test_profiles_and_settings_refuse_nonsense() -> None:
    with pytest.raises(ValueError, match="small to large"):
        Profile(name="x", description="", rungs=DEFAULT.rungs[::-1])
    with pytest.raises(ValueError, match="small to large"):
        Profile(name="x", description="", rungs=())
    with pytest.raises(ValueError, match="gop_s"):
        VideoSettings(gop_s=5.0, media_segment_s=4.0)
    with pytest.raises(ValueError, match="max_fps"):
        VideoSettings(max_fps=0)
