"""Which source frame an output frame shows: the one rule that every backend follows. Pure; standard library only.

Rule: a source frame appears at the first output frame that is not before it, where half a step early counts as in time,
and stays until the next one appears. So output frame n of a constant-rate source is exactly its frame n, however its
timestamps jitter; frames of a variable rate appear at the nearest grid position; gaps are held; of frames that fall on
the same position the last wins. The result depends on presentation times only, never on where decoding started.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeVar

from encoders.media import VideoTrack
from encoders.plan import Grid

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameClock:
    """Turns presentation times of a track into positions on a grid, in integers: position = ceil((pts * a - b) / c)."""

    a: int
    b: int
    c: int

    @classmethod
    def of(cls, video: VideoTrack, grid: Grid) -> FrameClock:
        """The clock of a track on a grid.

        A grid that keeps every k-th frame counts half a step of the source, not of its own, as in time: else jitter
        would decide which frame of each k is kept.
        """
        early = Fraction(1, 2)
        if video.frame_rate is not None and video.frame_rate > grid.fps:
            early *= grid.fps / video.frame_rate
        slope = video.time_base * grid.fps
        shift = grid.origin_s * grid.fps + early
        scale = slope.denominator * shift.denominator
        return cls(a=slope.numerator * shift.denominator, b=shift.numerator * slope.denominator, c=scale)

    def position(self, pts: int) -> int:
        """The output frame at which the source frame of this presentation time appears; may be negative."""
        return -((self.b - pts * self.a) // self.c)

    def start_of_decoding(self, keyframe_pts: tuple[int, ...], frame: int) -> int | None:
        """The last key frame that appears at or before an output frame; None: the start of the file is needed."""
        index = bisect_right(keyframe_pts, frame, key=self.position) - 1
        return keyframe_pts[index] if index > 0 else None


def lay_on_grid(shown: Iterable[tuple[int, T]], start: int, end: int) -> Iterator[tuple[int, T]]:
    """Fill output frames [start, end) with what is on screen.

    Args:
        shown: (position, frame), positions not falling; may begin before `start`; nothing after the first position at
            or past `end` is taken.

    Yields:
        (output frame, frame) for each output frame once, in order; the first frame is shown before its time where
        nothing is on screen yet, the last one held to the end. Nothing when there is no frame at all.
    """
    due = start
    last: tuple[T] | None = None
    for position, frame in shown:
        if last is not None:
            while due < min(position, end):
                yield due, last[0]
                due += 1
        last = (frame,)
        if position >= end:
            break
    if last is not None:
        while due < end:
            yield due, last[0]
            due += 1
