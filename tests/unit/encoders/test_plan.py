"""Plans: every frame in one segment, boundaries on one grid, sync kept, nothing invented."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction

import planned
import pytest
from described_sources import audio, source, video
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from encoders.ladder import Codec, Profile
from encoders.media import SubtitleTrack
from encoders.plan import (
    FAST_RATE,
    SLOW_RATE,
    Grid,
    Plan,
    Segment,
    choose_rate,
    plan_asset,
    plan_grid,
    smooth_rate,
)
from encoders.profiles.load import load_profile

DEFAULT = load_profile("default")
RATES = st.sampled_from([Fraction(24), Fraction(30), Fraction(60), Fraction(24000, 1001), Fraction(30000, 1001)]) | (
    st.fractions(Fraction(1, 2), 240, max_denominator=1001)
)


def plan_of(fps: Fraction, frames: int, slots: int = 2, profile: Profile = DEFAULT) -> Plan:
    return plan_asset(source(video(fps, frames)), profile, slots, "x264")


def grid_of(plan: Plan) -> Grid:
    assert plan.grid is not None
    return plan.grid


@given(fps=RATES, frames=st.integers(1, 4000), slots=st.integers(0, 64))
def test_segments_hold_every_frame_once_and_are_cut_between_media_segments(
    fps: Fraction, frames: int, slots: int
) -> None:
    plan = plan_of(fps, frames, slots)
    grid = grid_of(plan)
    assert [segment.index for segment in plan.segments] == list(range(len(plan.segments)))
    assert plan.segments[0].start == 0
    assert plan.segments[-1].end == grid.frames
    for before, after in zip(plan.segments, plan.segments[1:], strict=False):
        assert before.end == after.start == after.first_media * grid.media_segment_frames
    assert sum(segment.frames for segment in plan.segments) == grid.frames


@given(fps=RATES, frames=st.integers(1, 4000), slots=st.integers(1, 64))
def test_segments_are_about_equal_and_not_longer_than_wanted(fps: Fraction, frames: int, slots: int) -> None:
    plan = plan_of(fps, frames, slots)
    grid = grid_of(plan)
    media = [-(-segment.frames // grid.media_segment_frames) for segment in plan.segments]
    assert max(media) - min(media) <= 1
    media_s = grid.media_segment_frames / grid.fps
    wanted_s = Fraction(DEFAULT.video.segment_s) * max(grid.fps, SLOW_RATE) / grid.fps
    assert max(media) * media_s <= max(media_s, wanted_s + media_s / 2)


@given(fps=RATES, frames=st.integers(1, 4000))
def test_the_idr_grid_is_near_what_the_profile_wants(fps: Fraction, frames: int) -> None:
    grid = grid_of(plan_of(fps, frames))
    assert grid.media_segment_frames % grid.gop_frames == 0
    assert grid.fps <= DEFAULT.video.max_fps
    if grid.fps >= 1:
        assert abs(grid.gop_frames / grid.fps - 2) <= 1 / (2 * grid.fps)
        assert abs(grid.media_segment_frames / grid.fps - 4) <= 1 + 1 / grid.fps


@pytest.mark.parametrize(
    ("fps", "gop", "media"),
    [("24000/1001", 48, 96), ("25", 50, 100), ("30000/1001", 60, 120), ("60", 120, 240), ("20", 40, 80), ("1/3", 1, 1)],
)
def test_familiar_rates(fps: str, gop: int, media: int) -> None:
    grid = grid_of(plan_of(Fraction(fps), 1000))
    assert (grid.gop_frames, grid.media_segment_frames, grid.frames) == (gop, media, 1000)


def test_nextplay_has_media_segments_of_six_seconds() -> None:
    plan = plan_of(Fraction(30), 900, 2, load_profile("nextplay"))
    assert (grid_of(plan).gop_frames, grid_of(plan).media_segment_frames) == (60, 180)
    assert [rendition.name for rendition in plan.renditions] == ["240p", "480p", "720p"]
    assert [rendition.maxrate_bps for rendition in plan.renditions] == [400_000, 1_000_000, 2_500_000]


@pytest.mark.parametrize(
    ("seconds", "slots", "lengths"),
    [
        (4, 2, [4]),
        (10, 2, [4, 4, 2]),
        (24, 2, [4] * 6),
        (32, 2, [8] * 4),
        (60, 1, [12] * 5),
        (60, 2, [12, 12, 8, 8, 8, 8, 4]),
        (60, 64, [4] * 15),
        (600, 2, [12] * 50),
    ],
)
def test_segments_get_shorter_where_slots_would_idle(seconds: int, slots: int, lengths: list[int]) -> None:
    plan = plan_of(Fraction(30), 30 * seconds, slots)
    got = [segment.frames // 30 for segment in plan.segments]
    assert sum(got) == seconds
    rounds = -(-len(got) // slots)
    wanted = -(-len(lengths) // slots)
    assert rounds * max(got) <= wanted * max(lengths)
    assert len(got) <= len(lengths) + 1


def test_slides_are_cut_into_segments_worth_their_start() -> None:
    assert [segment.frames for segment in plan_of(Fraction(1), 960).segments] == [96] * 10


def test_a_fast_source_keeps_every_kth_frame_and_gets_higher_caps() -> None:
    plan = plan_of(Fraction(120), 1201)
    assert (grid_of(plan).fps, grid_of(plan).frames) == (60, 601)
    assert grid_of(plan).fps > FAST_RATE
    assert plan.renditions[-1].maxrate_bps == 7_500_000
    assert plan_of(Fraction(30), 60).renditions[-1].maxrate_bps == 5_000_000
    assert grid_of(plan_of(Fraction(144), 100)).fps == 48


@pytest.mark.parametrize(
    ("typical", "rate"),
    [
        ("29.9", "30000/1001"),
        ("30.2", "30"),
        ("23.9", "24000/1001"),
        ("24", "24"),
        ("26.5", "30000/1001"),
        ("17", "20"),
        ("59.2", "60000/1001"),
        ("88", "60"),
        ("0.01", "1"),
        ("7.3", "8"),
    ],
)
def test_a_variable_rate_becomes_the_standard_rate_that_loses_no_motion(typical: str, rate: str) -> None:
    assert choose_rate(Fraction(typical), 60) == Fraction(rate)


@pytest.mark.parametrize(
    ("typical", "rate"),
    [("1", "24"), ("5", "25"), ("8.3", "25"), ("10", "30"), ("12", "24"), ("14.99", "30000/1001"), ("20", "30")],
)
def test_a_slow_variable_rate_becomes_a_multiple_whose_steps_nobody_sees(typical: str, rate: str) -> None:
    assert smooth_rate(Fraction(typical)) == Fraction(rate)


def test_a_variable_source_is_counted_by_its_span() -> None:
    changing = video(Fraction(30), 90, frame_rate=None, average_rate=Fraction(9), end_pts=300)
    grid = plan_grid(source(changing), DEFAULT.video)
    assert grid is not None
    assert (grid.fps, grid.frames) == (30, 300)
    now_and_then = plan_grid(source(replace(changing, frames=9, average_rate=Fraction(9, 10))), DEFAULT.video)
    assert now_and_then is not None
    assert (now_and_then.fps, now_and_then.frames) == (1, 10)
    moving = replace(changing, typical_rate=Fraction(30))
    grid = plan_grid(source(moving), DEFAULT.video)
    assert grid is not None
    assert (grid.fps, grid.frames) == (30, 300)


def test_a_late_picture_is_led_in_by_whole_frames() -> None:
    late = source(video(first_pts=31, end_pts=331), audio(Fraction(1, 100), Fraction(11)))
    plan = plan_asset(late, DEFAULT, 2, "x264")
    assert grid_of(plan).frames == 331
    assert grid_of(plan).origin_s == plan.origin_s == Fraction(31, 30) - Fraction(31, 30)
    assert plan.origin_s + 31 / grid_of(plan).fps == Fraction(31, 30)


def test_a_picture_that_is_hardly_late_starts_the_asset() -> None:
    plan = plan_asset(source(video(), audio(Fraction(-15, 1000))), DEFAULT, 2, "x264")
    assert (grid_of(plan).frames, plan.origin_s) == (300, 0)


def test_late_sound_changes_nothing() -> None:
    plan = plan_asset(source(video(), audio(Fraction(3))), DEFAULT, 2, "x264")
    assert (grid_of(plan).frames, plan.origin_s, plan.duration_s) == (300, 0, 10)


def test_the_asset_lasts_as_long_as_its_longest_track() -> None:
    assert plan_asset(source(video(), audio(end_s=Fraction(12))), DEFAULT, 2, "x264").duration_s == 12
    assert plan_asset(source(video(), audio(end_s=Fraction(7))), DEFAULT, 2, "x264").duration_s == 10


def test_sound_alone_has_no_grid() -> None:
    plan = plan_asset(source(None, audio(Fraction(1), Fraction(4))), DEFAULT, 2, "x264")
    assert (plan.grid, plan.renditions, plan.segments) == (None, (), ())
    assert (plan.origin_s, plan.duration_s) == (1, 3)


def test_tracks_become_renditions_with_names_that_differ() -> None:
    tracks = source(
        video(),
        audio(stream=1, language="eng"),
        audio(stream=2, language="ger", title='Regie "x"', default=True),
        audio(stream=3, language="eng"),
        audio(stream=4),
        subtitles=(
            SubtitleTrack(stream=5, codec="subrip", language="fre", title=None, default=False, forced=True),
            SubtitleTrack(stream=6, codec="subrip", language="fra", title=None, default=True, forced=False),
        ),
    )
    plan = plan_asset(tracks, DEFAULT, 2, "x264")
    assert [(track.name, track.stream, track.language, track.label, track.default) for track in plan.audio] == [
        ("audio", 2, "de", "Regie x", True),
        ("audio-2", 1, "en", "English", False),
        ("audio-3", 3, "en", "English (2)", False),
        ("audio-4", 4, None, "Sound", False),
    ]
    assert [(track.name, track.language, track.label, track.forced) for track in plan.text] == [
        ("text", "fr", "French", True),
        ("text-2", "fr", "French (2)", False),
    ]


def test_the_key_says_everything_that_is_made() -> None:
    plan = plan_of(Fraction(30), 300)
    assert plan == plan_of(Fraction(30), 300)
    assert len(plan.asset_key) == 20
    others = [
        plan_of(Fraction(30), 301),
        plan_of(Fraction(30), 300, profile=load_profile("nextplay")),
        plan_asset(source(video()), DEFAULT, 2, "other"),
        plan_asset(source(video(), sha256="cd" * 32), DEFAULT, 2, "x264"),
        plan_asset(source(video(), audio()), DEFAULT, 2, "x264"),
    ]
    assert len({plan.asset_key, *(other.asset_key for other in others)}) == 6


def test_text_in_tracks_of_its_own_keeps_the_key_that_it_had_before_there_were_captions() -> None:
    track = SubtitleTrack(stream=5, codec="subrip", language="fre", title=None, default=False, forced=True)
    keys = [
        plan_asset(replace(planned.INFO, subtitles=(replace(track, captions=field),)), DEFAULT, 2, "x264").asset_key
        for field in (0, 1, 2)
    ]
    assert keys[0] == "24ba4b5d1d2b6ad09073"
    assert len(set(keys)) == 3


def test_values_refuse_what_is_empty_or_off_the_grid() -> None:
    with pytest.raises(ValueError, match="empty"):
        Grid(fps=Fraction(30), frames=0, origin_s=Fraction(0), gop_frames=60, media_segment_frames=120)
    with pytest.raises(ValueError, match="multiple"):
        Grid(fps=Fraction(30), frames=9, origin_s=Fraction(0), gop_frames=60, media_segment_frames=100)
    with pytest.raises(ValueError, match="segment 3"):
        Segment(index=3, start=5, end=5, first_media=0)


def test_a_plan_from_before_there_were_codecs_loads_and_keeps_its_key() -> None:
    plan = plan_of(Fraction(25), 500)
    stored = TypeAdapter(Plan).dump_python(plan, mode="json")
    for rendition in stored["renditions"]:
        assert rendition.pop("codec") == "h264"
    assert TypeAdapter(Plan).validate_json(json.dumps(stored)) == plan
    other = replace(DEFAULT, rungs=tuple(replace(rung, codec=Codec.HEVC) for rung in DEFAULT.rungs))
    assert plan_of(Fraction(25), 500, profile=other).asset_key != plan.asset_key
