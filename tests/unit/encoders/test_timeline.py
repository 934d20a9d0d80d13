"""Times of frames, constant rates, and where decoding can start, from packet times alone."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoders.timeline import (
    COMMON_RATES,
    LONE_FRAME_RATE,
    NO_TIME,
    Packets,
    decoding_starts,
    fit_rate,
    folds,
    holes,
    rising,
    shown_times,
    step_ticks,
    thinned,
    without_second_fields,
)

MS = Fraction(1, 1000)


def packets(pts: Sequence[int], **marks: Sequence[int]) -> Packets:
    """Packets with these times; `key=[0, 5]` marks those places."""
    count = len(pts)
    flags = {
        name: np.isin(np.arange(count), list(marks.get(name, ()))) for name in ("key", "discard", "hidden", "corrupt")
    }
    return Packets(pts=np.array(pts, np.int64), duration=np.ones(count, np.int64), **flags)


class TestFields:
    def test_the_second_of_two_half_a_frame_apart_is_hidden(self) -> None:
        # Frames 0, 3, 1, 2 of 40 ticks, in order of decoding; the last is not coded as fields.
        table = without_second_fields(packets([0, 20, 120, 140, 40, 60, 80], key=[0, 1]), 40)
        assert shown_times(table).tolist() == [0, 40, 80, 120]
        assert decoding_starts(table).tolist() == [0]

    def test_fields_are_told_in_pairs(self) -> None:
        assert shown_times(without_second_fields(packets([0, 20, 40, 60, 80, 100]), 40)).tolist() == [0, 40, 80]

    def test_whole_frames_stay(self) -> None:
        assert shown_times(without_second_fields(packets([0, 120, 40, 80]), 40)).tolist() == [0, 40, 80, 120]


class TestShownTimes:
    def test_are_those_of_frames_that_are_shown_in_order(self) -> None:
        table = packets([0, 120, 40, 80, NO_TIME, -40, 60], discard=[5], hidden=[6])
        assert shown_times(table).tolist() == [0, 40, 80, 120]
        assert len(table) == 7

    def test_are_none_without_packets(self) -> None:
        assert shown_times(packets([])).tolist() == []


class TestFolds:
    def test_reordering_is_none(self) -> None:
        assert not folds(packets([0, 4, 2, 1, 3, 8, 6, 5, 7]))

    def test_going_back_further_than_reordering_is_one(self) -> None:
        assert folds(packets([*range(100), *range(50, 200)]))
        assert folds(packets([*range(1000, 1100), *range(100)]))

    def test_times_that_come_again_are_one(self) -> None:
        assert folds(packets([0, 0, 1, 1, 2, 2]))

    def test_a_lone_frame_is_none(self) -> None:
        assert not folds(packets([5]))


class TestRising:
    def test_skips_what_does_not_move_on(self) -> None:
        assert rising([None, 3, 5, 4, 5, None, 9]).tolist() == [3, 5, 9]


class TestDecodingStarts:
    def test_are_key_frames(self) -> None:
        assert decoding_starts(packets([0, 1, 2, 3, 4], key=[0, 3])).tolist() == [0, 3]

    def test_before_the_first_frame_shown_the_last_hidden_key_frame_counts(self) -> None:
        table = packets([-4, -3, -2, -1, 0, 1, 2], key=[0, 2, 5], discard=[0, 1, 2, 3])
        assert decoding_starts(table).tolist() == [-2, 1]

    def test_key_frames_that_a_later_edit_hides_do_not_count(self) -> None:
        table = packets([0, 1, 2, 3, 4, 5], key=[0, 3], discard=[3, 4])
        assert decoding_starts(table).tolist() == [0]

    def test_a_hidden_one_after_a_shown_one_in_time_does_not_count(self) -> None:
        table = packets([7, 5, 6], key=[0, 1], discard=[0])
        assert decoding_starts(table).tolist() == [5]

    def test_nothing_shown_leaves_the_last_key_frame(self) -> None:
        assert decoding_starts(packets([0, 1], key=[0, 1], discard=[0, 1])).tolist() == [1]

    def test_no_key_frames(self) -> None:
        assert decoding_starts(packets([0, 1])).tolist() == []
        assert decoding_starts(packets([NO_TIME, 1], key=[0])).tolist() == []


class TestFitRate:
    @given(
        st.sampled_from(COMMON_RATES),
        st.integers(min_value=400, max_value=3000),
        st.integers(min_value=-(10**9), max_value=10**9),
        st.booleans(),
    )
    def test_common_rates_come_back_from_millisecond_times(
        self, rate: Fraction, frames: int, start: int, hinted: bool
    ) -> None:
        times = np.array([start + round(n / rate / MS) for n in range(frames)], np.int64)
        assert fit_rate(times, MS, [rate if hinted else None]) == (rate, frames)

    def test_holes_count_as_places(self) -> None:
        times = np.delete(np.arange(100) * 40, [10, 11, 50])
        assert fit_rate(times, MS, []) == (25, 100)

    def test_too_many_holes_are_a_variable_rate(self) -> None:
        times = np.array([0, 40, 80, 400, 440, 480, 1200])
        assert fit_rate(times, MS, [Fraction(25)]) == (None, 7)

    def test_uneven_times_are_a_variable_rate(self) -> None:
        times = np.cumsum([0, 31, 57, 40, 90, 33, 35, 120])
        assert fit_rate(times, MS, [Fraction(24)]) == (None, 8)

    def test_an_uncommon_rate_is_taken_from_a_hint(self) -> None:
        rate = Fraction(500000, 99561)
        assert fit_rate(np.arange(152), 1 / rate, [rate]) == (rate, 152)
        assert fit_rate(np.arange(152), 1 / rate, []) == (None, 152)

    def test_a_measured_hint_gives_way_to_the_common_rate_next_to_it(self) -> None:
        times = np.array([round(n * 1501.5) for n in range(72)])
        measured = Fraction(72 * 45000, 72 * 1501 + 30)
        assert fit_rate(times, Fraction(1, 45000), [measured]) == (Fraction(30000, 1001), 72)

    @pytest.mark.parametrize(("claim", "rate"), [(Fraction(2997, 125), 24), (Fraction(2997, 100), 30), (24, 0)])
    def test_a_claim_that_rounds_a_common_rate_means_it(self, claim: Fraction, rate: int) -> None:
        # Too short to tell 23.976 from 24 by its times, which lie nearer to 24.
        due = Fraction(rate * 1000, 1001) if rate else Fraction(24)
        times = np.array([3 + round(n / (rate or 24) / MS) for n in range(10)])
        assert fit_rate(times, MS, [claim]) == (due, 10)

    def test_a_claim_next_to_a_common_rate_is_kept_where_only_itself_fits(self) -> None:
        rate = Fraction(2997, 100)
        assert fit_rate(np.arange(0, 100 * 4_000_000, 100), Fraction(1, 2997), [rate]) == (rate, 4_000_000)

    def test_a_common_rate_that_only_just_fits_does_not_displace_the_hint(self) -> None:
        # 18 frames of 60.2 fps lie within 0.3 frames of 60 fps, but 60 is 0.3 % off.
        hint = Fraction(602, 10)
        times = np.array([round(n / hint * 90000) for n in range(18)])
        assert fit_rate(times, Fraction(1, 90000), [hint]) == (hint, 18)

    @pytest.mark.parametrize("hint", [Fraction(1, 2), Fraction(1000), Fraction(0), None])
    def test_mad_hints_are_not_tried(self, hint: Fraction | None) -> None:
        assert fit_rate(np.array([7]), MS, [hint]) == (LONE_FRAME_RATE, 1)

    @pytest.mark.parametrize("first", [0, 1])
    def test_film_with_pulldown_has_the_rate_of_film(self, first: int) -> None:
        # Frames stay for three fields and two in turn; the container claims the rate of the fields or of their pairs.
        fields = np.concatenate([[0], np.cumsum([3 if (number + first) % 2 else 2 for number in range(191)])])
        times = np.rint(fields * 1501.5).astype(np.int64)
        hints = [Fraction(30000, 1001), Fraction(60000, 1001)]
        assert fit_rate(times, Fraction(1, 90_000), hints) == (Fraction(24000, 1001), 192)

    def test_a_container_that_counts_frames_knows_their_rate(self) -> None:
        # 0.1 % beside a common rate that the codec claims, and on it for minutes.
        rate = Fraction(250_000, 16_701)
        assert fit_rate(np.arange(157), 1 / rate, [rate, Fraction(15000, 1001)]) == (rate, 157)
        assert fit_rate(np.arange(157), Fraction(100, 2997), [Fraction(2997, 100)]) == (Fraction(30000, 1001), 157)

    def test_a_lone_frame_takes_the_hint(self) -> None:
        assert fit_rate(np.array([7]), MS, [None, Fraction(24)]) == (24, 1)

    def test_a_jump_of_years_is_no_place_on_a_grid(self) -> None:
        times = np.array([0, 40, 80, 1 << 60])
        assert fit_rate(times, MS, [Fraction(25)]) == (None, 4)


def test_thinning_keeps_the_first_and_then_a_distance() -> None:
    assert thinned(np.arange(0, 100, 4), Fraction(10)).tolist() == [0, 12, 24, 36, 48, 60, 72, 84, 96]
    assert thinned(np.array([], np.int64), Fraction(10)).tolist() == []


def test_step_is_the_median() -> None:
    assert step_ticks(np.array([0, 40, 80, 120, 500])) == 40
    assert step_ticks(np.array([3])) == 0


def test_holes_are_where_frames_are_far_apart() -> None:
    assert holes(np.array([0, 10, 20, 90, 100, 140]), 35) == [(20, 90), (100, 140)]
    assert holes(np.array([5]), 1) == []
