"""The comparison of tone mapping operators: the first is the product's, all keep greys, measures see what they name."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.tonemap import OPERATORS, eetf, measure, nits_to_pq
from encoders.tonemap import PEAK_NITS, WHITE_NITS, Light, hlg_to_nits, pq_to_nits, to_bt709

GREYS = np.repeat(np.linspace(0, PEAK_NITS, 201)[:, None], 3, axis=1)


def test_the_first_operator_is_the_products() -> None:
    codes = np.random.default_rng(7).random((500, 3))
    first = next(iter(OPERATORS.values()))
    assert np.allclose(first(pq_to_nits(codes)), to_bt709(codes, Light.PQ))
    assert np.allclose(first(hlg_to_nits(codes)), to_bt709(codes, Light.HLG))


@pytest.mark.parametrize("name", OPERATORS)
def test_greys_stay_grey_and_in_order_from_black_to_white(name: str) -> None:
    codes = OPERATORS[name](GREYS)
    assert np.ptp(codes, axis=1).max() < 2e-3
    assert (np.diff(codes[:, 1]) >= -1e-6).all()
    assert codes[0].max() < 1e-3
    assert codes[-1].min() > 0.98


def test_pq_there_and_back() -> None:
    nits = np.array([0.01, 1.0, 100.0, 1000.0, 10_000.0])
    assert np.allclose(pq_to_nits(nits_to_pq(nits)), nits, rtol=1e-6)


def test_the_eetf_ends_at_white_and_leaves_the_dark_alone() -> None:
    assert eetf(np.array([PEAK_NITS]))[0] == pytest.approx(WHITE_NITS, rel=1e-3)
    assert eetf(np.array([10.0]))[0] == pytest.approx(10.0, rel=1e-6)


def test_measures_see_what_they_are_named_after() -> None:
    shape = (1, 16, 64)
    rng = np.random.default_rng(3)
    nits = rng.uniform(5, 100, (16 * 64, 1)) * np.array([[1.0, 0.8, 0.6]])
    nits[:100] = rng.uniform(300, 900, (100, 1))
    kept = measure(nits, OPERATORS["Mobius, largest channel"](nits), shape)
    cut = measure(nits, OPERATORS["none (cut off)"](nits), shape)
    dark = measure(nits, OPERATORS["Hable, largest channel"](nits), shape)
    assert cut.clipped == 1.0
    assert kept.clipped == 0.0
    assert kept.highlights is not None
    assert cut.highlights == pytest.approx(0.0)
    assert kept.highlights > 3
    assert kept.middle is not None
    assert dark.middle is not None
    assert dark.middle < kept.middle - 10
    mirrored = measure(nits, OPERATORS["Mobius, largest channel"](nits)[:, ::-1], shape)
    assert kept.hue_degrees == pytest.approx(0.0, abs=0.1)
    assert mirrored.hue_degrees is not None
    assert mirrored.hue_degrees > 20
    assert kept.structure is not None
    assert kept.structure > 0.95


def test_measures_of_too_few_pixels_are_left_out() -> None:
    nits = np.full((256, 3), 1.0)
    found = measure(nits, OPERATORS["none (cut off)"](nits), (1, 16, 16))
    assert (found.middle, found.highlights, found.clipped, found.hue_degrees, found.structure) == (None,) * 5
