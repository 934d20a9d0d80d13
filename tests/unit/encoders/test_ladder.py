"""Ladders: each source gets the rungs that it fills, in its own shape, and nothing is scaled up."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from described_sources import video
from hypothesis import given
from hypothesis import strategies as st

from encoders.ladder import LONGEST_SIDE, Codec, Profile, Rendition, Rung, VideoSettings, plan_ladder
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
        ({"crf": 52}, "crf"),
        ({"crf": 0}, "crf"),
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


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ((320, 240), ["240p"]),
        ((100, 76), ["76p"]),
        ((640, 360), ["240p", "360p", "360p-hevc", "360p-av1"]),
        ((960, 540), ["240p", "360p", "360p-hevc", "360p-av1", "480p", "540p", "540p-hevc", "540p-av1"]),
        ((1778, 1000), ["480p", "720p", "720p-hevc", "720p-av1", "1000p-hevc", "1000p-av1"]),
        ((1920, 1080), ["480p", "720p", "720p-hevc", "720p-av1", "1080p-hevc", "1080p-av1"]),
    ],
)
def test_each_codec_has_a_ladder_of_its_own(source: tuple[int, int], names: list[str]) -> None:
    got = plan_ladder(video(width=source[0], height=source[1]), load_profile("efficient"))
    assert [rendition.name for rendition in got][-len(names) :] == names
    for rendition in got:
        suffix = rendition.name.partition("-")[2]
        assert rendition.codec == (suffix or "h264")
    assert {rendition.codec for rendition in got if rendition.mp4} == {Codec.H264}


def test_a_codec_without_a_rung_that_fits_still_makes_the_best_picture() -> None:
    small, large = DEFAULT.rungs[0], replace(DEFAULT.rungs[-1], codec=Codec.AV1)
    got = plan_ladder(video(width=1600, height=900), Profile(name="x", description="", rungs=(small, large)))
    assert [(each.name, each.codec, each.mp4) for each in got] == [("144p", "h264", True), ("900p-av1", "av1", False)]


def test_a_profile_without_h264_gives_its_mp4_in_what_it_has() -> None:
    rung = replace(DEFAULT.rungs[0], codec=Codec.HEVC)
    got = plan_ladder(video(width=192, height=108), Profile(name="x", description="", rungs=(rung,)))
    assert [(each.name, each.codec, each.mp4) for each in got] == [("108p-hevc", "hevc", True)]


def test_sizes_may_recur_in_another_codec_under_another_name() -> None:
    first, second = DEFAULT.rungs[0], replace(DEFAULT.rungs[0], codec=Codec.AV1)
    with pytest.raises(ValueError, match="same name"):
        Profile(name="x", description="", rungs=(first, second))
    profile = Profile(name="x", description="", rungs=(first, replace(second, name="144p-av1")))
    assert profile.codecs == (Codec.H264, Codec.AV1)
    with pytest.raises(ValueError, match="once for each codec"):
        Profile(name="x", description="", rungs=(first, replace(first, name="again")))


def test_what_is_too_small_for_a_codec_is_made_in_h264() -> None:
    rungs = tuple(
        replace(DEFAULT.rungs[0], name=f"144p-{codec}", codec=codec, crf=crf)
        for codec, crf in ((Codec.HEVC, 24), (Codec.AV1, 60))
    )
    got = plan_ladder(video(width=10, height=5), Profile(name="x", description="", rungs=rungs))
    assert [(each.width, each.height, each.codec, each.mp4) for each in got] == [(10, 4, Codec.H264, True)]
