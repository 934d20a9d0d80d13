"""Runs `picture`'s filters: a decoded frame in, the pictures of all renditions out."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import cast

import av
import av.error
import numpy as np
from av.filter import Graph
from av.filter.context import FilterContext
from av.video.frame import VideoFrame

from encoders.errors import Damaged
from encoders.ladder import Rendition
from encoders.media import UNSPECIFIED, Colour, ColourRange, VideoTrack
from encoders.picture import FrameShape, plan_picture
from encoders.tonemap import Light, hald_image

_UNTAGGED = "color_primaries=unknown:color_trc=unknown:colorspace=unknown"
"""For filters; the plan says what codes mean. libswscale refuses frames with tags that it cannot convert."""
_FULL = 2
"""AVColorRange: JPEG. Source: libavutil/pixfmt.h."""
KNOWN_MATRICES = (0, 1, 2, *range(4, 18))
"""Source: ITU-T H.273, table 4; libavutil/pixfmt.h."""


class Painter:
    """Makes the pictures of a ladder. Filters are built once for each shape of frame and kept for the next."""

    def __init__(self, video: VideoTrack, renditions: Sequence[Rendition]) -> None:
        self._video, self._renditions = video, renditions
        self._shape: FrameShape | None = None
        self._lane: _Lane | None = None

    def paint(self, frame: VideoFrame) -> list[VideoFrame]:
        """The pictures of all renditions from small to large, in yuv420p; they are valid as long as they are held.

        Raises:
            Damaged: frames of this kind cannot be converted.
        """
        shape = shape_of(_tidy(frame), self._video.colour)
        try:
            if self._lane is None or shape != self._shape:
                self._shape, self._lane = shape, _Lane(frame, shape, self._video, self._renditions)
            return self._lane.paint(frame)
        except av.FFmpegError as error:
            self._lane = None
            kind = f"{frame.width}x{frame.height} {frame.format.name}"
            raise Damaged(
                f"The file's pictures ({kind}) cannot be converted: {error.strerror}. Export it again."
            ) from error


def shape_of(frame: VideoFrame, track: Colour) -> FrameShape:
    """What the filters of a frame depend on; where the frame is silent about its colour the track speaks."""
    said = int(frame.color_range)
    colour = Colour(
        range=(ColourRange.FULL if said == _FULL else ColourRange.LIMITED) if said else track.range,
        primaries=_either(int(frame.color_primaries), track.primaries),
        transfer=_either(int(frame.color_trc), track.transfer),
        matrix=_either(int(frame.colorspace), track.matrix),
    )
    return FrameShape(width=frame.width, height=frame.height, format=frame.format.name, colour=colour)


def _either(code: int, otherwise: int) -> int:
    return otherwise if code == UNSPECIFIED else code


class _Lane:
    """One configured graph: a source, a chain of filters, and a sink for each rendition, the largest first."""

    def __init__(
        self, frame: VideoFrame, shape: FrameShape, video: VideoTrack, renditions: Sequence[Rendition]
    ) -> None:
        chain = plan_picture(shape, video, renditions)
        self._graph = Graph()
        self._graph.threads = 1
        self._source = self._graph.add("buffer", _buffer_arguments(frame))
        node = self._after(self._source, "setparams", _UNTAGGED)
        table: FilterContext | None = None
        for step in chain.head:
            node = self._after(node, step.filter, step.arguments)
            if step.filter == "haldclut" and chain.light is not None:
                picture = _table(chain.light)
                table = self._graph.add("buffer", _buffer_arguments(picture))
                table.link_to(node, 0, 1)
        self._sinks: list[FilterContext] = []
        for step in chain.cascade:
            fork = self._after(node, "split", "2")
            self._sinks.append(self._after(fork, "buffersink"))
            node = self._graph.add(step.filter, step.arguments)
            fork.link_to(node, 1, 0)
        self._sinks.append(self._after(node, "buffersink"))
        self._graph.configure()
        if table is not None:
            table.push(picture)
            table.push(None)

    def _after(self, node: FilterContext, name: str, arguments: str = "") -> FilterContext:
        added = self._graph.add(name, arguments)
        node.link_to(added)
        return added

    def paint(self, frame: VideoFrame) -> list[VideoFrame]:
        self._source.push(frame)
        return [cast(VideoFrame, sink.pull()) for sink in reversed(self._sinks)]


def _table(light: Light) -> VideoFrame:
    """The colour table as a frame that comes before all others."""
    # libavfilter 11 reads the planes of this picture, which are green, blue and red, as red, green and blue.
    picture = VideoFrame.from_ndarray(np.ascontiguousarray(hald_image(light)[..., [2, 0, 1]]), "rgb48le")
    picture.pts, picture.time_base = 0, Fraction(1)
    return picture


def _tidy(frame: VideoFrame) -> VideoFrame:
    """A matrix that no table has, which broken streams carry, is taken for unspecified: no filter starts with it."""
    if int(frame.colorspace) not in KNOWN_MATRICES:
        frame.colorspace = UNSPECIFIED
    return frame


def _buffer_arguments(frame: VideoFrame) -> str:
    base = frame.time_base or Fraction(1, 1)
    return (
        f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}:time_base={base.numerator}/{base.denominator}"
        f":colorspace={int(frame.colorspace)}:range={int(frame.color_range)}"
    )
