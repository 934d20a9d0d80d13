"""SVT-AV1: settings that make AV1 segments which join. The sibling of `x264`; `software` runs the encoders.

As long as the cap does not bind, a segment that is encoded by itself has the very bytes that it has in one pass: no
frame after it needs to be seen.
"""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache

import av
from av.video.codeccontext import VideoCodecContext

from encoders.av1 import sequence_headers
from encoders.backends.opening import open_encoder
from encoders.backends.shared_cores import shared_cores
from encoders.ladder import Rendition
from encoders.plan import Grid
from encoders.tuning import tuning_of, tunings_of

os.environ.setdefault("SVT_LOG", "1")  # errors only: it would print its settings at every start

PARAMETERS = (
    # Key frames that are shown, on the grid and nowhere else, and nothing refers across them.
    "scd=0:irefresh-type=2:enable-overlays=0:film-grain=0"
    # One frame at a time: with more, a cap that binds makes other bytes each time (rate control counts what happens to
    # be finished).
    ":lp=1"
    # Where H.264 and HEVC have their chroma samples unless they say otherwise.
    ":chroma-sample-position=left"
)
"""The same for every rendition. Source: SVT-AV1 documentation, Docs/Parameters.md."""
SVT_PRESET = {"faster": 8, "fast": 7, "medium": 6, "slow": 5, "slower": 4, "veryslow": 3, "placebo": 2}
FASTEST = 9
"""Above it SVT-AV1 itself warns of visible artefacts."""


def svt_options(rendition: Rendition, grid: Grid, preset: str) -> dict[str, str]:
    """libsvtav1's options in FFmpeg for a rendition, whose crf is SVT-AV1's own (1 to 63).

    Args:
        preset: the profile's; the x264 preset that it is based on stands for SVT-AV1's.
    """
    return {
        "preset": str(SVT_PRESET.get(tuning_of(preset, rendition.width, rendition.height).base, FASTEST)),
        "crf": f"{round(rendition.crf)}",
        "maxrate": str(rendition.maxrate_bps),
        "bufsize": str(rendition.bufsize_bits),
        "svtav1-params": f"{PARAMETERS}:keyint={grid.gop_frames}",
    }


def open_svtav1(rendition: Rendition, grid: Grid, preset: str) -> VideoCodecContext:
    """An encoder of one rendition, opened; it takes one core however many there are."""
    with shared_cores():
        return open_encoder("libsvtav1", rendition, grid, svt_options(rendition, grid, preset), threads=1)


def svt_identity(preset: str) -> str:
    """A digest of the library and of all settings that are the same for every source."""
    bases = [(longest, tuning.base) for longest, tuning in tunings_of(preset)]
    settings = f"{PARAMETERS} {SVT_PRESET} {FASTEST} {bases} {av.library_versions}"
    return f"svtav1-{svt_version()}-{hashlib.sha256(settings.encode()).hexdigest()[:8]}"


@lru_cache(maxsize=1)
def svt_version() -> str:
    """SVT-AV1 writes no version into its streams: that of the PyAV wheel, which brings the library."""
    return f"pyav{av.__version__}"


def header_in(picture: bytes) -> bytes:
    """The sequence header that a key frame comes with: what SVT-AV1 tells beforehand differs from it in some flags."""
    return b"".join(sequence_headers(picture)[:1])
