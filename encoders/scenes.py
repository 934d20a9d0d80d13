"""Where one scene ends and the next begins: measured while a segment is encoded, decided over the whole asset.

Every frame is compared with the one before by the block means that verification keeps anyway (look.py): no second look
at a picture. A segment's record carries one number for each frame, and its first and last picture in little; packaging
joins them. So what is found does not depend on where segments are cut.

    cut     a frame differs from the one before by far more than its neighbours do from theirs, as in PySceneDetect's
            adaptive detector: motion raises all of them, a cut only one
    black   pictures go dark and come back: one boundary, where it is cut to black, else where the next picture appears

Dissolves from picture to picture are not found: frame by frame they look like motion.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from encoders.chapters import Boundary

STEPS_PER_CODE = 4
"""Differences are kept in quarters of a code, up to 63.75 codes: two pictures that have nothing in common."""
LEAST_CHANGE = 7.0
"""Codes by which the blocks of a cut differ at least; cuts between dark pictures measured 8.6, others 23 and more."""
LEAST_RATIO = 2.5
"""Of a cut's change to the mean of its neighbours'; measured on three clips: 2.8 to 60 at cuts, up to 2.1 in motion."""
NEIGHBOURS, REACH_FRAMES = 3, 12
"""How many moving frames on each side, within how many, are the neighbours. Frames that repeat the one before, as in a
film of 24 frames on a grid of 60, say nothing and are passed over."""
STILL = 0.5
"""Change in codes below which a frame repeats the one before, coding noise aside."""
CALM = 1.0
"""Codes that the neighbours' mean counts at least: from a still picture every change would be infinitely many times."""
BLACK = 19.0
"""Mean luma up to which a picture counts as black (16 is black); a few words on black stay below it."""
MERGED_S = Fraction(1, 2)
"""Boundaries nearer to each other are one: a flash, or a cut into a fade. The stronger stays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Motion:
    """What a segment's frames did, as packed bytes in base64.

    Attributes:
        changes: for each frame but the first its difference from the one before, in steps.
        means: mean luma of each frame.
        first, last: block means of the first and the last frame.
    """

    changes: str
    means: str
    first: str
    last: str


def measure_motion(blocks: Sequence[npt.NDArray[np.float32]]) -> Motion:
    """Args: blocks: block means of each frame of a segment, in order, all of one shape; at least one."""
    stack = np.stack(blocks)
    steps = np.abs(np.diff(stack, axis=0)).mean((1, 2)) * STEPS_PER_CODE
    return Motion(changes=_pack(steps), means=_pack(stack.mean((1, 2))), first=_pack(stack[0]), last=_pack(stack[-1]))


def find_boundaries(motions: Sequence[Motion], fps: Fraction) -> tuple[Boundary, ...]:
    """All boundaries of an asset, in order, none at frame 0.

    Args:
        motions: of all segments, in order.
    """
    changes, means = _join(motions)
    black = _black_runs(means)
    found = []
    for frame in _cuts(changes):
        # A cut out of black, or within it, is told by the run.
        if not any(start < frame <= end for start, end in black):
            found.append(Boundary(frame=frame, strength=float(changes[frame])))
    cuts = {each.frame for each in found}
    for start, end in black:
        if start not in cuts and end < len(means):
            found.append(Boundary(frame=end, strength=255 / STEPS_PER_CODE))
    return _merged(sorted(found, key=lambda each: each.frame), fps)


def _pack(values: npt.NDArray[np.floating]) -> str:
    return base64.b64encode(np.clip(np.rint(values), 0, 255).astype(np.uint8).tobytes()).decode("ascii")


def _unpack(text: str) -> npt.NDArray[np.float64]:
    return np.frombuffer(base64.b64decode(text), np.uint8).astype(np.float64)


def _join(motions: Sequence[Motion]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """(change of each frame in codes, 0 for the first; mean luma of each frame) of the whole asset."""
    parts: list[npt.NDArray[np.float64]] = []
    last = None
    for motion in motions:
        first = _unpack(motion.first)
        joint = float(np.abs(first - last).mean()) if last is not None else 0.0
        parts += [np.array([min(joint, 255 / STEPS_PER_CODE)]), _unpack(motion.changes) / STEPS_PER_CODE]
        last = _unpack(motion.last)
    return np.concatenate(parts), np.concatenate([_unpack(motion.means) for motion in motions])


def _cuts(changes: npt.NDArray[np.float64]) -> list[int]:
    """Frames that differ from the one before far more than those around them do."""
    return [
        int(frame)
        for frame in np.flatnonzero(changes >= LEAST_CHANGE)
        if changes[frame] >= LEAST_RATIO * max(CALM, _around(changes, int(frame)))
    ]


def _around(changes: npt.NDArray[np.float64], frame: int) -> float:
    """Mean change of the nearest moving frames on both sides."""
    before = changes[max(0, frame - REACH_FRAMES) : frame][::-1]
    after = changes[frame + 1 : frame + 1 + REACH_FRAMES]
    near = [side[side >= STILL][:NEIGHBOURS] for side in (before, after)]
    moving = np.concatenate(near)
    return float(moving.mean()) if len(moving) else 0.0


def _black_runs(means: npt.NDArray[np.float64]) -> list[tuple[int, int]]:
    """[start, end) of all runs of black frames."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], means <= BLACK, [False]]).astype(np.int8)))
    return [(int(start), int(end)) for start, end in zip(edges[::2], edges[1::2], strict=True)]


def _merged(boundaries: Sequence[Boundary], fps: Fraction) -> tuple[Boundary, ...]:
    kept: list[Boundary] = []
    for each in boundaries:
        if kept and (each.frame - kept[-1].frame) / fps < MERGED_S:
            if each.strength > kept[-1].strength:
                kept[-1] = each
        elif each.frame > 0:
            kept.append(each)
    return tuple(kept)
