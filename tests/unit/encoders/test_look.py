"""Pictures in little: what they measure, and what they tell apart."""

from __future__ import annotations

import numpy as np
import pytest

from encoders.look import COLUMNS, ROWS, Look, blocks_of


def ramp(height: int = 90, width: int = 160, shift: int = 0) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    return ((x + y + shift) % 200 + 28).astype(np.uint8)


def test_blocks_are_means() -> None:
    luma = np.kron(np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS), np.ones((4, 5))).astype(np.uint8)
    assert np.array_equal(blocks_of(luma), np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS))


@pytest.mark.parametrize("size", [(2, 4), (1, 1), (17, 33), (144, 256)])
def test_pictures_of_any_size_have_blocks(size: tuple[int, int]) -> None:
    blocks = blocks_of(np.full(size, 77, np.uint8))
    assert blocks.shape == (min(ROWS, size[0]), min(COLUMNS, size[1]))
    assert (blocks == 77).all()


def test_another_picture_misfits_and_noise_does_not() -> None:
    look, rng = Look(), np.random.default_rng(0)
    look.take(7, ramp())
    noisy = np.clip(ramp() + rng.normal(0, 6, (90, 160)), 0, 255).astype(np.uint8)
    assert look.misfit(7, ramp()) == 0
    assert look.misfit(7, noisy) < 2
    assert look.misfit(7, ramp(shift=60)) > 20
    assert look.misfit(7, np.full((90, 160), 16, np.uint8)) > 60


def test_brightness_is_summed_up() -> None:
    look = Look()
    for number, code in enumerate((16, 100, 235)):
        look.take(number, np.full((90, 160), code, np.uint8))
    look.take(3, ramp())
    assert look.darkest == 16
    assert look.brightest == 235
    assert look.mean == pytest.approx((16 + 100 + 235 + blocks_of(ramp()).mean()) / 4)
    assert look.flat_frames == 3
