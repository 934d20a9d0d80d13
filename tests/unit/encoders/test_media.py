"""Values of a source check themselves and know their own times and shapes."""

from __future__ import annotations

from fractions import Fraction

import pytest
from described_sources import audio, source, video

from encoders.media import HLG, PQ, Colour


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rotation": 45}, "rotation 45"),
        ({"width": 0}, "empty"),
        ({"end_pts": 0}, "empty"),
        ({"frames": 0}, "empty"),
        ({"sar": Fraction(0)}, "positive"),
        ({"average_rate": Fraction(0)}, "positive"),
    ],
)
def test_a_track_refuses_what_cannot_be(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        video(**changes)  # type: ignore[arg-type]


def test_a_source_has_a_track() -> None:
    with pytest.raises(ValueError, match="at least one track"):
        source(None)


def test_a_presentation_runs_from_the_earliest_start_to_the_latest_end() -> None:
    both = source(video(first_pts=15, end_pts=315), audio(Fraction(1, 4), Fraction(9)))
    assert (both.start_s, both.end_s, both.duration_s) == (Fraction(1, 4), Fraction(21, 2), Fraction(41, 4))
    assert source(None, audio(Fraction(1), Fraction(4))).duration_s == 3
    assert source(video()).duration_s == 10


def test_only_pq_and_hlg_are_high_dynamic_range() -> None:
    assert [code for code in range(20) if Colour(transfer=code).hdr] == [PQ, HLG]


@pytest.mark.parametrize(
    ("changes", "size"),
    [
        ({}, (1920, 1080)),
        ({"rotation": 90}, (1080, 1920)),
        ({"rotation": 180}, (1920, 1080)),
        ({"sar": Fraction(2, 3)}, (1280, 1080)),
        ({"sar": Fraction(4, 3)}, (1920, 810)),
        ({"sar": Fraction(1921, 1920)}, (1920, 1080)),
    ],
)
def test_display_size_is_upright_and_square(changes: dict[str, object], size: tuple[int, int]) -> None:
    assert video(**changes).display_size == size  # type: ignore[arg-type]
