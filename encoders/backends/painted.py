"""Output frames of a segment as FFmpeg makes them, for lanes that decode on the GPU when they can.

A lane may change to this in the middle of a segment: which source frame an output frame shows depends on times alone,
and FFmpeg's pictures are NVDEC's to the bit.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame

from encoders.backends.base import SegmentRequest
from encoders.backends.cpu import concealed, read_on_grid
from encoders.backends.frames import FrameReader
from encoders.backends.painter import Painter
from encoders.backends.scale import SlotLayout
from encoders.errors import Damaged
from encoders.plan import Grid
from encoders.timing import FrameClock

Array = npt.NDArray[np.uint8]


class PaintedFrames:
    """Decodes and scales on the CPU. One use: one segment, from one output frame on.

    Attributes:
        warnings: what was concealed within the segment; there once `frames` has ended or was closed.
    """

    def __init__(self, request: SegmentRequest, grid: Grid, start: int, end: int | None = None) -> None:
        """Begin nothing yet.

        Args:
            start: first output frame that is wanted; the segment's own or a later one.
            end: after the last that is wanted; damage counts within the segment only. None: the segment's end.
        """
        self._counted = request
        wanted = replace(request.segment, start=start, end=end or request.segment.end)
        self._request = replace(request, segment=wanted)
        self._clock = FrameClock.of(request.video, grid)
        self.warnings: tuple[str, ...] = ()

    def frames(self) -> Generator[tuple[int, list[VideoFrame]], None, None]:
        """(output frame, pictures of all renditions in yuv420p, from small to large); the same list while one shows.

        Raises:
            Damaged: no frame decodes.
        """
        request = self._request
        painter = Painter(request.video, request.plan.renditions)
        with FrameReader(request.source, request.video, request.threads) as reader:
            last: VideoFrame | None = None
            pictures: list[VideoFrame] = []
            try:
                for number, frame in read_on_grid(request, self._clock, reader):
                    if frame is not last:
                        last, pictures = frame, painter.paint(frame)
                    yield number, pictures
            finally:  # also when the caller has seen enough
                self.warnings = concealed(self._counted, self._clock, reader.witness)
            if last is None:
                raise Damaged("No picture of the file decodes. Export it again.")


def fill_slot(slot: Array, layout: SlotLayout, pictures: list[VideoFrame]) -> None:
    """Write yuv420p pictures into host memory as a slot of NV12 surfaces."""
    for surface, picture in zip(layout.surfaces, pictures, strict=True):
        y, u, v = (
            np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]
            for plane in picture.planes
        )
        slot[surface.offset : surface.chroma_offset].reshape(surface.height, surface.width)[:] = y
        chroma = slot[surface.chroma_offset : surface.offset + surface.size_bytes].reshape(-1, surface.width)
        chroma[:, 0::2], chroma[:, 1::2] = u, v
