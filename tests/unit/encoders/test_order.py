"""In which order frames are shown whose times say otherwise."""

from __future__ import annotations

from encoders.order import after_their_time, in_order, strictly_rising


class TestTimes:
    """Times of frames in the order in which they decode."""

    def test_times_are_sorted(self) -> None:
        assert in_order([0, 24, 72, 48, 120, 96]) == [0, 24, 48, 72, 96, 120]

    def test_a_missing_one_is_a_step_after_the_one_before(self) -> None:
        assert in_order([0, 10, None, 30, 40]) == [0, 10, 20, 30, 40]

    def test_equal_ones_are_spread_to_the_next(self) -> None:
        assert in_order([0, 10, 10, 30]) == [0, 10, 20, 30]
        assert in_order([5, 5]) == [5, 6]

    def test_without_any_time_they_count(self) -> None:
        assert in_order([None, None, None]) == [0, 1, 2]
        assert in_order([]) == []

    def test_without_sound_the_first_frame_waits_for_the_others(self) -> None:
        assert after_their_time([0, 10, 20, 30, 40], [100, 110, 130, 120, 140]) == [0, 20, 30, 40, 50]
        assert after_their_time([0, 10, 20], [None, 10, 20]) == [0, 10, 20]
        assert after_their_time([], []) == []

    def test_strictly_rising(self) -> None:
        assert strictly_rising([3, 3, 3, 9]) == [3, 4, 5, 9]
