"""How a decoded NV12 or P016 picture becomes every rendition's picture: filter taps, memory layout, kernel launches.

Pure; NumPy on the host. `scaler` carries out what `plan_cascade` returns: the largest rendition is made from the
source, each smaller one from the next larger, as the CPU lane does it (encoders/picture.py). The result is swscale's to
at least 60 dB (tests/integration/test_scale_kernel.py), so segments that were decoded on CPU and GPU can stand beside
each other in one rendition. Chroma of 4:2:0 is taken as centred between its luma samples in both directions, as swscale
takes it unless told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import numpy.typing as npt

from encoders.backends.nverrors import Unsupported
from encoders.ladder import Rendition

KERNEL_SOURCE = Path(__file__).with_name("scale_nv12.cu")
KERNEL_NAME = "scale_ladder"
TILE_WIDTH, TILE_HEIGHT = 32, 8
"""Output pixels of one block; also in the kernel's source."""
BLOCK_THREADS = TILE_WIDTH * TILE_HEIGHT
SHARED_LIMIT_BYTES = 48 * 1024
"""What a block gets on every architecture without asking. Source: CUDA C++ Programming Guide, compute capabilities."""
ALIGN_BYTES = 512
"""Of each plane's start; more than any copy or texture unit asks."""

PLANE_DTYPE = np.dtype(
    [(name, "u8") for name in ("weights_x", "starts_x", "weights_y", "starts_y", "offset")]
    + [
        (name, "i4")
        for name in (
            "pitch",
            "width",
            "height",
            "taps_x",
            "taps_y",
            "components",
            "step",
            "second",
            "first_block",
            "blocks_x",
        )
    ]
)
"""One entry of the kernel's table; same order and sizes as `struct Plane` there."""

Array = npt.NDArray[np.uint8]


class Filter(StrEnum):
    """Shape of the scaling filter; widened by the ratio when it makes smaller, so nothing aliases."""

    BICUBIC = "bicubic"
    LANCZOS3 = "lanczos3"
    BILINEAR = "bilinear"


_SUPPORT = {Filter.BICUBIC: 2.0, Filter.LANCZOS3: 3.0, Filter.BILINEAR: 1.0}
"""Half width in source samples at ratio 1."""
BICUBIC_C = 0.6
"""With B = 0. Source: libswscale/utils.c, the default of `param[1]` for SWS_BICUBIC; Mitchell and Netravali 1988."""


@dataclass(frozen=True, slots=True)
class Taps:
    """A polyphase filter from one length to another.

    Attributes:
        weights: float32, (output length, taps); rows add up to 1. Edges are folded in: what lies outside repeats the
            last sample.
        starts: int32, (output length,): first source sample of each row.
    """

    weights: npt.NDArray[np.float32]
    starts: npt.NDArray[np.int32]

    @property
    def count(self) -> int:
        """Taps per output sample."""
        return int(self.weights.shape[1])


def plan_taps(source: int, target: int, kind: Filter = Filter.BICUBIC) -> Taps:
    """The filter from `source` samples to `target` samples, both at least 1."""
    ratio = source / target
    widen = max(1.0, ratio)
    reach = _SUPPORT[kind] * widen
    centres = (np.arange(target) + 0.5) * ratio - 0.5
    first = np.ceil(centres - reach - 1e-9).astype(np.int64)
    width = int(np.max(np.floor(centres + reach + 1e-9).astype(np.int64) - first)) + 1
    positions = first[:, None] + np.arange(width)[None]
    weights = _shape(np.abs((positions - centres[:, None]) / widen), kind)
    weights /= weights.sum(axis=1, keepdims=True)
    count = min(width, source)
    starts = np.clip(first, 0, source - count)
    folded = np.zeros((target, count))
    inside = np.clip(np.clip(positions, 0, source - 1) - starts[:, None], 0, count - 1)
    rows = np.arange(target)
    for tap in range(width):
        np.add.at(folded, (rows, inside[:, tap]), weights[:, tap])
    return Taps(np.ascontiguousarray(folded, dtype=np.float32), np.ascontiguousarray(starts, dtype=np.int32))


def _shape(distance: npt.NDArray[np.float64], kind: Filter) -> npt.NDArray[np.float64]:
    """Weight at a distance, in units of the (widened) sample pitch."""
    if kind is Filter.BILINEAR:
        return np.maximum(0.0, 1.0 - distance)
    if kind is Filter.LANCZOS3:
        return np.where(distance < 3, np.sinc(distance) * np.sinc(distance / 3), 0.0)
    c, d = BICUBIC_C, distance
    near = ((12 - 6 * c) * d**3 + (6 * c - 18) * d**2 + 6) / 6
    far = (-6 * c * d**3 + 30 * c * d**2 - 48 * c * d + 24 * c) / 6
    return np.where(d < 1, near, np.where(d < 2, far, 0.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """Where one rendition's picture lies in a slot: tight luma rows, then chroma without a gap.

    Attributes:
        width, height: even.
        offset: of the luma plane from the slot's start, bytes.
        planar: U behind Y and V behind U (what x264 takes); else U and V interleaved (NV12, what NVENC takes).
    """

    width: int
    height: int
    offset: int
    planar: bool = False

    @property
    def chroma_offset(self) -> int:
        """Of the first chroma sample from the slot's start, bytes."""
        return self.offset + self.width * self.height

    @property
    def chroma_pitch(self) -> int:
        """Distance of chroma rows, bytes."""
        return self.width // 2 if self.planar else self.width

    @property
    def chroma_step(self) -> int:
        """From one sample of a chroma component to the next, bytes."""
        return 1 if self.planar else 2

    @property
    def chroma_second(self) -> int:
        """From a U sample to its V sample, bytes."""
        return (self.width // 2) * (self.height // 2) if self.planar else 1

    @property
    def size_bytes(self) -> int:
        """All planes."""
        return self.width * self.height * 3 // 2


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotLayout:
    """How one picture in all renditions lies in one piece of memory.

    Attributes:
        surfaces: one per rendition, from small to large.
        size_bytes: of the whole slot.
    """

    surfaces: tuple[Surface, ...]
    size_bytes: int


def plan_slot(sizes: Sequence[tuple[int, int]], *, planar: bool = False) -> SlotLayout:
    """Lay out renditions of (width, height), both even, from small to large."""
    surfaces: list[Surface] = []
    offset = 0
    for width, height in sizes:
        surface = Surface(width=width, height=height, offset=offset, planar=planar)
        surfaces.append(surface)
        offset += -(-surface.size_bytes // ALIGN_BYTES) * ALIGN_BYTES
    return SlotLayout(surfaces=tuple(surfaces), size_bytes=offset)


def slot_of(renditions: Sequence[Rendition], *, planar: bool = False) -> SlotLayout:
    """The slot of a plan's renditions."""
    return plan_slot([(rendition.width, rendition.height) for rendition in renditions], planar=planar)


@dataclass(frozen=True, slots=True)
class ScalePlan:
    """Everything one launch needs but addresses of pictures.

    Attributes:
        planes: the kernel's table, with byte offsets into `constants` where the kernel wants addresses.
        constants: all taps in one piece of host memory, to be copied to the device once.
        blocks: grid size.
        shared_bytes: dynamic shared memory of a block.
    """

    planes: npt.NDArray[np.void]
    constants: Array
    blocks: int
    shared_bytes: int

    def table(self, constants_address: int) -> Array:
        """The kernel's table as bytes, once the constants lie at an address of the device."""
        planes = self.planes.copy()
        for name in ("weights_x", "starts_x", "weights_y", "starts_y"):
            planes[name] += np.uint64(constants_address)
        return planes.view(np.uint8).reshape(-1)


def plan_cascade(width: int, height: int, layout: SlotLayout) -> tuple[ScalePlan, ...]:
    """One launch for each surface of a slot: the largest from a picture of (width, height), then each from the last.

    Raises:
        Unsupported: a ratio too steep for `plan_scaling`.
    """
    plans = []
    for surface in reversed(layout.surfaces):
        plans.append(plan_scaling(width, height, (surface,)))
        width, height = surface.width, surface.height
    return tuple(plans)


def plan_scaling(width: int, height: int, surfaces: Sequence[Surface], kind: Filter = Filter.BICUBIC) -> ScalePlan:
    """Plan the launch that scales a picture of (width, height) to surfaces of one slot.

    Raises:
        Unsupported: a ratio so steep that a tile's rows do not fit in shared memory (about 16:1).
    """
    planes = np.zeros(2 * len(surfaces), PLANE_DTYPE)
    constants = _Constants()
    blocks = shared_bytes = 0
    for index, (surface, components) in enumerate((surface, c) for surface in surfaces for c in (1, 2)):
        luma = components == 1
        out_width, out_height = surface.width // components, surface.height // components
        across = plan_taps(-(-width // components), out_width, kind)
        down = plan_taps(-(-height // components), out_height, kind)
        blocks_x, blocks_y = -(-out_width // TILE_WIDTH), -(-out_height // TILE_HEIGHT)
        planes[index] = (
            constants.add(across.weights),
            constants.add(across.starts),
            constants.add(down.weights),
            constants.add(down.starts),
            surface.offset if luma else surface.chroma_offset,
            surface.width if luma else surface.chroma_pitch,
            out_width,
            out_height,
            across.count,
            down.count,
            components,
            1 if luma else surface.chroma_step,
            0 if luma else surface.chroma_second,
            blocks,
            blocks_x,
        )
        blocks += blocks_x * blocks_y
        shared_bytes = max(shared_bytes, _tile_rows(down, out_height) * TILE_WIDTH * components * 4)
    if shared_bytes > SHARED_LIMIT_BYTES:
        raise Unsupported(f"{width}x{height} to {surfaces[0]}: the ratio is too steep for the GPU's scaler")
    return ScalePlan(planes, constants.joined(), blocks, shared_bytes)


def _tile_rows(down: Taps, height: int) -> int:
    """Source rows that the tallest tile needs."""
    tops = np.arange(0, height, TILE_HEIGHT)
    bottoms = np.minimum(tops + TILE_HEIGHT - 1, height - 1)
    return int((down.starts[bottoms] + down.count - down.starts[tops]).max())


class _Constants:
    """Arrays behind each other, each at an aligned offset."""

    def __init__(self) -> None:
        self._pieces: list[Array] = []
        self._size = 0

    def add(self, array: npt.NDArray[np.float32] | npt.NDArray[np.int32]) -> int:
        """Append; returns the offset, bytes."""
        raw = np.ascontiguousarray(array).view(np.uint8).reshape(-1)
        offset = self._size
        padded = np.zeros(-(-raw.size // ALIGN_BYTES) * ALIGN_BYTES, np.uint8)
        padded[: raw.size] = raw
        self._pieces.append(padded)
        self._size += padded.size
        return offset

    def joined(self) -> Array:
        """All pieces in one array."""
        return np.concatenate(self._pieces)
