"""What a track's packet times say: which frames are shown when, on which constant rate, and where decoding can start.

Pure functions over arrays of ticks (`int64`, of the track's time base). A frame rate "fits" when every time is within
0.3 frames of its place, places are distinct, and at least 80 % of them are taken; so 23.976, 29.97 and 59.94 are told
from 24, 30 and 60 as soon as a clip is long enough for it to matter.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Ticks: TypeAlias = npt.NDArray[np.int64]
Flags: TypeAlias = npt.NDArray[np.bool_]

NO_TIME = -(1 << 63)
"""A packet without a presentation time. Source: AV_NOPTS_VALUE."""

COMMON_RATES = tuple(map(Fraction, (24, 25, 30, 50, 60, 48, 15, 12, 10, 20, 72, 90, 100, 120, 144, 240))) + tuple(
    Fraction(rate * 1000, 1001) for rate in (24, 30, 60, 48, 120, 15, 12, 240)
)
"""Rates of cameras, broadcasts, films and screens; the 1000/1001 family is SMPTE's."""

RATE_RANGE = (Fraction(1), Fraction(300))
FIT_FRAMES = 0.3
FIT_TAKEN = 0.8
SAME_RATE = Fraction(9, 10000)
"""Two rates this close (relative) are one: a clip short enough to fit both cannot tell them apart."""

FILM_RATES = (Fraction(24000, 1001), Fraction(24))
"""Of film that is shown with pulldown in streams which claim 5/4 of it, their frames, or 5/2, their fields."""

NEAR_MEAN = 0.005
"""How close (relative) a common rate must come to a track's mean to be tried."""

ROUNDED_RATE = Fraction(1, 50_000)
"""A claim this close (relative) to a common rate means it: 23.976, or the nanoseconds of a frame in Matroska."""

LONE_FRAME_RATE = Fraction(25)

REORDER_LIMIT = 32
"""Places by which presentation and decoding order may differ: 16 frames of the decoded picture buffer, as fields.
Source: ITU-T H.264 A.3.1 (max_dec_frame_buffering <= 16); H.265 A.4.2 (16 pictures)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Packets:
    """All packets of one track in file order; arrays of one length.

    Attributes:
        pts: presentation times, NO_TIME where missing.
        duration: ticks, 0 where unknown.
        key: decoding can start here, says the container or the parser.
        discard: decoded but not shown (edit lists).
        hidden: holds a frame that is never shown itself (VP8 and VP9 reference frames).
        corrupt: the container says that data is missing.
        turned_back: whether the decoding times, which must rise, fall somewhere by more than carelessness explains.
        untimed: no packet has a time, as in a bare H.264 or HEVC stream; `pts` is counted up then.
        captions: fields (1, 2) of which pictures carry closed captions.
    """

    pts: Ticks
    duration: Ticks
    key: Flags
    discard: Flags
    hidden: Flags
    corrupt: Flags
    turned_back: bool = False
    untimed: bool = False
    captions: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.pts)

    @property
    def shown(self) -> Flags:
        """Packets whose frame has a time at which it is shown."""
        result: Flags = (self.pts != NO_TIME) & ~self.discard & ~self.hidden
        return result


def without_second_fields(packets: Packets, step: float) -> Packets:
    """The same with the packets hidden that hold only the second field of the frame before.

    Transport streams keep the fields of a frame in packets of their own, each with its time, half a frame apart; the
    decoder gives one frame for both, with the first one's time. Source: ITU-T H.222.0, 2.14.1 (access units of AVC);
    ITU-T H.264, 7.4.1.2.4 (a field is a primary coded picture).

    Args:
        step: ticks from one frame to the next.
    """
    hidden = packets.hidden.copy()
    for at in np.flatnonzero(np.abs(np.diff(packets.pts) - step / 2) <= step / 8).tolist():
        hidden[at + 1] = not hidden[at]
    return replace(packets, hidden=hidden, key=packets.key & ~hidden)


def shown_times(packets: Packets) -> Ticks:
    """Times of the frames shown, ascending and distinct."""
    return np.unique(packets.pts[packets.shown])


def folds(packets: Packets) -> bool:
    """Whether times go back further than reordering explains: then frames cannot be told by their times alone."""
    times = packets.pts[packets.shown]
    if len(times) < 2:
        return False
    order = np.argsort(times, kind="stable")
    if len(np.unique(times)) < 0.99 * len(times):
        return True
    return bool(np.max(np.abs(order - np.arange(len(times)))) > REORDER_LIMIT)


def rising(times: Iterable[int | None]) -> Ticks:
    """Times of the frames that move on, of frames in the order in which a decoder gives them out.

    The others are skipped, as players do.
    """
    kept: list[int] = []
    for time in times:
        if time is not None and (not kept or time > kept[-1]):
            kept.append(time)
    return np.array(kept, np.int64)


def decoding_starts(packets: Packets) -> Ticks:
    """Times of key frames from which every later frame decodes, ascending.

    Key frames that an edit list hides count only before the first frame shown, and of those the last one.
    """
    first_shown = int(np.argmax(packets.shown)) if packets.shown.any() else len(packets)
    usable = packets.key & (packets.pts != NO_TIME) & ~packets.hidden
    starts = packets.pts[usable & ~packets.discard]
    before = np.flatnonzero(usable[:first_shown] & packets.discard[:first_shown])
    if len(before) and (not len(starts) or packets.pts[before[-1]] < starts.min()):
        starts = np.append(starts, packets.pts[before[-1]])
    return np.unique(starts)


def thinned(starts: Ticks, least: Fraction) -> Ticks:
    """Of ascending times, the first and then those at least so many ticks after the last one kept.

    Sources without prediction start anywhere; a list of all their frames would be long, and no better to seek by.
    """
    kept: list[int] = []
    for start in starts.tolist():
        if not kept or start - kept[-1] >= least:
            kept.append(start)
    return np.array(kept, np.int64)


def holes(times: Ticks, least: float) -> list[tuple[int, int]]:
    """(time of the frame before, time of the frame after) where neighbours lie further apart than so many ticks."""
    return [(int(times[at]), int(times[at + 1])) for at in np.flatnonzero(np.diff(times) > least)]


def longest_gap(times: Ticks) -> int:
    """Ticks between those neighbours that lie furthest apart; 0 for fewer than two."""
    return int(np.diff(times).max(initial=0))


def held_s(times: Ticks, time_base: Fraction, free_s: float) -> float:
    """For how long nothing new comes, seconds: the distances of neighbours, less `free_s` of each."""
    steps_s = np.diff(times).astype(np.float64) * float(time_base)
    return float(np.maximum(steps_s - free_s, 0.0).sum())


def step_ticks(times: Ticks) -> float:
    """Median distance of neighbouring times; 0 for fewer than two."""
    return float(np.median(np.diff(times))) if len(times) > 1 else 0.0


def fit_rate(times: Ticks, time_base: Fraction, hints: Iterable[Fraction | None]) -> tuple[Fraction | None, int]:
    """The constant rate on which all times lie.

    Args:
        times: ascending, distinct ticks.
        time_base: seconds a tick.
        hints: rates that the container or the codec claims; tried besides the common ones.

    Returns:
        The rate in frames a second and the number of places from the first to the last frame; (None, number of frames)
        when no rate fits. A single frame takes the first sane hint, or LONE_FRAME_RATE.
    """
    claimed = [Fraction(hint) for hint in hints if hint and RATE_RANGE[0] <= hint <= RATE_RANGE[1]]
    claimed += [rate for rate in COMMON_RATES if any(abs(rate / claim - 1) < ROUNDED_RATE for claim in claimed)]
    claimed += [film for film in FILM_RATES if {film * Fraction(5, 4), film * Fraction(5, 2)} & {*claimed}]
    if len(times) < 2:
        return next(iter(claimed), LONE_FRAME_RATE), len(times)
    step_s = step_ticks(times) * float(time_base)
    seconds = (times - times[0]).astype(np.float64) * float(time_base)
    mean_s = float(seconds[-1]) / (len(times) - 1)
    near = [
        rate
        for rate in COMMON_RATES
        # Film that stays for three fields and two in turn has its rate in the mean only.
        if abs(float(rate) * step_s - 1) < 0.05 or abs(float(rate) * mean_s - 1) < NEAR_MEAN
    ]
    fits: list[tuple[float, Fraction, int]] = []
    for rate in dict.fromkeys(claimed + near):
        places = _places(seconds, rate)
        if places:
            fits.append((len(times) / places, rate, places))
    if not fits:
        return None, len(times)
    most = max(taken for taken, _, _ in fits)
    best = [(rate, places) for taken, rate, places in fits if taken >= most - 1e-9]
    clock = 1 / time_base
    if any(rate == clock for rate, _ in best) and clock in claimed:
        # The container counts frames, as AVI does: its own rate is the only one that never drifts.
        best = [(rate, places) for rate, places in best if abs(rate / clock - 1) < SAME_RATE]
    mean = (best[0][1] - 1) / float(seconds[-1])
    return min(best, key=lambda fit: _rank_rate(fit[0], claimed, mean))


def _places(seconds: npt.NDArray[np.float64], rate: Fraction) -> int:
    """Places from first to last frame at this rate, 0 if it does not fit."""
    exact = seconds * float(rate)
    if exact[-1] > 1e9:
        return 0
    places = np.rint(exact).astype(np.int64)
    count = int(places[-1]) + 1
    fits = (
        np.max(np.abs(exact - places)) < FIT_FRAMES and np.all(np.diff(places) > 0) and len(seconds) > FIT_TAKEN * count
    )
    return count if fits else 0


def _rank_rate(rate: Fraction, claimed: list[Fraction], mean: float) -> tuple[int, float]:
    """Smaller is better: a common rate that is claimed, a common rate close to the mean, a claimed one, any."""
    away = abs(float(rate) / mean - 1)
    if rate in COMMON_RATES and rate in claimed:
        return 0, away
    if rate in COMMON_RATES and away < SAME_RATE:
        return 1, away
    return (2 if rate in claimed else 3), away
