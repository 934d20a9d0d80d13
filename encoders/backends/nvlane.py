"""What a process keeps open on a device between segments of one asset: kernel, slots, staging, encode sessions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from encoders.backends.base import SegmentRequest
from encoders.backends.cuda import Array, CudaDevice, DeviceMemory, Mark, PinnedMemory
from encoders.backends.nvdec import why_not
from encoders.backends.nverrors import Unsupported, typed_errors
from encoders.backends.nvframes import LadderFrames
from encoders.backends.nvparams import B_FRAMES, EncoderSpec, codec_of, plan_encoder
from encoders.backends.nvsession import NvencSession, SurfaceInput, open_session
from encoders.backends.painted import PaintedFrames, fill_slot
from encoders.backends.proof import DeviceProof
from encoders.backends.scale import slot_of
from encoders.ladder import Rendition
from encoders.plan import Grid

Tap = Callable[[int, npt.NDArray[Any]], None]


def load_library() -> Any:
    """PyNvVideoCodec.

    Raises:
        NoDevice, Unsupported: not installed, or not with this host's driver libraries.
    """
    with typed_errors("load PyNvVideoCodec (extras gpu-cu12 and gpu-cu13)"):
        import PyNvVideoCodec
    return PyNvVideoCodec


class NvencLane:
    """An open device, prepared for the renditions of one asset."""

    def __init__(self, proof: DeviceProof, renditions: tuple[Rendition, ...]) -> None:
        self.proof = proof
        self.renditions = renditions
        self.library = load_library()
        self.device = CudaDevice(proof.index)
        self.layout = slot_of(renditions)
        self.frames = LadderFrames(self.library, self.device, self.layout)
        self._inputs = {
            slot.address: [SurfaceInput(slot, surface) for surface in self.layout.surfaces]
            for slot in self.frames.slots
        }
        self._staging: PinnedMemory | None = None
        self._sessions: dict[str, NvencSession] = {}
        self._specs: dict[str, EncoderSpec] = {}

    @contextmanager
    def sessions(
        self, request: SegmentRequest, grid: Grid, sleep: Callable[[float], None]
    ) -> Iterator[dict[str, NvencSession]]:
        """Sessions of all renditions, ready for the segment's first frame.

        They are kept for the next segment only on devices where a used one was proven to give the same bytes as a fresh
        one, and only when the segment was finished: one that was left in the middle holds frames of it.
        """
        whole = False
        try:
            yield self._begin(request, grid, sleep)
            whole = True
        finally:
            if not whole or not self.proof.reuse_exact:
                self._sessions = {}

    def _begin(self, request: SegmentRequest, grid: Grid, sleep: Callable[[float], None]) -> dict[str, NvencSession]:
        specs = {
            rendition.name: plan_encoder(
                rendition,
                grid,
                request.plan.preset,
                b_frames=min(B_FRAMES, self.proof.b_frames_of(codec_of(rendition))),
            )
            for rendition in self.renditions
        }
        for spec in specs.values():
            if spec.codec not in self.proof.encodes:
                raise Unsupported(f"this GPU's NVENC was not proven to encode {spec.codec}")
        if specs != self._specs:
            self._sessions, self._specs = {}, specs
        for name, spec in specs.items():
            if name not in self._sessions:
                self._sessions[name] = open_session(self.library, self.device, spec, sleep)
            self._sessions[name].begin(name, request.segment.start)
        return self._sessions

    def inputs(self, slot: DeviceMemory) -> list[SurfaceInput]:
        """The surfaces of a slot as the encoder takes them, in the renditions' order."""
        return self._inputs[slot.address]

    def slots(
        self, request: SegmentRequest, grid: Grid, warn: Callable[[str], None]
    ) -> Iterator[tuple[int, DeviceMemory]]:
        """Output frames of the segment on the device: by NVDEC as long as it can, by FFmpeg from there on."""
        due = request.segment.start
        if not why_not(request.video, self.proof.decodes):
            try:
                for number, slot in self.frames.frames(request, grid, due):
                    yield number, slot
                    due = number + 1
            except Unsupported as error:
                warn(f"decoded on the CPU from output frame {due} on: {error.detail}")
        if due < request.segment.end:
            painted = PaintedFrames(request, grid, due)
            yield from self._uploaded(painted)
            for text in painted.warnings:
                warn(text)

    def _uploaded(self, painted: PaintedFrames) -> Iterator[tuple[int, DeviceMemory]]:
        """FFmpeg's pictures, in the slots by turns."""
        self._staging = staging = self._staging or self.device.pinned(self.layout.size_bytes)
        slot, last = self.frames.slots[0], None
        for number, pictures in painted.frames():
            if pictures is not last:
                fill_slot(staging.array, self.layout, pictures)
                self.device.copy_to_device(slot.address, staging.array)
                self.device.finish()  # the staging memory is filled again at once
                last = pictures
            yield number, slot


@dataclass(slots=True)
class _Pending:
    """A luma plane on its way to the host."""

    number: int
    array: Array
    mark: Mark


class LumaTap:
    """Shows the luma of the smallest rendition to the host, a frame late, so that the device is never waited for."""

    def __init__(self, lane: NvencLane, tap: Tap) -> None:
        self._lane, self._tap = lane, tap
        self._surface = lane.layout.surfaces[0]
        size = self._surface.width * self._surface.height
        self._memory = [lane.device.pinned(size) for _ in range(2)]
        self._pending: _Pending | None = None

    def take(self, number: int, slot: DeviceMemory) -> None:
        """An output frame lies in a slot."""
        array = self._memory[number % 2].array
        self._lane.device.copy_to_host(array, slot.address + self._surface.offset)
        before, self._pending = self._pending, _Pending(number, array, self._lane.device.mark())
        self._show(before)

    def finish(self) -> None:
        """Show the last one."""
        before, self._pending = self._pending, None
        self._show(before)

    def _show(self, pending: _Pending | None) -> None:
        if pending is not None:
            pending.mark.wait()
            self._tap(pending.number, pending.array.reshape(self._surface.height, self._surface.width))
