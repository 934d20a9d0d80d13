"""Where a video plays registered works: equal words vote for an offset, then bits are compared along it.

A word of chromaprint describes 2.6 s of sound; of two encodes of one sound some words are equal in their first 20
bits, which is enough to find the offset. Along it the share of differing bits tells the same sound (below 0.1, with
a changed tempo 0.2) from another (0.35 and more).
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from encoders.recognition.catalogue import Catalogue
from encoders.recognition.fingerprint import Words
from encoders.recognition.known import Span
from encoders.recognition.match_pictures import WorkSpan
from encoders.recognition.sound import WORDS_PER_S

PREFIX_BITS = 20
"""Of 32 that must be equal for a vote."""
MOST_HITS = 64
"""Places one word may vote for; words of silence and of steady tones stand in thousands."""
BIN_WORDS = 4
"""Width of an offset in votes, half a second: tempo drifts."""
LEAST_VOTES = 4
MOST_OFFSETS = 32
DISTINCT_SHARE = 0.25
"""Of a span's words, how many must differ from one another: silence and test tones are no work."""
WINDOW_S = 8.0
"""Over which differing bits are averaged."""
EDGE_WORDS = 8
"""A second, over which bits are averaged to find where a span begins and ends."""
SHORT_ERROR = 0.6
"""Sound shorter than a window must agree better by this factor: fewer bits agree by chance more easily."""
LEAST_WORDS = 24
"""Of sound so short that it is compared whole: three seconds, beside the 2.6 s that the first word takes."""

_BINS = 1 << 32
"""A vote is one number: work, bin of an offset."""


def find_sounds(
    asked: Words, catalogue: Catalogue, error: float, min_s: float, leave_out: Collection[int]
) -> list[WorkSpan]:
    """All spans of works in a video's sound; those of one work may overlap.

    Args:
        error: share of differing bits up to which sound is the same.
        min_s: shortest span; of sound shorter than that, all of it must match.
    """
    window = min(len(asked), round(WINDOW_S * WORDS_PER_S))
    if window < LEAST_WORDS or not len(catalogue.words):
        return []
    if window < round(WINDOW_S * WORDS_PER_S):
        error *= SHORT_ERROR
    least = min(window, max(LEAST_WORDS, round(min_s * float(WORDS_PER_S))))
    found: list[WorkSpan] = []
    covered: dict[int, npt.NDArray[np.bool_]] = {}
    for work, offset in _offsets(asked, catalogue, leave_out):
        seen = covered.setdefault(work, np.zeros(len(asked), np.bool_))
        for first, last, score, ahead in _check(asked, catalogue, work, offset, error, window):
            fresh = not seen[first : last + 1].all()
            if last - first + 1 >= least and fresh and _distinct(asked[first : last + 1]):
                seen[first : last + 1] = True
                found.append(WorkSpan(work=work, span=_span(first, last, score, ahead)))
    return found


def _offsets(asked: Words, catalogue: Catalogue, leave_out: Collection[int]) -> list[tuple[int, int]]:
    """(work, words that the work is ahead, the lower end of a bin), those with most votes first."""
    shift = np.uint32(32 - PREFIX_BITS)
    unique, first = np.unique(asked, return_index=True)
    low = np.searchsorted(catalogue.sorted_words, (unique >> shift) << shift)
    high = np.searchsorted(catalogue.sorted_words, unique | np.uint32((1 << int(shift)) - 1), side="right")
    counts = np.asarray(high - low, np.int64)
    counts[counts > MOST_HITS] = 0
    asks = np.repeat(np.arange(len(unique)), counts)
    if not len(asks):
        return []
    within = np.arange(len(asks)) - (np.cumsum(counts) - counts)[asks]
    places = catalogue.positions[low[asks] + within].astype(np.int64)
    works = catalogue.work_of_word(places)
    starts = np.array([work.words[0] for work in catalogue.works])[works]
    votes = works * _BINS + (places - starts - first[asks]) // BIN_WORDS + _BINS // 2
    order = np.lexsort((votes, asks))
    votes, asks = votes[order], asks[order]
    # A word that stands in a bin several times votes for it once.
    fresh = np.ones(len(votes), np.bool_)
    fresh[1:] = (votes[1:] != votes[:-1]) | (asks[1:] != asks[:-1])
    keys, counts = np.unique(votes[fresh], return_counts=True)
    after = np.minimum(np.searchsorted(keys, keys + 1), len(keys) - 1)
    support = counts + np.where(keys[after] == keys + 1, counts[after], 0)
    wanted = (support >= LEAST_VOTES) & ~np.isin(keys // _BINS, list(leave_out))
    keys, support = keys[wanted], support[wanted]
    best = keys[np.argsort(-support, kind="stable")[:MOST_OFFSETS]]
    return [(int(key // _BINS), int(key % _BINS - _BINS // 2) * BIN_WORDS) for key in best]


def _check(
    asked: Words, catalogue: Catalogue, work: int, offset: int, error: float, window: int
) -> list[tuple[int, int, float, int]]:
    """(first word, last word, share of differing bits, offset) of spans along the best offset of a bin."""
    start, end = catalogue.works[work].words
    theirs = catalogue.words[start:end]
    best: list[tuple[int, int, float, int]] = []
    for ahead in range(offset - 1, offset + 2 * BIN_WORDS + 1):
        begin, until = max(0, -ahead), min(len(asked), len(theirs) - ahead)
        if until - begin < window:
            continue
        bits = np.bitwise_count(asked[begin:until] ^ theirs[begin + ahead : until + ahead]) / 32
        sums = np.concatenate([[0.0], np.cumsum(bits)])
        good = np.flatnonzero((sums[window:] - sums[:-window]) / window <= error)
        marked = np.zeros(until - begin, np.bool_)
        for place in good:
            marked[place : place + window] = True
        edges = np.flatnonzero(np.diff(np.concatenate([[0], marked.view(np.int8), [0]])))
        spans = []
        for low, high in zip(edges[::2], edges[1::2], strict=True):
            # A window that is half the work's passes as a whole: its ends must agree by themselves.
            local = (sums[EDGE_WORDS:] - sums[:-EDGE_WORDS])[low : high - EDGE_WORDS + 1] / EDGE_WORDS
            agree = np.flatnonzero(local <= error) + low
            if len(agree):
                first, last = int(agree[0]), int(agree[-1]) + EDGE_WORDS - 1
                spans.append((first + begin, last + begin, float(bits[first : last + 1].mean()), ahead))
        if (_length(spans), -_error(spans)) > (_length(best), -_error(best)):
            best = spans
    return best


def _length(spans: list[tuple[int, int, float, int]]) -> int:
    return sum(last - first + 1 for first, last, _, _ in spans)


def _error(spans: list[tuple[int, int, float, int]]) -> float:
    return min((score for _, _, score, _ in spans), default=1.0)


def _distinct(words: Words) -> bool:
    return len(np.unique(words)) >= DISTINCT_SHARE * len(words)


def _span(first: int, last: int, score: float, ahead: int) -> Span:
    def seconds(words: int) -> float:
        return round(float(words / WORDS_PER_S), 3)

    return Span(
        start_s=seconds(first),
        end_s=seconds(last + 1),
        work_start_s=max(0.0, seconds(first + ahead)),
        work_end_s=max(0.0, seconds(last + 1 + ahead)),
        score=round(score, 3),
    )
