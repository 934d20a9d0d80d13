"""Light: known points of the curves, and what tone mapping must keep."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoders.tonemap import (
    KNEE,
    PEAK_NITS,
    WHITE_NITS,
    Light,
    fit_gamut,
    hald_image,
    hlg_to_nits,
    pq_to_nits,
    roll_off,
    to_bt709,
)

COLOURS = st.lists(st.floats(0, 1), min_size=3, max_size=3).map(lambda values: np.array([values]))


def grey(code: float) -> np.ndarray:
    return np.full((1, 3), code)


@pytest.mark.parametrize(("code", "nits"), [(0, 0), (0.5081, 100), (0.5807, 203), (0.7518, 1000), (1, 10_000)])
def test_pq_codes_stand_for_the_light_of_the_standard(code: float, nits: float) -> None:
    assert pq_to_nits(np.array(code)) == pytest.approx(nits, rel=2e-3, abs=1e-6)


@pytest.mark.parametrize(("code", "nits"), [(0, 0), (0.38, 26), (0.75, 203), (1, 1000)])
def test_hlg_codes_stand_for_the_light_of_the_recommendation(code: float, nits: float) -> None:
    assert hlg_to_nits(grey(code))[0, 0] == pytest.approx(nits, rel=0.02, abs=1e-3)


def test_below_the_knee_nothing_changes_and_above_it_highlights_stay_apart() -> None:
    nits = np.linspace(0, PEAK_NITS, 2001)
    rolled = roll_off(nits)
    below = nits <= KNEE * WHITE_NITS
    assert np.allclose(rolled[below], nits[below])
    assert (np.diff(rolled) > 0).all()
    # The slope falls without a step.
    assert np.abs(np.diff(rolled, 2)).max() < 0.02
    assert roll_off(np.array(PEAK_NITS)) == pytest.approx(WHITE_NITS)
    assert roll_off(np.array(4 * PEAK_NITS)) == pytest.approx(WHITE_NITS)


@pytest.mark.parametrize("light", list(Light))
def test_grey_stays_grey_black_black_and_white_white(light: Light) -> None:
    codes = to_bt709(np.repeat(np.linspace(0, 1, 50)[:, None], 3, axis=1), light)
    assert np.ptp(codes, axis=1).max() < 0.002
    assert (np.diff(codes[:, 1]) >= -1e-9).all()
    assert codes[0].max() < 1e-3
    assert codes[-1].min() > 0.999


@given(colour=COLOURS, light=st.sampled_from(list(Light)))
def test_every_colour_fits(colour: np.ndarray, light: Light) -> None:
    codes = to_bt709(colour, light)
    assert np.isfinite(codes).all()
    assert codes.min() >= 0
    assert codes.max() <= 1


@given(COLOURS)
def test_colours_within_the_gamut_are_left_alone(colour: np.ndarray) -> None:
    assert np.allclose(fit_gamut(colour), colour)


def test_colours_outside_keep_their_luminance() -> None:
    outside = np.array([[0.9, -0.2, 0.1], [-0.1, 0.5, 0.2], [0.1, 0.1, 1.3]])
    weights = np.array([0.2126, 0.7152, 0.0722])
    assert np.allclose(fit_gamut(outside) @ weights, outside @ weights)


def test_p3_red_is_redder_than_bt709_can_show() -> None:
    red, muted = to_bt709(np.array([[1.0, 0, 0], [0.6, 0.3, 0.3]]), Light.P3)
    assert red[0] == pytest.approx(1)
    assert muted[0] - muted[1] > 0.31


@pytest.mark.parametrize("light", list(Light))
def test_the_table_holds_the_formula_at_its_places(light: Light) -> None:
    table = hald_image(light, level=3).reshape(9, 9, 9, 3)
    red, green, blue = 2, 5, 7
    want = to_bt709(np.array([[red / 8, green / 8, blue / 8]]), light)[0]
    assert np.allclose(table[blue, green, red] / 65535, want, atol=1e-4)
