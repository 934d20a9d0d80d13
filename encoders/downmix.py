"""Any channel layout to stereo, and a limiter that keeps the sum below full scale."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]
"""Sound: channels x samples, full scale 1.0."""

HALF = 2**-0.5
"""-3 dB."""
CEILING = 10 ** (-1 / 20)
"""Where the limiter puts peaks that pass full scale: -1 dB leaves room for what a lossy codec adds.
Source: EBU R 128, maximum true peak level."""
CLIP = 0.95
"""Where sound that passes full scale by itself is cut off: just below the level from which FFmpeg's AAC encoder turns
whole frames down. Source: FFmpeg, libavcodec/aacenc.h, CLIP_AVOIDANCE_FACTOR."""
WEIGHTS: dict[str, tuple[float, float]] = {
    "FL": (1.0, 0.0),
    "FR": (0.0, 1.0),
    "DL": (1.0, 0.0),
    "DR": (0.0, 1.0),
    "FC": (HALF, HALF),
    "LFE": (0.0, 0.0),
    "LFE2": (0.0, 0.0),
    "BL": (HALF, 0.0),
    "BR": (0.0, HALF),
    "SL": (HALF, 0.0),
    "SR": (0.0, HALF),
    "WL": (HALF, 0.0),
    "WR": (0.0, HALF),
    "FLC": (HALF, 0.0),
    "FRC": (0.0, HALF),
    "BC": (0.5, 0.5),
    "TC": (0.5, 0.5),
    "TFC": (0.5, 0.5),
    "TBC": (0.5, 0.5),
    "TFL": (HALF, 0.0),
    "TFR": (0.0, HALF),
    "TBL": (HALF, 0.0),
    "TBR": (0.0, HALF),
}
"""Share of each channel in left and right: centre and surrounds at -3 dB, low-frequency effects left out, a single rear
channel shared by both sides. Source: ITU-R BS.775-3, annex 4, table 2; channels beyond 5.1 by the same rule."""
USUAL_ORDER: dict[int, tuple[str, ...]] = {
    2: ("FL", "FR"),
    3: ("FL", "FR", "FC"),
    4: ("FL", "FR", "BL", "BR"),
    5: ("FL", "FR", "FC", "BL", "BR"),
    6: ("FL", "FR", "FC", "LFE", "BL", "BR"),
    7: ("FL", "FR", "FC", "LFE", "BC", "SL", "SR"),
    8: ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR"),
}
"""What unnamed channels are taken for. Source: WAVEFORMATEXTENSIBLE's order, which FFmpeg's default layouts follow."""


def stereo_matrix(channels: Sequence[str]) -> Samples:
    """The 2 x n matrix that brings channels of these names to stereo.

    A single channel goes to both sides as it is, as players do. Names that are not known (or given twice) are taken by
    position; beyond eight such channels the first two are left and right and the rest is left out.
    """
    if len(channels) == 1:
        return np.ones((2, 1), np.float32)
    names = tuple(channels)
    if any(name not in WEIGHTS for name in names) or len(set(names)) < len(names):
        names = USUAL_ORDER.get(len(names), ("FL", "FR", *("LFE" for _ in names[2:])))
    return np.array([WEIGHTS[name] for name in names], np.float32).T


def clipped(block: Samples) -> Samples:
    """A block whose source itself passes full scale, cut off as players would; any other block as it is."""
    return np.clip(block, -CLIP, CLIP) if block.size and np.abs(block).max() > 1.0 else block


class Limiter:
    """Brings peaks above full scale to -1 dB by a smooth gain; sound that never passes it comes out bit for bit.

    The gain at a sample is the mean, over `reach` to both sides, of the smallest gain needed within `reach`: so it is
    never above what the sample needs. Output lags by twice `reach`; `flush` returns the rest, and no sample is added.
    """

    def __init__(self, reach: int) -> None:
        self.reach = reach
        self._samples: Samples = np.zeros((2, 2 * reach), np.float32)
        """Twice `reach` already returned (silence at first), then what waits."""

    def push(self, block: Samples) -> Samples:
        """Take a block, return what is ready (possibly nothing)."""
        self._samples = np.concatenate([self._samples, block], axis=1)
        return self._ready()

    def flush(self) -> Samples:
        """All that still waits; the limiter is then as new."""
        rest = self.push(np.zeros((2, 2 * self.reach), np.float32))
        self._samples = np.zeros((2, 2 * self.reach), np.float32)
        return rest

    def _ready(self) -> Samples:
        lead = 2 * self.reach
        count = self._samples.shape[1] - 2 * lead
        if count <= 0:
            return np.zeros((2, 0), np.float32)
        out = self._samples[:, lead : lead + count].copy()
        peaks = np.abs(self._samples).max(axis=0)
        if peaks.max() > 1.0:
            out *= self._gain(peaks).astype(np.float32)
        self._samples = self._samples[:, count:].copy()
        return out

    def _gain(self, peaks: Samples) -> npt.NDArray[np.float64]:
        exact = np.maximum(peaks.astype(np.float64), 1.0)
        needed = np.where(exact > 1.0, CEILING / exact, 1.0)
        width = 2 * self.reach + 1
        smallest, span = needed, 1
        while span < width:
            step = min(span, width - span)
            smallest = np.minimum(smallest[:-step], smallest[step:])
            span += step
        total = np.concatenate([[0.0], np.cumsum(smallest)])
        return np.asarray((total[width:] - total[:-width]) / width)
