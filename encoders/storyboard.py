"""Storyboard of an asset: sprites of small pictures, and a WebVTT file that says which tile shows which time.

Only I-frames of a small rendition are decoded: for an hour of video, a hundred pictures of 256x144.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from encoders.ladder import StillSettings
from encoders.pictures import Rendered, jpeg, rgb
from encoders.stills import fitted
from encoders.tracks import IFrame, Track
from encoders.vtt import timestamp

COLUMNS, ROWS = 5, 5
"""Tiles of a sprite: 25 of 160x90 are about 60 kB, one request for two minutes of video."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Storyboard:
    """What was made.

    Attributes:
        sprites: (file name, width, height) in order.
        tile_width, tile_height: pixels.
    """

    sprites: tuple[tuple[str, int, int], ...]
    tile_width: int
    tile_height: int
    tiles: int
    step_s: Fraction
    vtt: str


def plan_tiles(duration_s: Fraction, settings: StillSettings) -> tuple[int, Fraction]:
    """(number of tiles, seconds from one to the next): at least one tile, and wider steps instead of too many tiles."""
    step_s = max(Fraction(settings.storyboard_every_s), duration_s / settings.storyboard_max_tiles)
    return max(1, math.ceil(duration_s / step_s)), step_s


def write_storyboard(
    media: Path, pictures: Sequence[Track], duration_s: Fraction, settings: StillSettings, out: Path
) -> Storyboard:
    """Write `sprite-<n>.jpg` into a folder.

    Args:
        pictures: renditions from small to large; the first with enough pixels for a tile is used.
        out: folder; made when absent.

    Returns:
        what was made, with the text of the WebVTT file, whose URIs are relative to the folder above.
    """
    side = settings.storyboard_tile_short_side
    large_enough = [track for track in pictures if min(track.width, track.height) >= side]
    track = large_enough[0] if large_enough else pictures[-1]
    width, height = fitted(track.width, track.height, side)
    count, step_s = plan_tiles(min(duration_s, track.duration_s), settings)
    rendered = Rendered(media / track.name, track)
    out.mkdir(parents=True, exist_ok=True)
    sprites: list[tuple[str, int, int]] = []
    cues = ["WEBVTT"]
    for first in range(0, count, COLUMNS * ROWS):
        number = min(COLUMNS * ROWS, count - first)
        columns, rows = min(COLUMNS, number), math.ceil(number / COLUMNS)
        sheet = np.zeros((rows * height, columns * width, 3), np.uint8)
        name = f"sprite-{len(sprites) + 1}.jpg"
        for index in range(number):
            start_s = (first + index) * step_s
            x, y = index % COLUMNS * width, index // COLUMNS * height
            sheet[y : y + height, x : x + width] = rgb(rendered.iframe(_nearest(track, start_s)), width, height)
            end_s = min(start_s + step_s, duration_s) if first + index + 1 < count else duration_s
            cue = f"{timestamp(start_s)} --> {timestamp(end_s)}"
            cues.append(f"{cue}\n{out.name}/{name}#xywh={x},{y},{width},{height}")
        (out / name).write_bytes(jpeg(sheet))
        sprites.append((name, columns * width, rows * height))
    return Storyboard(
        sprites=tuple(sprites),
        tile_width=width,
        tile_height=height,
        tiles=count,
        step_s=step_s,
        vtt="\n\n".join(cues) + "\n",
    )


def _nearest(track: Track, at_s: Fraction) -> IFrame:
    """The I-frame nearest to a time."""
    at = math.floor(at_s * track.timescale)
    index = bisect_right(track.iframes, at, key=lambda frame: frame.start)
    around = track.iframes[max(0, index - 1) : index + 1]
    return min(around, key=lambda frame: abs(frame.start - at))
