"""A 256-bit hash of a picture that survives encoding, and the views of a picture that are hashed.

After PDQ: luma reduced to 64 x 64, its low frequencies in both directions without the constant ones, one bit for each
coefficient above their median. Source: ThreatExchange, "The TMK+PDQF Video-Hashing Algorithm and the PDQ
Image-Hashing Algorithm" (2019), sections 5 and 6; here pixels are averaged by area instead of by Jarosz filters.

A crop moves every coefficient, so no hash survives it. Instead a picture is hashed in several views: a copy that shows
90 % of the picture equals, as a whole, the view of 90 % of the original. Views of parts also see past a logo.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Luma = npt.NDArray[np.uint8]
Hashes = npt.NDArray[np.uint8]
"""n x 32: 256 bits each."""
Box = tuple[int, int, int, int]
"""top, bottom, left, right: rows [top, bottom), columns [left, right)."""

SIDE = 64
"""Samples a view is reduced to in both directions. Source: PDQ, section 5."""
BANDS = 16
"""Frequencies taken in both directions. Source: PDQ, section 5."""
HASH_BYTES = BANDS * BANDS // 8


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A part of a picture: shares of its height and width, at a place from 0 (top or left) to 1 (bottom or right)."""

    tall: float = 1.0
    wide: float = 1.0
    down: float = 0.5
    across: float = 0.5
    mirrored: bool = False


CORNERS = ((0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0))
VIEWS = (
    View(),
    View(mirrored=True),
    *(View(tall=share, wide=share) for share in (0.95, 0.9, 0.8)),
    *(View(tall=0.9, wide=0.9, down=down, across=across) for down, across in CORNERS),
    *(View(tall=0.7, wide=0.7, down=down, across=across) for down, across in CORNERS),
    *(View(wide=share) for share in (0.9, 0.8)),
    *(View(wide=0.9, across=across) for across in (0.0, 1.0)),
)
"""What is hashed of each sampled picture, in this order. A change is a new version of fingerprints."""
REGISTERED_VIEWS = tuple(index for index, view in enumerate(VIEWS) if not view.mirrored)
"""Views under which a registered work is found."""
ASKED_VIEWS = tuple(index for index, view in enumerate(VIEWS) if view.tall == view.wide and view.tall in (1.0, 0.7))
"""Views of a video that are looked for: as it is, mirrored, and four parts, one of which a logo leaves free."""

BLACKEST = 48
"""Luma up to which a margin counts as black: brightened bars, too; 16 is black itself."""
BAR_NOISE = 12
"""How far pixels of a bar may differ: what coding leaves at its edges."""
BAR_LIT = 0.15
"""Of a bar's line, how much may be lit: a station's logo or a subtitle in it."""
LEAST_SHARE = 0.4
"""Of each side, what must be left without bars; a dark picture with one bright spot is no letterbox."""
LEAST_CONTRAST = 6.0
"""Deviation of a picture's luma, in codes, below which its hash would be noise."""


def content_box(luma: Luma) -> Box:
    """The picture without black bars; all of it where what is left would be too little."""
    height, width = luma.shape
    black = min(int(luma[0, 0]), int(luma[-1, 0]), int(luma[0, -1]), int(luma[-1, -1]))
    if black > BLACKEST:
        return 0, height, 0, width
    lit = luma > black + BAR_NOISE
    top, bottom = _span(lit.mean(1) > BAR_LIT)
    left, right = _span(lit[top:bottom].mean(0) > BAR_LIT)
    if bottom - top < LEAST_SHARE * height or right - left < LEAST_SHARE * width:
        return 0, height, 0, width
    return top, bottom, left, right


def hash_picture(luma: Luma) -> Hashes | None:
    """The hashes of all `VIEWS` of a picture, 32 bytes each; None when it shows too little to be told apart."""
    top, bottom, left, right = content_box(luma)
    box = luma[top:bottom, left:right].astype(np.float32)
    if float(box.std()) < LEAST_CONTRAST:
        return None
    down, across = _bands(bottom - top), _bands(right - left)
    # Rows of all places at once, then columns view by view: averaging and transform are one matrix in each direction.
    lines = (np.concatenate(list(down.values())) @ box).reshape(len(down), BANDS, -1)
    place = {name: index for index, name in enumerate(down)}
    upright = {
        view: lines[place[view.tall, view.down]] @ across[view.wide, view.across].T
        for view in VIEWS
        if not view.mirrored
    }
    waves = np.stack([_waves(upright, view) for view in VIEWS]).reshape(len(VIEWS), -1)
    return np.packbits((waves > np.median(waves, axis=1)[:, None])[:, _ORDER], axis=1)


_ORDER = np.argsort(np.maximum(*np.indices((BANDS, BANDS))).ravel(), kind="stable")
"""Coarse before fine: the first 64 bits are the 8 x 8 lowest frequencies, which change least and are compared first."""
_MIRROR = np.where(np.arange(1, BANDS + 1) % 2, -1, 1).astype(np.float32)
"""Mirroring changes the sign of the odd frequencies across."""


def _waves(upright: dict[View, npt.NDArray[np.float32]], view: View) -> npt.NDArray[np.float32]:
    if not view.mirrored:
        return upright[view]
    return upright[replace(view, across=1 - view.across, mirrored=False)] * _MIRROR


def _span(content: npt.NDArray[np.bool_]) -> tuple[int, int]:
    places = np.flatnonzero(content)
    return (int(places[0]), int(places[-1]) + 1) if places.size else (0, content.size)


@lru_cache(maxsize=1)
def _dct() -> npt.NDArray[np.float32]:
    rows = [
        [math.sqrt(2 / SIDE) * math.cos(math.pi / 2 / SIDE * (band + 1) * (2 * place + 1)) for place in range(SIDE)]
        for band in range(BANDS)
    ]
    return np.array(rows, np.float32)


@lru_cache(maxsize=256)
def _bands(length: int) -> dict[tuple[float, float], npt.NDArray[np.float32]]:
    """For each (scale, place) of the views, what takes that part of a line of pixels to its frequencies."""
    places = sorted({place for view in VIEWS for place in ((view.tall, view.down), (view.wide, view.across))})
    return {(scale, place): _dct() @ _averages(length, scale, place) for scale, place in places}


def _averages(length: int, scale: float, place: float) -> npt.NDArray[np.float32]:
    """SIDE x length: means over equal spans of a part of a line, pixels at their edges counted in part."""
    start = (length - length * scale) * place
    edges = start + np.arange(SIDE + 1) * (length * scale / SIDE)
    pixels = np.arange(length)
    covered = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    weights = np.maximum(covered, 0.0)
    return np.asarray(weights / weights.sum(1, keepdims=True), np.float32)
