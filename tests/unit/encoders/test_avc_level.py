"""Levels: the lowest of table A-1 that holds the rendition."""

from __future__ import annotations

from fractions import Fraction

import pytest

from encoders.avc_level import choose_level


@pytest.mark.parametrize(
    ("size", "fps", "kbps", "level"),
    [
        ((256, 144), 30, 200, 12),
        ((426, 240), 30, 400, 21),
        ((640, 360), 30, 800, 30),
        ((854, 480), 30, 1_400, 31),
        ((1280, 720), 30, 2_800, 31),
        ((1280, 720), 60, 4_200, 32),
        ((1920, 1080), 30, 5_000, 40),
        ((1920, 1080), 60, 7_500, 42),
        ((1080, 1920), 30, 5_000, 40),
        ((1080, 2280), 60, 7_500, 50),
        ((3840, 2160), 30, 20_000, 51),
        ((3840, 2160), 60, 30_000, 52),
        ((1920, 1080), 30, 40_000, 42),
        ((16, 16), 1, 10, 10),
        ((16_384, 16_384), 120, 10, 62),
    ],
)
def test_the_lowest_level_that_holds_a_rendition(size: tuple[int, int], fps: int, kbps: int, level: int) -> None:
    assert choose_level(*size, Fraction(fps), kbps * 1000, kbps * 1000) == level


def test_a_long_strip_needs_a_level_that_allows_its_length() -> None:
    assert choose_level(4096, 64, Fraction(30), 10**6, 10**6) == 40
    assert choose_level(512, 512, Fraction(30), 10**6, 10**6) < 32


def test_a_large_buffer_counts_too() -> None:
    assert choose_level(256, 144, Fraction(30), 100_000, 10**7) > choose_level(256, 144, Fraction(30), 100_000, 10**5)
