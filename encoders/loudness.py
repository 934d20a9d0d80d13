"""Integrated loudness by EBU R128, and the gain that brings a track to a wanted one."""

from __future__ import annotations

import math
from fractions import Fraction

import av
import av.error
import av.filter
import numpy as np

from encoders.downmix import Samples
from encoders.sound import Soundtrack

SILENCE_LUFS = -70.0
"""Absolute gate: what is below has no loudness. Source: ITU-R BS.1770-4, annex 1."""
MOST_GAIN_DB = 20.0
"""Never amplify more: beyond it is noise that is made loud."""


def gain_for(track: Soundtrack, wanted_lufs: float) -> tuple[float | None, float]:
    """Measure a track by reading it once.

    Returns:
        (loudness in LUFS, factor to apply); (None, 1.0) for silence. Peaks above full scale are the limiter's business.
    """
    measured = measure(track)
    if measured is None:
        return None, 1.0
    gain_db = min(wanted_lufs - measured, MOST_GAIN_DB)
    return measured, float(10 ** (gain_db / 20))


def measure(track: Soundtrack) -> float | None:
    """Integrated loudness in LUFS; None for silence. Reads the track once; its counts start afresh afterwards."""
    meter = _Meter(track.sample_rate)
    for block in track.blocks():
        meter.add(block)
    track.errors, track.decoded_samples, track.clipped_blocks = 0, 0, 0
    track.lost.clear()
    track.gaps.clear()
    track.overlaps.clear()
    return meter.integrated_lufs()


class _Meter:
    """FFmpeg's ebur128 filter, fed block by block."""

    def __init__(self, sample_rate: int) -> None:
        self._rate = sample_rate
        self._at = 0
        self._last = -math.inf
        self._graph = av.filter.Graph()
        source = self._graph.add_abuffer(
            sample_rate=sample_rate, format="fltp", layout="stereo", time_base=Fraction(1, sample_rate)
        )
        meter = self._graph.add("ebur128", "metadata=1:framelog=quiet")
        sink = self._graph.add("abuffersink")
        source.link_to(meter)
        meter.link_to(sink)
        self._graph.configure()

    def add(self, block: Samples) -> None:
        """Take samples."""
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), "fltp", "stereo")
        frame.sample_rate = self._rate
        frame.time_base = Fraction(1, self._rate)
        frame.pts = self._at
        self._at += block.shape[1]
        self._graph.push(frame)
        self._pull()

    def integrated_lufs(self) -> float | None:
        """The loudness of all that was added."""
        self._graph.push(None)
        self._pull()
        return self._last if self._last > SILENCE_LUFS else None

    def _pull(self) -> None:
        while True:
            try:
                frame = self._graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            value = frame.metadata.get("lavfi.r128.I") if frame is not None else None
            if value is not None:
                self._last = float(value)
