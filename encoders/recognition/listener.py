"""Takes fingerprints while a segment's pictures are encoded: a backend's tap.

Positions are a matter of the asset's clock alone: sample k is the first output frame at or after k / SAMPLES_PER_S
seconds. How a source was cut into segments, and by whom they were encoded, changes nothing.
"""

from __future__ import annotations

import base64
from fractions import Fraction

import numpy as np

from encoders.recognition.fingerprint import PICTURE, PictureMarks
from encoders.recognition.pictures import Luma, hash_picture

SAMPLES_PER_S = 2
"""Pictures hashed in a second: a copy's samples then lie within a quarter of a second of the original's."""


class PictureListener:
    """Hashes the sampled frames of a segment; `take` is a backend's tap.

    Args:
        fps: of the grid.
    """

    def __init__(self, fps: Fraction) -> None:
        self._fps = fps
        self._samples: list[int] = []
        self._hashes: list[PictureMarks] = []

    def take(self, number: int, luma: Luma) -> None:
        """Look at one output frame; nothing of `luma` is kept."""
        sample = sample_at(number, self._fps)
        if sample is not None and (hashes := hash_picture(luma)) is not None:
            mark = np.zeros(1, PICTURE)
            mark["sample"], mark["hashes"] = sample, hashes
            self._hashes.append(mark)

    def marks(self) -> str:
        """What was seen, as it is kept in a segment's record: base64 of `PICTURE` rows, empty when there is nothing."""
        return base64.b64encode(np.concatenate(self._hashes).tobytes()).decode() if self._hashes else ""


def sample_at(number: int, fps: Fraction) -> int | None:
    """Which sample an output frame is, None for the frames between samples; slow grids skip samples."""
    sample = number * SAMPLES_PER_S // fps
    return int(sample) if sample * fps / SAMPLES_PER_S > number - 1 else None
