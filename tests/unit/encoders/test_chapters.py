"""Chapters: on the asset's clock, in every form that players read."""

from __future__ import annotations

import itertools
from fractions import Fraction

import pytest

from encoders.chapters import (
    Boundary,
    ChapterMark,
    chapter_list,
    chapter_samples,
    choose_chapters,
    place_chapters,
)
from encoders.ladder import ChapterSettings
from encoders.media import Chapter


def mark(start_s: float, end_s: float, title: str) -> ChapterMark:
    return ChapterMark(start_s=Fraction(start_s), end_s=Fraction(end_s), title=title)


def test_chapters_are_cut_to_the_asset_and_named() -> None:
    chapters = [
        Chapter(start_s=Fraction(20), end_s=Fraction(40), title=""),
        Chapter(start_s=Fraction(8), end_s=Fraction(20), title=" The\nstart "),
        Chapter(start_s=Fraction(0), end_s=Fraction(9), title="before"),
        Chapter(start_s=Fraction(50), end_s=Fraction(60), title="after"),
    ]
    assert place_chapters(chapters, Fraction(10), Fraction(25)) == (
        mark(0, 10, "The start"),
        mark(10, 25, "Chapter 2"),
    )


def test_a_chapter_track_has_no_holes() -> None:
    durations, samples = chapter_samples([mark(1, 2, "a"), mark(3, 4, "bc")], Fraction(5))
    assert durations == [1000, 2000, 2000]
    assert [sample[2 : 2 + int.from_bytes(sample[:2], "big")] for sample in samples] == [b"", b"a", b"bc"]
    assert chapter_samples([], Fraction(5)) == ([], [])


def test_a_chapter_at_time_zero_needs_no_lead_in() -> None:
    assert chapter_samples([mark(0, 2, "a")], Fraction(2))[0] == [2000]


@pytest.mark.parametrize("count", [1, 255, 400])
def test_a_chapter_list_counts_in_one_byte(count: int) -> None:
    data = chapter_list([mark(n, n + 1, "x" * 300) for n in range(count)])
    assert data[8 + 8 + 8] == min(count, 255)
    assert len(data) == 25 + min(count, 255) * (9 + 255)
    assert chapter_list([]) == b""


def test_a_long_title_is_cut_between_letters() -> None:
    (sample,) = chapter_samples([mark(0, 1, "\u00e9" * 200)], Fraction(1))[1]
    length = int.from_bytes(sample[:2], "big")
    assert length == 254
    assert sample[2 : 2 + length].decode() == "\u00e9" * 127


def starts(boundaries: dict[int, float], seconds: int, **settings: float) -> list[float]:
    """Starts of the chapters chosen at one frame a second."""
    found = [Boundary(frame=frame, strength=strength) for frame, strength in boundaries.items()]
    chosen = choose_chapters(found, Fraction(1), Fraction(seconds), ChapterSettings(**settings))  # type: ignore[arg-type]
    ends = [mark.end_s for mark in chosen]
    assert ends == [*(mark.start_s for mark in chosen[1:]), *([Fraction(seconds)] if chosen else [])]
    assert [mark.title for mark in chosen] == [f"Chapter {number}" for number in range(1, len(chosen) + 1)]
    return [float(mark.start_s) for mark in chosen]


def test_the_strongest_cuts_win_and_every_chapter_has_its_length() -> None:
    assert starts({3: 60, 8: 20, 10: 40, 14: 30, 27: 60}, 30) == [0, 10]
    assert starts({3: 60, 8: 20, 10: 40, 16: 30}, 30) == [0, 10, 16]
    assert starts({8: 20, 10: 40}, 30, min_length_s=2.0) == [0, 8, 10]


def test_a_single_scene_has_no_chapters() -> None:
    assert starts({}, 30) == []
    assert starts({2: 60.0}, 30) == []


def test_a_long_film_has_few_chapters_and_spread_ones() -> None:
    cuts = {frame: 30.0 + frame % 7 for frame in range(10, 7190, 10)}
    chosen = starts(cuts, 7200, max_count=20)
    assert len(chosen) <= 20
    assert min(later - earlier for earlier, later in itertools.pairwise(chosen)) >= 180
