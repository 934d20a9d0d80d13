"""Where a source is damaged, as warnings say it: the asset's times, near ones together. Pure; standard library only."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import TypeAlias

Span: TypeAlias = tuple[Fraction, Fraction]
"""From and to, seconds."""

TOGETHER_S = Fraction(1, 2)
"""Places nearer to each other than this are named as one."""
MOST_PLACES = 3
"""More are counted only: a sentence is to be read."""


def joined(spans: Iterable[Span]) -> list[Span]:
    """Spans in order, those that overlap or are near made one."""
    found: list[Span] = []
    for begin_s, end_s in sorted(spans):
        if found and begin_s - found[-1][1] <= TOGETHER_S:
            found[-1] = (found[-1][0], max(found[-1][1], end_s))
        else:
            found.append((begin_s, end_s))
    return found


def places(spans: Iterable[Span]) -> str:
    """The places as words: "from 3.04 to 3.92 s", several of them separated by commas; "somewhere" for none.

    What lies before the asset begins has no place in it, and is named only if there is nothing else.
    """
    known = list(spans)
    found = joined((max(Fraction(0), begin_s), end_s) for begin_s, end_s in known if end_s > 0)
    named = [f"{float(begin_s):.2f} to {float(end_s):.2f} s" for begin_s, end_s in found[:MOST_PLACES]]
    more = len(found) - MOST_PLACES
    if not named:
        return "before its beginning" if known else "somewhere"
    return f"from {', '.join(named)}" + (f" and in {more} more places" if more > 0 else "")


def outside(spans: Iterable[Span], others: Iterable[Span]) -> list[Span]:
    """Those spans that lie near none of the others."""
    known = list(others)
    return [
        (begin_s, end_s)
        for begin_s, end_s in spans
        if not any(begin_s < other[1] + TOGETHER_S and other[0] - TOGETHER_S < end_s for other in known)
    ]


def total_s(spans: Iterable[Span]) -> Fraction:
    """Their length together, what overlaps counted once."""
    length_s, until_s = Fraction(0), None
    for begin_s, end_s in sorted(spans):
        start_s = begin_s if until_s is None else max(begin_s, until_s)
        length_s += max(Fraction(0), end_s - start_s)
        until_s = end_s if until_s is None else max(until_s, end_s)
    return length_s
