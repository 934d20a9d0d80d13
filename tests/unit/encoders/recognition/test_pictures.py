"""The hash of a picture and its views."""

from __future__ import annotations

import numpy as np
import pytest
from pretend_films import picture

from encoders.recognition.pictures import ASKED_VIEWS, REGISTERED_VIEWS, VIEWS, Luma, content_box, hash_picture


def distances(copy: Luma, original: Luma) -> np.ndarray:
    """Bits that differ, for each asked view of the copy and registered view of the original."""
    mine, theirs = hash_picture(copy), hash_picture(original)
    assert mine is not None
    assert theirs is not None
    pairs = mine[list(ASKED_VIEWS)][:, None] ^ theirs[list(REGISTERED_VIEWS)][None]
    return np.bitwise_count(pairs).sum(-1, dtype=np.int64)


def test_that_other_pictures_are_far_away_in_all_views() -> None:
    assert min(distances(picture(seed), picture(seed + 100)).min() for seed in range(12)) > 60


def test_that_size_and_light_change_little() -> None:
    small = picture(1, height=54, width=96)
    darker = (picture(1).astype(float) * 0.7 + 10).astype(np.uint8)
    assert distances(small, picture(1))[0, 0] <= 16
    assert distances(darker, picture(1))[0, 0] <= 16


def test_that_a_mirrored_copy_is_found_in_the_mirrored_view() -> None:
    found = distances(picture(2)[:, ::-1], picture(2))
    mirrored = [VIEWS[view].mirrored for view in ASKED_VIEWS].index(True)
    assert found[mirrored, 0] <= 4
    assert found[0, 0] > 60


@pytest.mark.parametrize("margin", [0.02, 0.05, 0.1])
def test_that_a_crop_is_found(margin: float) -> None:
    whole = picture(3, height=216, width=384)
    down, across = round(216 * margin), round(384 * margin)
    assert distances(whole[down : 216 - down, across : 384 - across], whole).min() <= 40


@pytest.mark.parametrize(("down", "across"), [(0, 0), (0, 38), (21, 0), (21, 38)])
def test_that_a_crop_towards_a_corner_is_found(down: int, across: int) -> None:
    whole = picture(4, height=216, width=384)
    assert distances(whole[down : down + 195, across : across + 346], whole).min() <= 40


def test_that_a_logo_hides_no_corner_but_its_own() -> None:
    branded = picture(5, height=216, width=384).copy()
    branded[10:50, 10:90] = 235
    assert distances(branded, picture(5, height=216, width=384)).min() <= 20


def test_that_black_bars_are_left_out() -> None:
    barred = np.full((180, 192), 16, np.uint8)
    barred[36:144] = picture(6)
    assert content_box(barred) == (36, 144, 0, 192)
    assert distances(barred, picture(6))[0, 0] <= 4


def test_that_a_subtitle_in_a_bar_does_not_make_it_picture() -> None:
    barred = np.full((180, 192), 16, np.uint8)
    barred[36:144] = picture(6)
    barred[160:166, 90:110] = 235
    assert content_box(barred) == (36, 144, 0, 192)


def test_that_a_bright_spot_in_the_dark_is_no_letterbox() -> None:
    dark = np.full((108, 192), 16, np.uint8)
    dark[50:60, 90:100] = 200
    assert content_box(dark) == (0, 108, 0, 192)


def test_that_flat_pictures_have_no_hash() -> None:
    assert hash_picture(np.full((108, 192), 16, np.uint8)) is None
    assert hash_picture(np.full((2, 2), 128, np.uint8)) is None


def test_that_the_tiniest_pictures_have_a_hash() -> None:
    assert hash_picture(np.array([[16, 235], [235, 100]], np.uint8)) is not None
