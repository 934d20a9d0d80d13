"""How much the GPU benchmark does: in full, or in little, where figures mean nothing but every line runs."""

from __future__ import annotations

import os

BRIEF_VARIABLE = "REELMILL_GPU_BRIEF"
BRIEF = os.environ.get(BRIEF_VARIABLE) == "1"
"""Set for the steps by `python -m benchmarks gpu --brief`."""

SECONDS = 0.02 if BRIEF else 2.0
"""How long one figure is measured."""
SOURCE = (192, 108) if BRIEF else (1920, 1080)
RUNGS = ((64, 36), (128, 72)) if BRIEF else ((426, 240), (640, 360), (854, 480), (1280, 720))
LADDER = (
    ((54, 400_000), (108, 800_000))
    if BRIEF
    else ((240, 400_000), (360, 800_000), (480, 1_400_000), (720, 2_800_000), (1080, 5_000_000))
)
"""Short side and highest rate of each rendition; the last is of the source's size."""
COMPARED = 8 if BRIEF else 60
"""Pictures of each kind that are compared."""
COMPARED_SIZE = (160, 90) if BRIEF else (640, 360)
SESSIONS = (1, 2) if BRIEF else (1, 2, 4, 7, 8, 14)
CYCLES = 2 if BRIEF else 30
"""How often a decoder or an encoder is made and dropped when leaks are looked for."""
COPIED_BYTES = 1 << 20 if BRIEF else 256 << 20
CONFINED_FRAMES = 200
"""Of the source of the confined step: two segments."""
SWEPT_FRAMES = 8 if BRIEF else 60
