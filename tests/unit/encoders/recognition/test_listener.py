"""Samples lie on the asset's clock, however a source was cut."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from pretend_films import picture

from encoders.recognition.fingerprint import fingerprint_of
from encoders.recognition.listener import SAMPLES_PER_S, PictureListener, sample_at

RATES = [Fraction(30000, 1001), Fraction(25), Fraction(60000, 1001), Fraction(1), Fraction(3, 2), Fraction(7, 3)]


@settings(max_examples=8, deadline=None)
@given(fps=st.sampled_from(RATES), cuts=st.sets(st.integers(1, 59), max_size=6))
def test_that_cuts_change_nothing(fps: Fraction, cuts: set[int]) -> None:
    frames = [picture(number // 9, moved=number % 9, height=36, width=64) for number in range(60)]

    def heard(edges: list[int]) -> bytes:
        marks = []
        for start, end in pairwise(edges):
            listener = PictureListener(fps)
            for number in range(start, end):
                listener.take(number, frames[number])
            marks.append(listener.marks())
        return fingerprint_of(marks, "").to_bytes()

    assert heard([0, *sorted(cuts), 60]) == heard([0, 60])


@settings(max_examples=30)
@given(fps=st.fractions(Fraction(1, 2), 120))
def test_that_samples_are_the_first_frames_at_or_after_their_time(fps: Fraction) -> None:
    seen = {number: sample for number in range(200) if (sample := sample_at(number, fps)) is not None}
    samples = list(seen.values())
    assert samples == sorted(set(samples))
    for number, sample in seen.items():
        assert (number - 1) / fps < Fraction(sample, SAMPLES_PER_S) <= number / fps
    if fps >= SAMPLES_PER_S:
        assert samples == list(range(len(samples)))


def test_that_flat_pictures_leave_no_mark() -> None:
    listener = PictureListener(Fraction(2))
    listener.take(0, picture(0)[:1, :1])
    assert listener.marks() == ""
