"""Rate-distortion curves and the Bjøntegaard delta between two of them. Pure; standard library only.

Source: G. Bjøntegaard, VCEG-M33 (2001), for the measure; ITU-T HSTP-VID-WPOM (07/2020), 2.4, for piecewise cubic
Hermite interpolation of log rate over quality, with the derivatives of F. Fritsch and J. Butland, SIAM J. Sci. Stat.
Comput. 5 (1984). Agrees with `bjontegaard` 1.3 (PyPI), method "pchip", to 1e-9.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One encode: what it took and what it gave, in any measure that grows with quality."""

    bps: float
    quality: float


def bd_rate_percent(anchor: Sequence[Point], other: Sequence[Point]) -> float | None:
    """By how many percent of rate the other curve lies above the anchor at the same quality; negative is better.

    Returns:
        the mean over the qualities that both curves reach; None when they share none, or when one does not rise.
    """
    curves = [_rising(anchor), _rising(other)]
    if any(len(points) < 2 for points in curves):
        return None
    low = max(points[0].quality for points in curves)
    high = min(points[-1].quality for points in curves)
    if low >= high:
        return None
    first, second = (
        _integral([point.quality for point in points], [math.log(point.bps) for point in points], low, high)
        for points in curves
    )
    return 100 * math.expm1((second - first) / (high - low))


def _rising(points: Sequence[Point]) -> list[Point]:
    """Points from bad to good, without those that cost more than a better one."""
    kept: list[Point] = []
    for point in sorted(points, key=lambda each: (each.bps, -each.quality)):
        if not kept or point.quality > kept[-1].quality:
            kept.append(point)
    return kept


def _integral(x: Sequence[float], y: Sequence[float], low: float, high: float) -> float:
    """Of the piecewise cubic through (x, y) from `low` to `high`, both within x."""
    slopes = _slopes(x, y)
    inner = [each for each in x if low < each < high]
    return sum(_piece(x, y, slopes, begin, end) for begin, end in pairwise([low, *inner, high]))


def _piece(x: Sequence[float], y: Sequence[float], slopes: Sequence[float], begin: float, end: float) -> float:
    """Integral within one interval of x; Simpson's rule is exact for cubics."""
    index = min(bisect_right(x, (begin + end) / 2), len(x) - 1) - 1
    width = x[index + 1] - x[index]

    def value(at: float) -> float:
        t = (at - x[index]) / width
        return (
            (1 + 2 * t) * (1 - t) ** 2 * y[index]
            + t * (1 - t) ** 2 * width * slopes[index]
            + t**2 * (3 - 2 * t) * y[index + 1]
            + t**2 * (t - 1) * width * slopes[index + 1]
        )

    return (end - begin) / 6 * (value(begin) + 4 * value((begin + end) / 2) + value(end))


def _slopes(x: Sequence[float], y: Sequence[float]) -> list[float]:
    """Derivatives at the points that keep the curve monotone between them."""
    widths = [end - begin for begin, end in pairwise(x)]
    rises = [(end - begin) / width for (begin, end), width in zip(pairwise(y), widths, strict=True)]
    if len(rises) == 1:
        return [rises[0], rises[0]]
    inner = []
    for (left, right), (before, after) in zip(pairwise(widths), pairwise(rises), strict=True):
        if before * after <= 0:
            inner.append(0.0)
            continue
        one, two = 2 * right + left, right + 2 * left
        inner.append((one + two) / (one / before + two / after))
    return [
        _end_slope(widths[0], widths[1], rises[0], rises[1]),
        *inner,
        _end_slope(widths[-1], widths[-2], rises[-1], rises[-2]),
    ]


def _end_slope(width: float, next_width: float, rise: float, next_rise: float) -> float:
    """The three-point derivative at an end, held to the shape of the data."""
    slope = ((2 * width + next_width) * rise - width * next_rise) / (width + next_width)
    if slope * rise <= 0:
        return 0.0
    if rise * next_rise <= 0 and abs(slope) > 3 * abs(rise):
        return 3 * rise
    return slope
