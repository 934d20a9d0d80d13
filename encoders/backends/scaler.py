"""Decoded pictures on the device become slots with all renditions: the kernel of scale.py, launched by cuda.py."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from encoders.backends.cuda import CudaDevice, DeviceMemory, Kernel
from encoders.backends.scale import (
    BLOCK_THREADS,
    KERNEL_NAME,
    KERNEL_SOURCE,
    SlotLayout,
    Surface,
    plan_cascade,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicePicture:
    """A 4:2:0 picture on the device: what a decoder gave, or a surface of a slot.

    Attributes:
        luma, chroma: addresses of the first luma and the first U sample; a decoder's are valid until it is fed again.
        luma_pitch, chroma_pitch: distance of rows, bytes.
        chroma_step, chroma_second: from one U sample to the next, and from U to V, in samples.
        deep: whether samples have 16 bits, the value in the high ones.
    """

    width: int
    height: int
    luma: int
    chroma: int
    luma_pitch: int
    chroma_pitch: int
    chroma_step: int = 2
    chroma_second: int = 1
    deep: bool = False


def picture_in(slot: DeviceMemory, surface: Surface) -> DevicePicture:
    """A rendition's picture in a slot."""
    return DevicePicture(
        width=surface.width,
        height=surface.height,
        luma=slot.address + surface.offset,
        chroma=slot.address + surface.chroma_offset,
        luma_pitch=surface.width,
        chroma_pitch=surface.chroma_pitch,
        chroma_step=surface.chroma_step,
        chroma_second=surface.chroma_second,
    )


@dataclass(frozen=True, slots=True)
class _Launch:
    """A plan whose tables lie on the device."""

    blocks: int
    shared_bytes: int
    count: int
    table: DeviceMemory
    constants: DeviceMemory


class Scaler:
    """Scales pictures into slots of one layout; prepares tables for each picture size that it meets, once."""

    def __init__(self, device: CudaDevice, layout: SlotLayout) -> None:
        self._device = device
        self._layout = layout
        self._kernel: Kernel = device.compile(KERNEL_SOURCE, KERNEL_NAME)
        self._launches: dict[tuple[int, int], list[_Launch]] = {}

    def scale(self, picture: DevicePicture, slot: DeviceMemory) -> None:
        """Issue the launches that fill a slot; the picture may be recycled once the stream has passed them.

        Raises:
            Unsupported: the ratio is too steep.
        """
        surfaces = reversed(self._layout.surfaces)
        for surface, launch in zip(surfaces, self._cascade(picture.width, picture.height), strict=True):
            self._launch(launch, picture, slot)
            picture = picture_in(slot, surface)

    def _launch(self, launch: _Launch, picture: DevicePicture, slot: DeviceMemory) -> None:
        self._kernel.launch(
            launch.blocks,
            BLOCK_THREADS,
            launch.shared_bytes,
            np.uint64(launch.table.address),
            np.int32(launch.count),
            np.uint64(picture.luma),
            np.uint64(picture.chroma),
            np.int32(picture.luma_pitch),
            np.int32(picture.chroma_pitch),
            np.int32(picture.chroma_step),
            np.int32(picture.chroma_second),
            np.int32(picture.deep),
            np.uint64(slot.address),
        )

    def _cascade(self, width: int, height: int) -> list[_Launch]:
        found = self._launches.get((width, height))
        if found is None:
            found = []
            for plan in plan_cascade(width, height, self._layout):
                constants = self._device.upload(plan.constants)
                table = self._device.upload(plan.table(constants.address))
                found.append(_Launch(plan.blocks, plan.shared_bytes, plan.planes.size, table, constants))
            self._launches[(width, height)] = found
        return found
