"""x264: settings that make segments which join. `software` runs the encoders of a ladder."""

from __future__ import annotations

import hashlib
import re
from fractions import Fraction
from functools import lru_cache

import av
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from encoders.avc_level import choose_level
from encoders.backends.opening import open_encoder
from encoders.ladder import Rendition
from encoders.plan import Grid
from encoders.tuning import Tuning, tunings_of

PARAMETERS = (
    # Key frames lie on the grid and nowhere else, and nothing refers across them.
    "scenecut=0:open-gop=0"
    # Segments join: headers do not depend on content, and durations are constant.
    ":stitchable=1:force-cfr=1"
    # The tags of what `picture` makes.
    ":colorprim=bt709:transfer=bt709:colormatrix=bt709:range=tv"
    # With mb-tree the very first picture misses the quantiser step by which all later key pictures are better (its
    # bitrate factor is x264's ipratio): each segment would begin 2 dB worse than it goes on.
    ":zones=0,0,b=1.4"
    ":sliced-threads=0"
)
"""The same for every rendition. Source: x264 --fullhelp."""
_REORDERING = 8
"""Frames by which B-frames and threads delay beyond the lookahead."""


def tail_frames(preset: str, threads: int) -> int:
    """Frames after a segment that x264 must see before it has given out all of the segment's pictures.

    Encoders that are flushed at a segment's end instead think that nothing follows, and its last pictures are 1 to 2 dB
    worse than in one pass. The tail itself is looked at, in a quarter of the size, and not encoded.
    """
    return max(tuning.lookahead_frames for _, tuning in tunings_of(preset)) + _REORDERING + threads


def x264_options(rendition: Rendition, grid: Grid, tuning: Tuning, threads: int) -> dict[str, str]:
    """libx264's options in FFmpeg for a rendition.

    Args:
        threads: frame threads; 0 leaves the number to x264.
    """
    level = choose_level(rendition.width, rendition.height, grid.fps, rendition.maxrate_bps, rendition.bufsize_bits)
    free = "".join(f"{name}={value}:" for name, value in tuning.options if name != "ref")
    parameters = (
        f"{free}{PARAMETERS}:ref={tuning.references}"
        f":keyint={grid.gop_frames}:min-keyint={grid.gop_frames}:level={level}:crf={rendition.crf:g}"
        f":vbv-maxrate={rendition.maxrate_bps // 1000}:vbv-bufsize={rendition.bufsize_bits // 1000}"
        f":threads={threads}"
    )
    return {"preset": tuning.base, "profile": "high", "x264-params": parameters}


def x264_identity(preset: str) -> str:
    """Version of x264 and a digest of all settings that are the same for every source."""
    tunings = [(longest, str(tuning), tuning.references) for longest, tuning in tunings_of(preset)]
    settings = hashlib.sha256(f"{PARAMETERS} {tunings} {av.library_versions}".encode()).hexdigest()[:8]
    return f"x264-{x264_version()}-{preset}-{settings}"


@lru_cache(maxsize=1)
def x264_version() -> str:
    """As in "165" or "165-r3222": what the library writes into its streams, asked by encoding one tiny picture."""
    context = VideoCodecContext.create("libx264", "w")
    context.width, context.height, context.pix_fmt = 32, 32, "yuv420p"
    context.time_base = Fraction(1, 25)
    context.options = {"preset": "ultrafast", "x264-params": "threads=1"}
    packets = [*context.encode(VideoFrame(32, 32, "yuv420p")), *context.encode(None)]
    text = b"".join(bytes(packet) for packet in packets)
    found = re.search(rb"x264 - core (\d+) (r\d+)?", text)
    return "-".join(part.decode() for part in found.groups() if part) if found else f"ffmpeg-{av.__version__}"


def open_x264(rendition: Rendition, grid: Grid, tuning: Tuning, threads: int) -> VideoCodecContext:
    """An encoder of one rendition, opened: parameter sets in its extradata, not in its pictures."""
    return open_encoder("libx264", rendition, grid, x264_options(rendition, grid, tuning, threads), threads)
