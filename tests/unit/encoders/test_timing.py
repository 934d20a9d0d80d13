"""The rule by which output frames show source frames: exact for constant rates, else near."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest
from described_sources import video
from hypothesis import given
from hypothesis import strategies as st

from encoders.plan import Grid
from encoders.timing import FrameClock, lay_on_grid

RATES = st.sampled_from([Fraction(24), Fraction(60), Fraction(24000, 1001), Fraction(30000, 1001), Fraction(1, 2)])


def grid(fps: Fraction, frames: int, origin_s: Fraction = Fraction(0)) -> Grid:
    return Grid(fps=fps, frames=frames, origin_s=origin_s, gop_frames=1, media_segment_frames=1)


@given(
    fps=RATES, first=st.integers(-(10**9), 10**9), number=st.integers(0, 10**6), scale=st.sampled_from([1000, 90_000])
)
def test_a_constant_rate_is_kept_frame_for_frame_whatever_the_time_base(
    fps: Fraction, first: int, number: int, scale: int
) -> None:
    tick = Fraction(1, scale)
    track = video(fps, 10, time_base=tick, first_pts=first, end_pts=first + 1)
    clock = FrameClock.of(track, grid(fps, 10**7, first * tick))
    assert clock.position(first + round(number / fps / tick)) == number


@given(st.integers(2, 5), st.lists(st.integers(-9, 9), min_size=60, max_size=60))
def test_every_kth_frame_is_kept_in_spite_of_jitter(every: int, jitter: list[int]) -> None:
    track = video(Fraction(120), 60, time_base=Fraction(1, 4800), end_pts=2400)
    clock = FrameClock.of(track, grid(Fraction(120, every), -(-60 // every)))
    shown = [(clock.position(40 * i + (jitter[i] if i else 0)), i) for i in range(60)]
    laid = dict(lay_on_grid(shown, 0, 60 // every))
    assert laid == {n: n * every for n in range(60 // every)}


def test_a_late_picture_is_led_in() -> None:
    track = video(Fraction(30), 10, first_pts=30, end_pts=40)
    clock = FrameClock.of(track, grid(Fraction(30), 40, Fraction(0)))
    assert [clock.position(pts) for pts in (30, 31, 39)] == [30, 31, 39]
    assert [frame for _, frame in lay_on_grid([(30, "a"), (31, "b")], 28, 33)] == ["a", "a", "a", "b", "b"]


def test_decoding_starts_at_the_last_key_frame_that_is_in_time() -> None:
    clock = FrameClock.of(video(), grid(Fraction(30), 300))
    keys = (0, 48, 96, 144)
    starts = [clock.start_of_decoding(keys, frame) for frame in (0, 47, 48, 95, 96, 299)]
    assert starts == [None, None, 48, 48, 96, 144]
    assert clock.start_of_decoding((), 10) is None
    assert clock.start_of_decoding((20, 40), 10) is None


def test_gaps_are_held_and_the_last_of_a_crowd_wins() -> None:
    shown = [(0, "a"), (1, "b"), (1, "c"), (4, "d"), (9, "e")]
    assert list(lay_on_grid(shown, 0, 7)) == list(enumerate("acccddd"))
    assert list(lay_on_grid(shown, 2, 5)) == [(2, "c"), (3, "c"), (4, "d")]
    assert list(lay_on_grid(shown, 8, 12)) == [(8, "d"), (9, "e"), (10, "e"), (11, "e")]


def test_without_frames_there_is_nothing_to_show() -> None:
    assert list(lay_on_grid([], 0, 5)) == []


def test_nothing_is_taken_past_the_end() -> None:
    shown = iter([(0, "a"), (1, "b"), (2, "c"), (3, "d")])
    assert list(lay_on_grid(shown, 0, 2)) == [(0, "a"), (1, "b")]
    assert next(shown) == (3, "d")


@given(
    gaps=st.lists(st.integers(0, 9), min_size=1, max_size=60),
    cuts=st.sets(st.integers(1, 99), max_size=5),
)
def test_segments_join_to_what_one_pass_shows(gaps: list[int], cuts: set[int]) -> None:
    positions = [sum(gaps[:i]) for i in range(len(gaps))]
    shown = list(zip(positions, range(len(gaps)), strict=True))
    whole = list(lay_on_grid(shown, 0, 100))
    edges = [0, *sorted(cuts), 100]
    parts = []
    for start, end in pairwise(edges):
        # Decoding starts at any frame that is on screen at the segment's start, or earlier.
        first = max((i for i, position in enumerate(positions) if position <= start), default=0)
        parts += lay_on_grid(shown[first:], start, end)
    assert parts == whole


@pytest.mark.parametrize("pts", [0, 17, 33, 50, 1000, 123_456])
def test_variable_rates_appear_at_the_nearest_position(pts: int) -> None:
    track = video(Fraction(30), 10, frame_rate=None, time_base=Fraction(1, 1000), end_pts=200_000)
    clock = FrameClock.of(track, grid(Fraction(30), 6000))
    assert abs(clock.position(pts) - Fraction(pts * 30, 1000)) <= Fraction(1, 2)
