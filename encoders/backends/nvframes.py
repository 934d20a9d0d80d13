"""Output frames of a segment as slots on the device, decoded by NVDEC and scaled to all renditions there.

Shared by `nvenc` (which encodes the slots where they are) and `hybrid` (which copies them to the host).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from encoders.backends.base import SegmentRequest
from encoders.backends.cuda import CudaDevice, DeviceMemory
from encoders.backends.frames import FrameReader
from encoders.backends.nvdec import read_pictures
from encoders.backends.scale import SlotLayout
from encoders.backends.scaler import DevicePicture, Scaler
from encoders.plan import Grid
from encoders.timing import FrameClock, lay_on_grid

SLOTS = 2
"""One shows, one is filled: what reads a slot is issued on the stream before the launch that overwrites it."""


class LadderFrames:
    """Fixed device memory and a compiled kernel for one set of renditions; serves one segment after another."""

    def __init__(self, library: Any, device: CudaDevice, layout: SlotLayout) -> None:
        self._library = library
        self._device = device
        self._scaler = Scaler(device, layout)
        self.slots = [device.allocate(layout.size_bytes) for _ in range(SLOTS)]
        self.layout = layout

    def frames(self, request: SegmentRequest, grid: Grid, start: int) -> Iterator[tuple[int, DeviceMemory]]:
        """Output frames from `start` to the segment's end; a slot is valid until the next one is asked for.

        Raises:
            Unsupported: FFmpeg must decode, from the first output frame that was not yielded on.
            DeviceFault: the device misbehaved.
        """
        clock = FrameClock.of(request.video, grid)
        key_pts = clock.start_of_decoding(request.video.keyframe_pts, start)
        with FrameReader(request.source, request.video, request.threads) as reader:
            pictures = read_pictures(self._library, self._device, reader, request.video, key_pts)
            yield from lay_on_grid(self._fill(pictures, clock), start, request.segment.end)

    def _fill(
        self, pictures: Iterator[tuple[int, DevicePicture]], clock: FrameClock
    ) -> Iterator[tuple[int, DeviceMemory]]:
        """Scale each picture into the slot that does not show."""
        for index, (pts, picture) in enumerate(pictures):
            slot = self.slots[index % SLOTS]
            self._scaler.scale(picture, slot)
            yield clock.position(pts), slot
