"""Near hashes, found by comparing all and by lists, against what a loop over all pairs says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from encoders.recognition import near
from encoders.recognition.catalogue import Catalogue, open_catalogue, write_catalogue
from encoders.recognition.fingerprint import PICTURE, Fingerprint
from encoders.recognition.near import near_hashes
from encoders.recognition.pictures import REGISTERED_VIEWS

SAMPLES = 60


@pytest.fixture(params=["all", "lists"])
def catalogue(request: pytest.FixtureRequest, tmp_path: Path) -> Catalogue:
    """A part whose hashes are few and alike, so that they are near one another and lists hold many."""
    rng = np.random.default_rng(3)
    pictures = np.zeros(SAMPLES, PICTURE)
    pictures["sample"] = np.arange(SAMPLES)
    kinds = rng.integers(0, 256, (9, 32), np.uint8)
    shape = pictures["hashes"].shape[:2]
    pictures["hashes"] = turned(kinds[rng.integers(0, len(kinds), shape)], rng.integers(0, 40, shape), rng)
    works = [("w", "W", "w", Fingerprint(pictures=pictures, sound=np.zeros(0, np.uint32)))]
    write_catalogue(tmp_path / "part", works, lists_from=1 if request.param == "lists" else 1 << 60)
    part = open_catalogue(tmp_path / "part")
    assert bool(len(part.starts)) == (request.param == "lists")
    return part


def turned(
    hashes: npt.NDArray[np.uint8], counts: npt.NDArray[np.int64], rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Hashes with about so many of their bits turned."""
    flips = rng.random((*hashes.shape[:-1], 256)) < counts[..., None] / 256
    return hashes ^ np.packbits(flips, axis=-1)


def expected(wanted: npt.NDArray[np.uint8], part: Catalogue, most: int) -> list[list[int]]:
    """For each question the nearest places, the nearest first."""
    hashes = part.pictures["hashes"][part.places][:, list(REGISTERED_VIEWS)].reshape(-1, 32)
    found = []
    for question in wanted:
        differing = np.unpackbits(hashes ^ question, axis=1).astype(int)
        coarse = differing[:, :64].sum(1)
        near_enough = coarse <= near.NEAR_COARSE_BITS
        if len(part.starts):
            shared = (~differing[:, :64].reshape(-1, 4, 16).astype(bool).any(2)).any(1)
            near_enough = shared & (coarse <= near.NEAR_LISTED_BITS)
        distances = differing.sum(1)
        places = np.flatnonzero(near_enough & (distances <= near.NEAR_BITS))
        found.append(sorted(places.tolist(), key=lambda place: (distances[place], place))[:most])
    return found


def answered(wanted: npt.NDArray[np.uint8], part: Catalogue) -> list[list[int]]:
    pairs = near_hashes(wanted, part)
    assert (np.diff(pairs.questions) >= 0).all()
    return [pairs.places[pairs.questions == question].tolist() for question in range(len(wanted))]


def questions(part: Catalogue) -> npt.NDArray[np.uint8]:
    rng = np.random.default_rng(4)
    known = part.pictures["hashes"][::7, 0]
    return np.concatenate(
        [turned(known, rng.integers(0, 30, len(known)), rng), rng.integers(0, 256, (3, 32), np.uint8)]
    )


def test_that_each_question_gets_its_nearest_hashes(catalogue: Catalogue) -> None:
    wanted = questions(catalogue)
    right = expected(wanted, catalogue, near.MOST_HITS)
    assert any(len(places) > 10 for places in right)
    assert right[-3:] == [[], [], []]
    assert answered(wanted, catalogue) == right


def test_that_only_the_nearest_count_where_there_are_many(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(near, "MOST_HITS", 5)
    wanted = questions(catalogue)
    assert answered(wanted, catalogue) == expected(wanted, catalogue, 5)


def test_that_questions_are_put_in_portions_without_a_difference(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = questions(catalogue)
    at_once = answered(wanted, catalogue)
    monkeypatch.setattr(near, "PAIRS_AT_ONCE", 3)
    monkeypatch.setattr(near, "BLOCK", 7)
    assert answered(wanted, catalogue) == at_once


def test_that_no_question_gets_no_answer(catalogue: Catalogue) -> None:
    pairs = near_hashes(np.zeros((0, 32), np.uint8), catalogue)
    assert len(pairs.questions) == len(pairs.places) == 0
