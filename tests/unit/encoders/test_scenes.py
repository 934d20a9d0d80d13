"""Scene boundaries: found wherever segments are cut, not made up of motion, flashes or repeated frames."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest

from encoders.scenes import find_boundaries, measure_motion

FPS = Fraction(25)
Picture = npt.NDArray[np.float32]


def scene(seed: int, frames: int, motion: float = 0.5, level: float = 120.0) -> list[Picture]:
    """Pictures of one scene: a pattern of its own that trembles."""
    dice = np.random.default_rng(seed)
    pattern = level + dice.uniform(-60, 60, (16, 16))
    return [(pattern + dice.normal(0, motion, (16, 16))).clip(16, 235).astype(np.float32) for _ in range(frames)]


def black(frames: int) -> list[Picture]:
    return [np.full((16, 16), 16.0, np.float32)] * frames


def found(pictures: Sequence[Picture], *borders: int) -> list[int]:
    """Boundaries when the pictures are encoded in segments with these borders."""
    edges = [0, *borders, len(pictures)]
    motions = [measure_motion(pictures[start:end]) for start, end in itertools.pairwise(edges)]
    return [each.frame for each in find_boundaries(motions, FPS)]


@pytest.mark.parametrize("borders", [(), (40,), (39,), (41,), (10, 40, 80), (1, 2, 3, 40)])
def test_a_cut_is_found_wherever_segments_are_cut(borders: tuple[int, ...]) -> None:
    assert found(scene(1, 40) + scene(2, 60), *borders) == [40]


def test_motion_is_no_cut() -> None:
    assert found(scene(1, 100, motion=14.0)) == []


def test_a_cut_stands_out_of_motion() -> None:
    assert found(scene(1, 40, motion=6.0) + scene(2, 40, motion=6.0)) == [40]


def test_repeated_frames_do_not_make_cuts_of_motion() -> None:
    moving = scene(1, 40, motion=14.0)
    assert found([picture for picture in moving for _ in range(3)]) == []


def fade(pictures: Sequence[Picture], rising: bool) -> list[Picture]:
    shares = np.linspace(0, 1, len(pictures))
    return [
        (16 + (picture - 16) * (share if rising else 1 - share)).astype(np.float32)
        for picture, share in zip(pictures, shares, strict=True)
    ]


def test_a_passage_through_black_is_one_boundary_where_the_next_picture_comes() -> None:
    pictures = scene(1, 50) + fade(scene(1, 25), rising=False) + black(20) + fade(scene(2, 50), rising=True)
    (boundary,) = found(pictures, 60, 100)
    assert 95 <= boundary <= 95 + 0.5 * FPS


def test_a_cut_to_black_is_the_boundary() -> None:
    assert found(scene(1, 50) + black(20) + fade(scene(2, 50), rising=True)) == [50]


def test_black_at_the_end_begins_no_scene_after_a_fade() -> None:
    assert found(scene(1, 50) + fade(scene(1, 25), rising=False) + black(30)) == []


def test_boundaries_close_together_are_one() -> None:
    assert found(scene(1, 50) + scene(2, 5) + scene(3, 50)) in ([50], [55])


def test_pictures_of_fewer_blocks_are_measured_too() -> None:
    small = [picture[:4, :6] for picture in scene(1, 20) + scene(2, 20)]
    assert found(small, 20) == [20]
