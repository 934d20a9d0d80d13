"""How the pictures of a segment look, in little: kept while they are encoded, to be compared with what comes out."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

COLUMNS, ROWS = 16, 16
"""Blocks a picture is reduced to: enough to tell most films' frames apart, few enough to forget coding noise."""
FLAT_CODES = 1.5
"""Deviation between blocks below which a picture counts as one even shade."""


def blocks_of(luma: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Mean luma of `ROWS` x `COLUMNS` blocks (fewer where the picture has fewer lines or columns)."""
    height, width = luma.shape
    rows, columns = min(ROWS, height), min(COLUMNS, width)
    tall, wide = height // rows, width // columns
    # Columns first: summing along memory is what numpy does fast.
    sums = luma[: rows * tall, : columns * wide].reshape(rows * tall, columns, wide).sum(2, dtype=np.uint32)
    means: npt.NDArray[np.float32] = sums.reshape(rows, tall, columns).sum(1).astype(np.float32) / (tall * wide)
    return means


class Look:
    """Block means of each output frame of a segment; `take` is a backend's tap."""

    def __init__(self) -> None:
        self._blocks: dict[int, npt.NDArray[np.float32]] = {}

    def take(self, number: int, luma: npt.NDArray[np.uint8]) -> None:
        """Look at one output frame; nothing of `luma` is kept."""
        self._blocks[number] = blocks_of(luma)

    @property
    def frames(self) -> list[npt.NDArray[np.float32]]:
        """Block means of all frames, in the order of their numbers."""
        return [self._blocks[number] for number in sorted(self._blocks)]

    def misfit(self, number: int, luma: npt.NDArray[np.uint8]) -> float:
        """Root mean square difference of block means between a picture and output frame `number`, in codes."""
        mine, theirs = blocks_of(luma), self._blocks[number]
        rows, columns = min(mine.shape[0], theirs.shape[0]), min(mine.shape[1], theirs.shape[1])
        return float(np.sqrt(np.mean(np.square(mine[:rows, :columns] - theirs[:rows, :columns]))))

    @property
    def mean(self) -> float:
        """Mean luma over all frames."""
        return float(np.mean(self._means()))

    @property
    def darkest(self) -> float:
        """Least mean luma of a frame."""
        return float(np.min(self._means()))

    @property
    def brightest(self) -> float:
        """Greatest mean luma of a frame."""
        return float(np.max(self._means()))

    @property
    def flat_frames(self) -> int:
        """Frames of one even shade."""
        return sum(1 for blocks in self._blocks.values() if float(blocks.std()) < FLAT_CODES)

    def _means(self) -> list[float]:
        return [float(blocks.mean()) for blocks in self._blocks.values()]
