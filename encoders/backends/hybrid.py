"""The `hybrid` backend: NVDEC decodes, a kernel scales, the CPU lane's encoders encode. For GPUs without NVENC.

Its encoders are the CPU lane's, with the same parameter sets, and its pictures are the CPU lane's to at least 60 dB: so
both have one encoder's identity, and a segment may be done by either within one rendition.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame

from encoders.backends.base import BackendName, Capability, EncodedPicture, SegmentRequest
from encoders.backends.cuda import CudaDevice, DeviceMemory, Mark, PinnedMemory
from encoders.backends.nvdec import why_not
from encoders.backends.nverrors import NoDevice, Unsupported
from encoders.backends.nvframes import LadderFrames
from encoders.backends.nvlane import load_library
from encoders.backends.painted import PaintedFrames
from encoders.backends.probe import proven
from encoders.backends.proof import DeviceProof, GpuProbe, hybrid_capability
from encoders.backends.scale import SlotLayout, slot_of
from encoders.backends.software import SoftwareLadder, software_identity
from encoders.ladder import Codec, Rendition
from encoders.media import VideoTrack
from encoders.plan import Grid

RING = 3
"""Pinned copies of a slot: one that is encoded, one that arrives, one that is issued."""


def capability() -> Capability:
    """Whether decoding and scaling on this host's GPU was proven to be right, and faster than on a core."""
    return hybrid_capability(proven())


class HybridBackend:
    """One segment at a time; keeps the device open between segments of an asset. x264 takes `request.threads` cores.

    Args:
        probe: what was proven of this host's devices; None asks for it.
    """

    name = BackendName.HYBRID

    def __init__(self, probe: GpuProbe | None = None) -> None:
        self._probe = probe or proven()
        self._lane: HybridLane | None = None
        self._ladder: SoftwareLadder | None = None
        self._warnings: list[str] = []

    def encoder_id(self, preset: str, codecs: Iterable[Codec] = (Codec.H264,)) -> str:
        """The CPU lane's: the encoders and their settings are the same."""
        return software_identity(preset, codecs)

    def accepts(self, video: VideoTrack) -> str:
        """Why NVDEC is not used for a track; empty when it is. Either way the segment can be encoded here."""
        return why_not(video, self._device().decodes)

    def encode(self, request: SegmentRequest) -> Iterator[EncodedPicture]:
        """Encode one segment.

        Raises:
            NoDevice: no device that this process sees decodes.
            DeviceFault: nothing of the segment can be used; the process should end and the device be proven again.
            InputError: FFmpeg cannot decode the source either.
        """
        grid = request.plan.grid
        if grid is None:
            raise ValueError("an asset without picture has no segments")
        self._warnings.clear()
        device, segment = self._device(), request.segment
        plan = request.plan
        # As in the CPU lane: encoders look past the segment's end, so that its last pictures are as good as the others.
        self._ladder = ladder = SoftwareLadder(plan.renditions, grid, segment, plan.preset, request.threads)
        with closing(self._frames(request, grid, device, ladder.seen_until)) as frames:
            for number, pictures in frames:
                if request.tap is not None and number < segment.end:
                    request.tap(number, luma_of(pictures[0]))
                yield from ladder.encode(number, pictures)
                if ladder.done:
                    return
        yield from ladder.finish()

    def extradata(self, rendition: str) -> bytes:
        """Parameter sets of the rendition encoded last, Annex B, or AV1's sequence header."""
        return self._ladder.extradata(rendition) if self._ladder is not None else b""

    def warnings(self) -> tuple[str, ...]:
        """What was concealed, and where the GPU stopped decoding, in the segment encoded last."""
        return tuple(self._warnings)

    def _device(self) -> DeviceProof:
        for device in self._probe.devices:
            if device.can_decode:
                return device
        raise NoDevice(hybrid_capability(self._probe).reason)

    def _frames(
        self, request: SegmentRequest, grid: Grid, device: DeviceProof, end: int
    ) -> Generator[tuple[int, list[VideoFrame]], None, None]:
        """Output frames up to `end` on the host: by NVDEC as long as it can, by FFmpeg from there on."""
        longer = replace(request, segment=replace(request.segment, end=end))
        due = request.segment.start
        if not why_not(request.video, device.decodes):
            if self._lane is None or self._lane.renditions != request.plan.renditions:
                self._lane = None  # frees the device's memory before more is asked for
                self._lane = HybridLane(device, request.plan.renditions)
            try:
                for number, pictures in self._lane.frames(longer, grid):
                    yield number, pictures
                    due = number + 1
            except Unsupported as error:
                if due < request.segment.end:
                    self._warnings.append(f"decoded on the CPU from output frame {due} on: {error.detail}")
        if due < end:
            painted = PaintedFrames(request, grid, due, end)
            shown = painted.frames()
            try:
                yield from shown
            finally:
                shown.close()
                self._warnings += painted.warnings


@dataclass(slots=True)
class _Arriving:
    """A slot on its way to the host."""

    number: int
    memory: PinnedMemory
    mark: Mark


class HybridLane:
    """An open device with a ring of pinned memory, prepared for the renditions of one asset."""

    def __init__(self, proof: DeviceProof, renditions: tuple[Rendition, ...]) -> None:
        self.renditions = renditions
        self._device = CudaDevice(proof.index)
        self._layout = slot_of(renditions, planar=True)
        self._slots = LadderFrames(load_library(), self._device, self._layout)
        self._ring = [self._device.pinned(self._layout.size_bytes) for _ in range(RING)]

    def frames(self, request: SegmentRequest, grid: Grid) -> Iterator[tuple[int, list[VideoFrame]]]:
        """Output frames as pictures in pinned memory, valid until the next but one is asked for.

        Each is handed out one frame late, while the next is decoded and copied. When decoding fails, what has arrived
        is handed out first.
        """
        before: _Arriving | None = None
        slots = self._slots.frames(request, grid, request.segment.start)
        failed: Unsupported | None = None
        while failed is None:
            arriving: _Arriving | None = None
            try:
                arriving = self._copy(*next(slots))
            except StopIteration:
                break
            except Unsupported as error:
                failed = error
            if before is not None:
                yield self._arrived(before)
            before = arriving
        if before is not None:
            yield self._arrived(before)
        if failed is not None:
            raise failed

    def _copy(self, number: int, slot: DeviceMemory) -> _Arriving:
        memory = self._ring[number % RING]
        self._device.copy_to_host(memory.array, slot.address)
        return _Arriving(number, memory, self._device.mark())

    def _arrived(self, arriving: _Arriving) -> tuple[int, list[VideoFrame]]:
        arriving.mark.wait()
        return arriving.number, pictures_in(arriving.memory, self._layout)


def pictures_in(memory: PinnedMemory, layout: SlotLayout) -> list[VideoFrame]:
    """The pictures of a planar slot, without copying where that can be; valid as long as the memory holds them.

    PyAV 18.1's `from_numpy_buffer` cuts heights down to multiples of four.
    """
    pictures = []
    for surface in layout.surfaces:
        rows = memory.array[surface.offset : surface.offset + surface.size_bytes].reshape(-1, surface.width)
        wrap = VideoFrame.from_ndarray if surface.height % 4 else VideoFrame.from_numpy_buffer
        pictures.append(wrap(rows, "yuv420p"))
    return pictures


def luma_of(picture: VideoFrame) -> npt.NDArray[Any]:
    """The luma plane, without padding."""
    plane = picture.planes[0]
    return np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]
