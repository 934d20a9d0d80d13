"""What FFmpeg's encoders are told alike, whichever library encodes a rendition."""

from __future__ import annotations

from collections.abc import Mapping

from av.codec.context import CodecContext
from av.video.codeccontext import VideoCodecContext

from encoders.ladder import Rendition
from encoders.plan import Grid

GLOBAL_HEADER = 1 << 22
"""Parameter sets in extradata, not in every IDR picture. Source: libavcodec/avcodec.h, AV_CODEC_FLAG_GLOBAL_HEADER."""


def open_encoder(
    library: str, rendition: Rendition, grid: Grid, options: Mapping[str, str], threads: int
) -> VideoCodecContext:
    """An encoder of 4:2:0 pictures of 8 bits in BT.709, limited range, opened.

    Args:
        library: FFmpeg's name of it.
        options: of that library.
    """
    context = CodecContext.create(library, "w")
    assert isinstance(context, VideoCodecContext)
    context.width, context.height, context.pix_fmt = rendition.width, rendition.height, "yuv420p"
    context.time_base, context.framerate = 1 / grid.fps, grid.fps
    context.color_primaries = context.color_trc = context.colorspace = context.color_range = 1
    context.thread_count = threads
    context.gop_size = grid.gop_frames
    context.flags |= GLOBAL_HEADER
    context.options = dict(options)
    context.open()
    return context
