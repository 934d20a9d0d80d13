"""What a task costs: predicted from its features and the backend, learned from what tasks really took.

The shape is fixed, the scale is learned. A task's base is `fixed + rate * work`, work being megapixels for pictures and
frames for sound; the ratio of actual to base is tracked per (backend, kind, codec, preset, size class), falling back to
coarser keys where too little is known. Spread is kept as the ratios of the last results, so p95 is empirical.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from math import exp, log

from scheduler.jobs import CostFeatures, TaskKind

TRUSTED_SAMPLES = 3
"""Results before a key speaks for itself instead of its coarser one."""
WINDOW = 64
"""Results whose spread is remembered per key: enough for a p95, short enough to follow a change of machine."""
FORGETTING = 0.05
"""Weight of the newest result once a key is old: a half-life of about 14 results."""
COLD_P95 = 3.0
"""p95 / prediction while nothing is known: a guess, replaced by what is measured."""

_FIXED_S = {TaskKind.INSPECT: 1.0, TaskKind.AUDIO: 0.5, TaskKind.SEGMENT: 0.5, TaskKind.PACKAGE: 1.0}
_FRAME_S = {TaskKind.INSPECT: 0.0001, TaskKind.AUDIO: 0.0005, TaskKind.SEGMENT: 0.0, TaskKind.PACKAGE: 0.0005}
# Seconds per output megapixel: x264 at a medium preset does about 70 Mpx/s on a core, NVENC some 600 Mpx/s an engine.
# Only the start of learning; a wrong guess is gone after TRUSTED_SAMPLES results.
_MEGAPIXEL_S = {"cpu": 0.015, "hybrid": 0.012, "nvenc": 0.002}


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a task will take on a backend.

    Attributes:
        engine_s: engine-seconds, the currency of fairness.
        wall_s: seconds from its begin on a worker to its result (staging included).
        p95_s: the same at the 95th percentile.
        samples: results that this rests on; 0 = guessed.
    """

    engine_s: float
    wall_s: float
    p95_s: float
    samples: int


class _Ratio:
    """Running geometric mean of actual / base, and the spread of the last results around it."""

    __slots__ = ("level", "ordered", "recent", "samples", "wall_level")

    def __init__(self) -> None:
        self.samples = 0
        self.level = 0.0
        self.wall_level = 0.0
        self.recent: deque[float] = deque()
        self.ordered: list[float] = []

    def learn(self, engine_ratio: float, wall_ratio: float) -> None:
        self.samples += 1
        gain = max(1.0 / self.samples, FORGETTING)
        self.level += gain * (log(engine_ratio) - self.level)
        self.wall_level += gain * (log(wall_ratio) - self.wall_level)
        self.recent.append(wall_ratio)
        insort(self.ordered, wall_ratio)
        if len(self.recent) > WINDOW:
            del self.ordered[bisect_left(self.ordered, self.recent.popleft())]

    def p95(self) -> float:
        """Wall ratio at p95; with few results the largest is stretched, since the true p95 likely lies above it."""
        index = min(len(self.ordered) - 1, int(0.95 * len(self.ordered)))
        stretch = 1.0 + max(0, 20 - len(self.ordered)) / 20.0
        return self.ordered[index] * stretch


_Key = tuple[str, str, str, str, int]


class CostModel:
    """Predicts and learns. Size: one small record per combination of features that occurred."""

    def __init__(self) -> None:
        self._ratios: dict[_Key, _Ratio] = {}

    def estimate(self, backend: str, cost: CostFeatures) -> Estimate:
        """What the task would take on the backend."""
        base = _base_s(backend, cost)
        for key in _keys(backend, cost):
            ratio = self._ratios.get(key)
            if ratio is not None and ratio.samples >= TRUSTED_SAMPLES:
                wall_s = base * exp(ratio.wall_level)
                p95_s = max(base * ratio.p95(), wall_s * 1.05)
                return Estimate(engine_s=base * exp(ratio.level), wall_s=wall_s, p95_s=p95_s, samples=ratio.samples)
        return Estimate(engine_s=base, wall_s=base, p95_s=base * COLD_P95, samples=0)

    def learn(self, backend: str, cost: CostFeatures, *, engine_s: float, wall_s: float) -> None:
        """A task took so much. Zero and negative times (a clock that jumped) teach nothing."""
        if engine_s <= 0 or wall_s <= 0:
            return
        base = _base_s(backend, cost)
        for key in _keys(backend, cost):
            self._ratios.setdefault(key, _Ratio()).learn(engine_s / base, wall_s / base)


def _base_s(backend: str, cost: CostFeatures) -> float:
    rate = _MEGAPIXEL_S.get(backend, _MEGAPIXEL_S["cpu"])
    return _FIXED_S[cost.kind] + _FRAME_S[cost.kind] * cost.frames + rate * cost.pixels * cost.frames / 1e6


def _keys(backend: str, cost: CostFeatures) -> Iterator[_Key]:
    """From the finest to the coarsest."""
    yield (backend, cost.kind, cost.codec, cost.preset, cost.pixels.bit_length())
    yield (backend, cost.kind, "", cost.preset, 0)
    yield (backend, cost.kind, "", "", 0)
