"""Downmix by ITU-R BS.775 and the limiter after it."""

from __future__ import annotations

import numpy as np
import pytest

from encoders.downmix import CEILING, Limiter, stereo_matrix


@pytest.mark.parametrize(
    ("channels", "left"),
    [
        (["FC"], [1.0]),
        (["FL", "FR"], [1.0, 0.0]),
        (["FL", "FR", "FC", "LFE", "SL", "SR"], [1.0, 0.0, 0.7071, 0.0, 0.7071, 0.0]),
        (["FL", "FR", "BC"], [1.0, 0.0, 0.5]),
        (["NONE", "NONE", "NONE"], [1.0, 0.0, 0.7071]),
        (["A"] * 12, [1.0] + [0.0] * 11),
    ],
)
def test_each_channel_has_its_share_of_the_left(channels: list[str], left: list[float]) -> None:
    matrix = stereo_matrix(channels)
    assert matrix.shape == (2, len(channels))
    np.testing.assert_allclose(matrix[0], left, atol=1e-4)


def through(limiter: Limiter, sound: np.ndarray, size: int) -> np.ndarray:
    parts = [limiter.push(sound[:, at : at + size]) for at in range(0, sound.shape[1], size)]
    return np.concatenate([*parts, limiter.flush()], axis=1)


@pytest.mark.parametrize("size", [1, 7, 480, 5000])
def test_what_stays_below_full_scale_is_untouched(size: int) -> None:
    sound = np.random.default_rng(1).uniform(-1, 1, (2, 3000)).astype(np.float32)
    np.testing.assert_array_equal(through(Limiter(48), sound, size), sound)


@pytest.mark.parametrize("size", [1, 100, 5000])
def test_peaks_come_down_smoothly_and_no_sample_is_added(size: int) -> None:
    sound = np.full((2, 3000), 0.5, np.float32)
    sound[0, 1500] = 2.0
    out = through(Limiter(48), sound, size)
    assert out.shape == sound.shape
    assert np.abs(out).max() <= CEILING + 1e-6
    np.testing.assert_array_equal(out[:, :1400], sound[:, :1400])
    np.testing.assert_array_equal(out[:, 1600:], sound[:, 1600:])
    assert np.abs(np.diff(out[1])).max() < 0.5 / 48


def test_a_flushed_limiter_is_as_new() -> None:
    limiter, sound = Limiter(48), np.full((2, 500), 1.5, np.float32)
    np.testing.assert_array_equal(through(limiter, sound, 100), through(limiter, sound, 250))
