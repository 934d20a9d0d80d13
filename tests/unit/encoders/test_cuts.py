"""Segments of sources with few key frames: decoded in proportion to their length, not to its square."""

from __future__ import annotations

from fractions import Fraction
from itertools import accumulate

import pytest
from described_sources import source, video

from encoders.cuts import REACH, worth_their_reach
from encoders.plan import Plan, plan_asset
from encoders.profiles.load import load_profile

MEDIA = 100


def plan_of(hours: int, **changes: object) -> Plan:
    frames = hours * 3600 * 30
    info = source(video(frames=frames, **changes))
    return plan_asset(info, load_profile("default"), slots=2, encoder="x264")


def decoded(plan: Plan, starts: tuple[int, ...]) -> int:
    """Frames that all segments decode together."""
    return sum(each.end - max(start for start in starts if start <= each.start) for each in plan.segments)


def test_equal_segments_stay_where_key_frames_are_near() -> None:
    shares = [3] * 50
    assert worth_their_reach(shares, MEDIA, range(0, 15_000, 250)) == shares
    assert plan_of(2).segments == plan_of(2, keyframe_pts=tuple(range(0, 216_000, 300))).segments
    assert max(each.frames for each in plan_of(2).segments) <= 360


@pytest.mark.parametrize("starts", [(), (0,), (7,)])
def test_segments_grow_with_what_must_be_decoded_before_them(starts: tuple[int, ...]) -> None:
    joined = worth_their_reach([3] * 1000, MEDIA, starts)
    assert sum(joined) == 3000
    assert joined[:10] == [3] * 10
    firsts = [0, *accumulate(share * MEDIA for share in joined)]
    for first, share in zip(firsts, joined[:-1], strict=False):
        assert share * MEDIA * REACH >= first - 7
        assert (share - 3) * MEDIA * REACH <= first, "no longer than it must be"


def test_a_key_frame_in_the_middle_begins_anew() -> None:
    joined = worth_their_reach([3] * 1000, MEDIA, (0, 150_000))
    firsts = [0, *accumulate(share * MEDIA for share in joined)]
    middle = next(index for index, first in enumerate(firsts) if first >= 150_000)
    assert joined[middle + 1] == 3
    assert joined[middle] == 3, "the one before ended there"


@pytest.mark.parametrize("changes", [{"keyframe_pts": (0,)}, {"codec": "cinepak"}])
def test_hours_without_a_key_frame_are_decoded_a_few_times_and_not_hundreds(changes: dict[str, object]) -> None:
    one, ten = plan_of(1, **changes), plan_of(10, **changes)
    assert len(one.segments) > 20
    assert decoded(one, (0,)) < 13 * 3600 * 30
    assert decoded(ten, (0,)) < 13 * 10 * 3600 * 30
    for plan in (one, ten):
        assert plan.grid is not None
        ends = [each.end for each in plan.segments]
        assert [each.start for each in plan.segments] == [0, *ends[:-1]]
        assert ends[-1] == plan.grid.frames
        assert plan.grid.fps == Fraction(30)
