"""Which registered hashes are near those of a video. Distances are Hamming's, of 256 bits.

All questions are put to a part of the catalogue at once: one by one, what numpy does before it begins takes ten times
as long as the few hundred hashes that a question is compared with.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from encoders.recognition.catalogue import BANDS, Catalogue
from encoders.recognition.pictures import REGISTERED_VIEWS

NEAR_BITS = 60
"""Of 256: hashes within this are of one picture. Unrelated pictures differ by 110 to 128 (docs/known-content.md)."""
NEAR_COARSE_BITS = 20
"""Of the first 64. Low frequencies change least: of hashes within `NEAR_BITS` nearly all are within this."""
NEAR_LISTED_BITS = 16
"""The same, of hashes that share a piece: of 16,500 such pairs in films and copies 99.9 % are within 15. By chance one
in 67 is within 16 and a sixth within 20; each costs a look at another page of the file."""
MOST_HITS = 64
"""Nearest samples that one asked picture may vote for; a still picture has thousands."""
BLOCK = 1 << 16
"""Coarse hashes compared at once: their differences stay in the processor's cache."""

PAIRS_AT_ONCE = 1 << 18
"""Of a question and a listed hash: some 10 MB of memory, however long the video and its lists are."""

Hashes = npt.NDArray[np.uint8]
Coarse = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Near:
    """Pairs of near hashes, question by question, the nearest first.

    Attributes:
        questions: row in what was asked.
        places: place in the catalogue's coarse hashes.
    """

    questions: Places
    places: Places


def near_hashes(wanted: Hashes, catalogue: Catalogue) -> Near:
    """Registered hashes that are within `NEAR_BITS` of those asked (n x 32 bytes), the nearest `MOST_HITS` of each."""
    firsts = np.ascontiguousarray(wanted[:, :8]).view("<u8").ravel()
    candidates = _listed(firsts, catalogue) if len(catalogue.starts) else _all(firsts, catalogue)
    pairs = [_nearest(wanted, catalogue, questions, places) for questions, places in candidates]
    pairs = pairs or [(np.zeros(0, np.int64), np.zeros(0, np.int64))]
    return Near(
        questions=np.concatenate([questions for questions, _ in pairs]),
        places=np.concatenate([places for _, places in pairs]),
    )


def bits(difference: npt.NDArray[np.uint8]) -> Any:
    """Set bits along the last axis."""
    words = np.ascontiguousarray(difference).view(np.uint64)
    return np.bitwise_count(words).sum(-1, dtype=np.int64)


def _all(firsts: Coarse, catalogue: Catalogue) -> Iterator[tuple[Places, Places]]:
    """Pairs that are near in the coarse bits, question by question: every registered hash is compared."""
    for question, first in enumerate(firsts):
        found = []
        for start in range(0, len(catalogue.coarse), BLOCK):
            block = catalogue.coarse[start : start + BLOCK]
            found.append(np.flatnonzero(np.bitwise_count(block ^ first) <= NEAR_COARSE_BITS) + start)
        places = np.concatenate(found)
        yield np.full(len(places), question), places


def _listed(firsts: Coarse, catalogue: Catalogue) -> Iterator[tuple[Places, Places]]:
    """Pairs that are near in the coarse bits and share one of their pieces, some questions at a time."""
    pieces = firsts.view("<u2").reshape(-1, BANDS)
    begins, counts = catalogue.lists_of(pieces)
    for some in _portions(counts.sum(1)):
        found = []
        for band in range(BANDS):
            length = counts[some, band]
            ends = np.cumsum(length)
            entries = np.repeat(begins[some, band] - ends + length, length)
            entries += np.arange(len(entries))
            places = catalogue.listed[entries]
            difference = catalogue.coarse[places]
            difference ^= np.repeat(firsts[some], length)
            near = np.flatnonzero(np.bitwise_count(difference) <= NEAR_LISTED_BITS)
            # What shares an earlier piece as well was found there.
            near = near[difference[near].view("<u2").reshape(-1, BANDS)[:, :band].all(1)]
            questions = np.searchsorted(ends, near, side="right") + some.start
            found.append((questions, places[near].astype(np.int64)))
        yield np.concatenate([each for each, _ in found]), np.concatenate([each for _, each in found])


def _portions(counts: Places) -> Iterator[slice]:
    """Spans of questions with at most `PAIRS_AT_ONCE` together, or of one question."""
    sums = np.cumsum(counts)
    start = 0
    while start < len(counts):
        before = sums[start - 1] if start else 0
        end = max(start + 1, int(np.searchsorted(sums, before + PAIRS_AT_ONCE, side="right")))
        yield slice(start, end)
        start = end


def _nearest(wanted: Hashes, catalogue: Catalogue, questions: Places, places: Places) -> tuple[Places, Places]:
    """Of pairs of whole questions those that are near in all bits, the nearest `MOST_HITS` of each question."""
    rows = catalogue.places[places // len(REGISTERED_VIEWS)]
    views = np.array(REGISTERED_VIEWS)[places % len(REGISTERED_VIEWS)]
    distances = bits(catalogue.pictures["hashes"][rows, views] ^ wanted[questions])
    near = np.flatnonzero(distances <= NEAR_BITS)
    questions, places = questions[near], places[near]
    order = np.lexsort((places, distances[near], questions))
    questions, places = questions[order], places[order]
    rank = np.arange(len(questions)) - np.searchsorted(questions, questions)
    return questions[rank < MOST_HITS], places[rank < MOST_HITS]
