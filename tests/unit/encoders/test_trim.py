"""A source cut to a span, as values."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from planned import INFO

from encoders.media import AudioTrack, Chapter
from encoders.trim import Trim, TrimOutside, trim_source

SOUND = AudioTrack(
    stream=1,
    codec="aac",
    sample_rate=48000,
    channels=2,
    layout="stereo",
    language=None,
    title=None,
    default=True,
    start_s=Fraction(0),
    end_s=Fraction(10),
)
WHOLE = replace(INFO, audio=(SOUND,), chapters=(Chapter(start_s=Fraction(0), end_s=Fraction(4), title="one"),))


def test_a_span_keeps_its_whole_frames_and_its_sound() -> None:
    cut = trim_source(WHOLE, Trim(start_s=2.0, end_s=5.0))
    assert cut.video is not None
    assert (cut.video.first_pts, cut.video.end_pts, cut.video.frames) == (50, 125, 75)
    assert (cut.audio[0].start_s, cut.audio[0].end_s) == (2, 5)
    assert cut.duration_s == 3
    assert cut.chapters == (Chapter(start_s=Fraction(2), end_s=Fraction(4), title="one"),)
    assert cut.video.keyframe_pts == (0,)


def test_no_end_means_to_the_end() -> None:
    assert trim_source(WHOLE, Trim(start_s=9.0)).duration_s == 1
    assert trim_source(WHOLE, Trim()) == WHOLE


def test_what_lies_outside_is_left_out() -> None:
    late = replace(WHOLE, audio=(replace(SOUND, start_s=Fraction(8)),))
    assert trim_source(late, Trim(end_s=5.0)).audio == ()
    with pytest.raises(TrimOutside, match=r"10\.00 s"):
        trim_source(WHOLE, Trim(start_s=10.0))


@pytest.mark.parametrize(("start_s", "end_s"), [(-1.0, None), (3.0, 3.0), (3.0, 2.0)])
def test_an_empty_trim_is_refused(start_s: float, end_s: float | None) -> None:
    with pytest.raises(ValueError, match="keeps nothing"):
        Trim(start_s=start_s, end_s=end_s)


@given(st.integers(0, 9_000), st.integers(1, 10_000))
def test_frames_are_those_that_begin_in_the_span(start_ms: int, length_ms: int) -> None:
    start_s, end_s = start_ms / 1000, (start_ms + length_ms) / 1000
    wanted = [n for n in range(250) if start_ms <= n * 40 < start_ms + length_ms]
    if not wanted:
        return
    cut = trim_source(INFO, Trim(start_s=start_s, end_s=end_s))
    assert cut.video is not None
    assert (cut.video.first_pts, cut.video.frames) == (wanted[0], len(wanted))
