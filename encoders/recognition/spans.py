"""Spans of a row of yes and no in which there is enough yes. Pure."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def hit_spans(hits: npt.NDArray[np.bool_], share: float, least: int) -> list[tuple[int, int, float]]:
    """(first, last, share of yes) of spans that start and end with a yes, disjoint and in order.

    Args:
        share: that every window of `least` places must have, and so the span.
        least: places with a yes that a span must have; also the length of the window.
    """
    count = len(hits)
    if count < least:
        return []
    sums = np.concatenate([[0], np.cumsum(hits, dtype=np.int64)])
    good = np.flatnonzero(sums[least:] - sums[:-least] >= share * least)
    marked = np.zeros(count, np.bool_)
    for start in good:
        marked[start : start + least] = True
    found = []
    edges = np.flatnonzero(np.diff(np.concatenate([[0], marked.view(np.int8), [0]])))
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        places = np.flatnonzero(hits[begin:end]) + begin
        first, last = int(places[0]), int(places[-1])
        score = len(places) / (last - first + 1)
        if len(places) >= least and score >= share:
            found.append((first, last, score))
    return found
