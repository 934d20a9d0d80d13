"""Samples laid one after the other at the places where they belong, with silence between and ramps at every joint.

Memory: what was written and not yet taken; silence takes none until it is.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from encoders.downmix import Samples

FADE_S = 0.002
"""Length of the ramp at both sides of a gap or a cut."""
SILENCE_BLOCK = 48_000
"""Samples of silence returned at once."""


class Tape:
    """The output: samples written one after the other, with silence where a later position is asked for."""

    def __init__(self, samples: int, sample_rate: int) -> None:
        self._samples = samples
        self._fade = max(1, round(FADE_S * sample_rate))
        self._written = 0
        self._skip = 0
        self._silence = 0
        self._fade_in = False
        self._held: Samples = np.zeros((2, 0), np.float32)
        self._out: list[Samples] = []

    @property
    def full(self) -> bool:
        """Whether the asset's last sample is written."""
        return self._written >= self._samples

    def place(self, position: int) -> None:
        """The next sample written belongs at this position; what lies before the present one will be dropped."""
        distance = position - self._written
        if self._written:
            ramp = np.linspace(1.0, 0.0, min(self._fade, self._held.shape[1]), dtype=np.float32)
            if ramp.size and abs(distance) > 1:
                self._held[:, -ramp.size :] *= ramp
            self._fade_in = abs(distance) > 1
        self._skip = max(0, -distance)
        self._silence = min(max(0, distance), self._samples - self._written)
        self._written += self._silence

    def write(self, block: Samples) -> None:
        """Append samples."""
        dropped = min(self._skip, block.shape[1])
        self._skip -= dropped
        block = block[:, dropped : dropped + max(0, self._samples - self._written)]
        if not block.shape[1]:
            return
        if self._fade_in:
            block = block.copy()
            size = min(self._fade, block.shape[1])
            block[:, :size] *= np.linspace(0.0, 1.0, size, dtype=np.float32)
            self._fade_in = False
        self._release_silence()
        self._written += block.shape[1]
        self._held = np.concatenate([self._held, block], axis=1)

    def ready(self, final: bool = False) -> Iterator[Samples]:
        """What can be taken; the last few samples are held back for a fade, unless `final`."""
        yield from self._take_out()
        keep = 0 if final or self.full else self._fade
        if final:
            self._release_silence()
        count = self._held.shape[1] - keep
        if count > 0:
            yield self._held[:, :count]
            self._held = self._held[:, count:].copy()

    def _release_silence(self) -> None:
        if self._silence:
            if self._held.shape[1]:
                self._out.append(self._held)
                self._held = np.zeros((2, 0), np.float32)
            self._out.append(np.broadcast_to(np.float32(0), (2, self._silence)))
            self._silence = 0

    def _take_out(self) -> Iterator[Samples]:
        out, self._out = self._out, []
        for block in out:
            for at in range(0, block.shape[1], SILENCE_BLOCK):
                yield block[:, at : at + SILENCE_BLOCK]
