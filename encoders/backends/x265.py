"""x265: settings that make HEVC segments which join. The sibling of `x264`; `software` runs the encoders."""

from __future__ import annotations

import hashlib
import re
from fractions import Fraction
from functools import lru_cache

import av
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from encoders.backends.opening import open_encoder
from encoders.hevc_level import choose_hevc_level
from encoders.ladder import Rendition
from encoders.plan import Grid
from encoders.tuning import tuning_of, tunings_of

PARAMETERS = (
    # IDR pictures lie on the grid and nowhere else, and nothing is shown before them that is coded after them.
    "scenecut=0:open-gop=0:radl=0"
    # Parameter sets once, in the sample entry, and the same whatever the number of threads: rows coded in parallel
    # (wpp) would be told in the PPS. A pool's threads would meet the rate control in another order each time.
    ":repeat-headers=0:hrd=0:aud=0:info=0:wpp=0:pools=none"
    # The tags of what `picture` makes.
    ":colorprim=bt709:transfer=bt709:colormatrix=bt709:range=limited"
    # The very first picture misses most of the quantiser step by which all later key pictures are better: each segment
    # would begin 0.4 to 1.1 dB worse than one pass goes on; with this factor it is 0.2 dB at most. A zone's end lies
    # outside of it. Source: measured on film, traffic, terminal and night, presets ultrafast to slow.
    ":zones=0,1,b=1.14"
    # Two frames of reordering at most, as `cmaf` expects; levels are told in the Main tier.
    ":b-pyramid=1:high-tier=0:log-level=none"
)
"""The same for every rendition. Source: x265 documentation, command line options."""

_LOOKAHEAD = {"ultrafast": 5, "superfast": 10, "medium": 20, "slow": 25}
_SHORT_LOOKAHEAD, _LONG_LOOKAHEAD, _REORDERING = 15, 60, 12
"""Source: x265 documentation, preset options: rc-lookahead is 15 from veryfast to fast, 40 to 60 above slow. The first
picture came after 24 others at veryfast, of which 15 are lookahead."""
_LONG_PRESETS = ("slower", "veryslow", "placebo")


def hevc_tail_frames(preset: str, threads: int) -> int:
    """Frames after a segment that x265 must see before it has given out all of the segment's pictures.

    Flushed at the segment's end instead, its last pictures are 0.2 to 1.3 dB worse than in one pass.
    """
    base = tunings_of(preset)[-1][1].base
    ahead = _LONG_LOOKAHEAD if base in _LONG_PRESETS else _LOOKAHEAD.get(base, _SHORT_LOOKAHEAD)
    return ahead + _REORDERING + threads


def x265_options(rendition: Rendition, grid: Grid, preset: str, threads: int) -> dict[str, str]:
    """libx265's options in FFmpeg for a rendition, whose crf is x265's own.

    Args:
        preset: the profile's; the x264 preset that it is based on names x265's.
        threads: frame threads.
    """
    level = choose_hevc_level(
        rendition.width, rendition.height, grid.fps, rendition.maxrate_bps, rendition.bufsize_bits
    )
    parameters = (
        f"{PARAMETERS}:keyint={grid.gop_frames}:min-keyint={grid.gop_frames}"
        f":level-idc={level / 30:g}:crf={rendition.crf:g}"
        f":vbv-maxrate={rendition.maxrate_bps // 1000}:vbv-bufsize={rendition.bufsize_bits // 1000}"
        f":frame-threads={threads}"
    )
    return {
        "preset": tuning_of(preset, rendition.width, rendition.height).base,
        "profile": "main",
        "x265-params": parameters,
    }


def open_x265(rendition: Rendition, grid: Grid, preset: str, threads: int) -> VideoCodecContext:
    """An encoder of one rendition, opened: parameter sets in its extradata, not in its pictures."""
    return open_encoder("libx265", rendition, grid, x265_options(rendition, grid, preset, threads), threads)


def x265_identity(preset: str) -> str:
    """Version of x265 and a digest of all settings that are the same for every source."""
    bases = [(longest, tuning.base) for longest, tuning in tunings_of(preset)]
    settings = hashlib.sha256(f"{PARAMETERS} {bases} {av.library_versions}".encode()).hexdigest()[:8]
    return f"x265-{x265_version()}-{settings}"


@lru_cache(maxsize=1)
def x265_version() -> str:
    """As in "4.2": what the library writes into its streams, asked by encoding one tiny picture."""
    context = VideoCodecContext.create("libx265", "w")
    context.width, context.height, context.pix_fmt = 64, 64, "yuv420p"
    context.time_base = Fraction(1, 25)
    context.options = {"preset": "ultrafast", "x265-params": "pools=none:frame-threads=1:log-level=none:info=1"}
    packets = [*context.encode(VideoFrame(64, 64, "yuv420p")), *context.encode(None)]
    text = b"".join(bytes(packet) for packet in packets)
    found = re.search(rb"x265 \(build \d+\) - ([\w.]+)", text)
    return found.group(1).decode() if found else f"ffmpeg-{av.__version__}"
