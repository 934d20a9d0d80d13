"""Where a video shows registered works: votes for an offset, then the offset checked frame by frame.

Distances are Hamming's, of 256 bits. First the coarse 64 bits of a work's samples are compared with what is asked;
what is near in all bits votes for (work, offset). Along the offsets with most votes every sample of the video is
compared with the work's samples at that place, view by view; a span counts when enough of its samples agree.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from encoders.recognition.catalogue import Catalogue
from encoders.recognition.fingerprint import PictureMarks
from encoders.recognition.known import Span
from encoders.recognition.listener import SAMPLES_PER_S
from encoders.recognition.near import NEAR_BITS, Near, bits, near_hashes
from encoders.recognition.pictures import ASKED_VIEWS, HASH_BYTES, REGISTERED_VIEWS
from encoders.recognition.spans import hit_spans

SAME_BITS = 6
"""A picture that near to the last one asked is not asked again: it would find the same."""
MOST_OFFSETS = 48
"""Offsets checked, those with most votes first: a copy at another speed drifts through many."""
MOST_PAIRS = 3
"""Pairs of views checked at one offset: a copy is cropped or mirrored one way, its neighbours vote, too."""
WHOLE_VIEWS = 2
"""The first of `ASKED_VIEWS`, whole pictures; parts are asked of every other sample."""
LEAST_VOTES = 2
REACH_SAMPLES = 1
"""Around an offset, since a copy's samples lie between the original's."""
LEAST_PICTURES = 3
"""Different pictures that a span must show: a title card or a slide is no work."""
CHANGED_BITS = 16
"""A picture that far from the last counts as a different one: coding noise stays below, slow motion does not."""
LEAST_HITS = 8
_AHEADS, _PAIRS = 1 << 24, 128
"""A vote is one number: work, offset (48 days of samples to both sides), pair of views."""

Distances = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkSpan:
    """A span in which a video shows a work; `work` is its index in the catalogue."""

    work: int
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Asked:
    """A video's pictures, and what is asked of every part of the catalogue about them.

    Attributes:
        marks: all of them.
        hashes: what is asked, n x 32 bytes.
        samples: where on the video's clock.
        views: in which of `ASKED_VIEWS`.
    """

    marks: PictureMarks
    hashes: npt.NDArray[np.uint8]
    samples: npt.NDArray[np.int64]
    views: npt.NDArray[np.int64]


def questions_of(marks: PictureMarks) -> Asked:
    """What is asked about a video's pictures; of those that hardly differ from the last asked nothing."""
    rows: list[int] = []
    views: list[int] = []
    for number, view in enumerate(ASKED_VIEWS):
        step = 1 if number < WHOLE_VIEWS else 2
        hashes = marks["hashes"][:, view]
        last = -1
        for row in range(0, len(marks), step):
            if last < 0 or bits(hashes[row] ^ hashes[last]) > SAME_BITS:
                last = row
                rows.append(row)
                views.append(number)
    at, asked = np.array(rows, np.int64), np.array(views, np.int64)
    return Asked(
        marks=marks,
        hashes=marks["hashes"][at, np.array(ASKED_VIEWS)[asked]],
        samples=marks["sample"][at].astype(np.int64),
        views=asked,
    )


def find_pictures(
    asked: Asked,
    catalogue: Catalogue,
    share: float,
    min_s: float,
    leave_out: Collection[int],
    near: Callable[[npt.NDArray[np.uint8], Catalogue], Near] = near_hashes,
) -> list[WorkSpan]:
    """All spans of works in a video's pictures; those of one work may overlap.

    Args:
        share: of a span's samples, how many must agree.
        leave_out: indices of works that do not count.
        near: finds the registered hashes that are near those asked; benchmarks try others.
    """
    found: list[WorkSpan] = []
    if not len(asked.marks) or not len(catalogue.coarse):
        return found
    covered: dict[int, npt.NDArray[np.bool_]] = {}
    for guess in _guesses(asked, catalogue, leave_out, near(asked.hashes, catalogue)):
        seen = covered.setdefault(guess.work, np.zeros(len(asked.marks), np.bool_))
        for first, last, span in _check(asked.marks, catalogue, guess, share, min_s):
            # A still scene agrees at many offsets: what is covered already tells nothing new.
            if not seen[first : last + 1].all():
                seen[first : last + 1] = True
                found.append(WorkSpan(work=guess.work, span=span))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Guess:
    """Where a work may be: it is `ahead` samples ahead of the video, in some of these pairs of views."""

    work: int
    ahead: int
    pairs: tuple[int, ...]


def _guesses(asked: Asked, catalogue: Catalogue, leave_out: Collection[int], near: Near) -> list[_Guess]:
    """What most pictures vote for, those with most votes first, none a sample next to one that is there already."""
    rows = catalogue.places[near.places // len(REGISTERED_VIEWS)]
    works = catalogue.work_of_picture(rows)
    ahead = catalogue.pictures["sample"][rows].astype(np.int64) - asked.samples[near.questions]
    pair = asked.views[near.questions] * len(REGISTERED_VIEWS) + near.places % len(REGISTERED_VIEWS)
    votes = (works * _AHEADS + ahead + _AHEADS // 2) * _PAIRS + pair
    votes = votes[~np.isin(works, list(leave_out))]
    if not len(votes):
        return []
    keys, counts = np.unique(votes, return_counts=True)
    # Samples fall on both sides of the true offset: a neighbour's votes count, too.
    support = counts + _count_at(keys, counts, keys - _PAIRS) + _count_at(keys, counts, keys + _PAIRS)
    ranked = np.argsort(-support, kind="stable")[: MOST_OFFSETS * MOST_PAIRS * 8]
    taken: dict[tuple[int, int], list[int]] = {}
    for key, votes_for in zip(keys[ranked].tolist(), support[ranked].tolist(), strict=True):
        if votes_for < LEAST_VOTES:
            break
        place, pair = divmod(key, _PAIRS)
        work, ahead = place // _AHEADS, place % _AHEADS - _AHEADS // 2
        near_by = next(((work, ahead + by) for by in (0, -1, 1) if (work, ahead + by) in taken), None)
        if near_by is None and len(taken) < MOST_OFFSETS:
            taken[work, ahead] = [pair]
        elif near_by is not None and len(taken[near_by]) < MOST_PAIRS and pair not in taken[near_by]:
            taken[near_by].append(pair)
    return [_Guess(work=work, ahead=ahead, pairs=tuple(pairs)) for (work, ahead), pairs in taken.items()]


def _count_at(
    keys: npt.NDArray[np.int64], counts: npt.NDArray[np.int64], wanted: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Counts of other keys, 0 for those that are not there; `keys` rise."""
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[places] == wanted, counts[places], 0)


def _check(
    asked: PictureMarks, catalogue: Catalogue, guess: _Guess, share: float, min_s: float
) -> list[tuple[int, int, Span]]:
    """Spans (first row, last row, span) in which the work is shown at one offset in one pair of views."""
    start, end = catalogue.works[guess.work].pictures
    work = catalogue.pictures[start:end]
    least = max(LEAST_HITS, round(min_s * SAMPLES_PER_S))
    best: list[tuple[int, int, Span]] = []
    for pair in guess.pairs:
        mine, theirs = ASKED_VIEWS[pair // len(REGISTERED_VIEWS)], REGISTERED_VIEWS[pair % len(REGISTERED_VIEWS)]
        agree = _along(asked, mine, work, theirs, guess.ahead) <= NEAR_BITS
        spans = [
            (first, last, _span(asked, first, last, score, guess.ahead))
            for first, last, score in hit_spans(agree, share, least)
            if _pictures(asked["hashes"][first : last + 1, mine]) >= LEAST_PICTURES
        ]
        if sum(last - first for first, last, _ in spans) > sum(last - first for first, last, _ in best):
            best = spans
    return best


def _along(asked: PictureMarks, mine: int, work: PictureMarks, theirs: int, ahead: int) -> Distances:
    """Distance of each asked sample to the nearest of the work's at an offset, in one pair of views."""
    samples = work["sample"].astype(np.int64)
    out = np.full(len(asked), HASH_BYTES * 8, np.int64)
    wanted = asked["sample"].astype(np.int64) + ahead
    for by in range(-REACH_SAMPLES, REACH_SAMPLES + 1):
        rows = np.minimum(np.searchsorted(samples, wanted + by), len(samples) - 1)
        there = np.flatnonzero(samples[rows] == wanted + by)
        distances = bits(asked["hashes"][there, mine] ^ work["hashes"][rows[there], theirs])
        out[there] = np.minimum(out[there], distances)
    return out


def _span(asked: PictureMarks, first: int, last: int, score: float, ahead: int) -> Span:
    begin_s, end_s = int(asked["sample"][first]) / SAMPLES_PER_S, (int(asked["sample"][last]) + 1) / SAMPLES_PER_S
    ahead_s = ahead / SAMPLES_PER_S
    return Span(
        start_s=begin_s,
        end_s=end_s,
        work_start_s=max(0.0, begin_s + ahead_s),
        work_end_s=max(0.0, end_s + ahead_s),
        score=round(score, 3),
    )


def _pictures(hashes: npt.NDArray[np.uint8]) -> int:
    """How many different pictures follow each other."""
    count, last = 1, hashes[0]
    for each in hashes[1:]:
        if bits(each ^ last) > CHANGED_BITS:
            count, last = count + 1, each
    return count
