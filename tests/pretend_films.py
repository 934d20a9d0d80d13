"""Films of a few bytes for tests of recognition: soft random pictures with cuts and motion, and words of sound."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from encoders.recognition.fingerprint import PICTURE, Fingerprint, PictureMarks
from encoders.recognition.pictures import Luma, hash_picture


def picture(seed: int, moved: int = 0, height: int = 108, width: int = 192) -> Luma:
    """A soft picture; `moved` pixels further to the left than it was."""
    rng = np.random.default_rng(seed)
    grid = np.concatenate([rng.random((9, 16)) * 200 + 30] * 2, axis=1)
    rows, columns = np.linspace(0, 7.99, height), np.linspace(0, 14.99, width) + moved * 15 / width
    top, left = rows.astype(int), columns.astype(int)
    down, across = (rows - top)[:, None], (columns - left)[None]
    above = grid[top][:, left] * (1 - across) + grid[top][:, left + 1] * across
    below = grid[top + 1][:, left] * (1 - across) + grid[top + 1][:, left + 1] * across
    return np.asarray(above * (1 - down) + below * down, np.uint8)


def film(seed: int, samples: int) -> list[Luma]:
    """One picture for each sample: a cut every fifth, motion between."""
    return [picture(seed * 1000 + at // 5, moved=at % 5 * 3) for at in range(samples)]


def marks(pictures: list[Luma], first: int = 0) -> PictureMarks:
    """What a listener makes of pictures that are sampled one after the other."""
    rows = np.zeros(len(pictures), PICTURE)
    for at, luma in enumerate(pictures):
        hashes = hash_picture(luma)
        assert hashes is not None
        rows[at]["sample"], rows[at]["hashes"] = first + at, hashes
    return rows


def words(seed: int, count: int) -> npt.NDArray[np.uint32]:
    """Words of sound; all different, as of music."""
    return np.random.default_rng(seed).integers(0, 2**32, count, dtype=np.uint32)


def spoilt(sound: npt.NDArray[np.uint32], share: float, seed: int = 5) -> npt.NDArray[np.uint32]:
    """Words with so large a share of their bits turned."""
    turned = np.random.default_rng(seed).random((len(sound), 32)) < share
    return sound ^ np.packbits(turned, axis=1).view(">u4").ravel().astype(np.uint32)


def fingerprint(seed: int, samples: int = 40, sound: int = 160) -> Fingerprint:
    """A film's fingerprint: picture and sound of twenty seconds."""
    return Fingerprint(pictures=marks(film(seed, samples)), sound=words(seed, sound))
