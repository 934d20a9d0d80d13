"""Places of damage in words."""

from __future__ import annotations

from fractions import Fraction

from encoders.damage import Span, joined, outside, places, total_s


def spans(*pairs: tuple[float, float]) -> list[Span]:
    return [(Fraction(str(begin)), Fraction(str(end))) for begin, end in pairs]


def test_near_places_are_one() -> None:
    assert joined(spans((5, 5.1), (1, 1.2), (1.6, 1.7), (1.1, 1.3))) == spans((1, 1.7), (5, 5.1))


def test_a_sentence_names_three_and_counts_the_rest() -> None:
    assert places([]) == "somewhere"
    assert places(spans((-0.1, 0.25))) == "from 0.00 to 0.25 s"
    assert places(spans((3, 4), (8, 9), (12, 13), (20, 21), (30, 31))) == (
        "from 3.00 to 4.00 s, 8.00 to 9.00 s, 12.00 to 13.00 s and in 2 more places"
    )


def test_what_lies_before_the_beginning_has_no_place() -> None:
    assert places(spans((-1, -0.5), (3, 4))) == "from 3.00 to 4.00 s"
    assert places(spans((-1, -0.5), (-0.2, 0))) == "before its beginning"


def test_what_is_explained_already_is_left_out() -> None:
    assert outside(spans((1, 2), (5, 6)), spans((2.3, 2.4))) == spans((5, 6))


def test_overlaps_count_once() -> None:
    assert total_s(spans((1, 3), (2, 4), (6, 7))) == 4
    assert total_s([]) == 0
