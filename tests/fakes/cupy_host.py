"""CuPy as far as encoders/backends/cuda.py uses it, on host memory.

Quirk that is kept: an asynchronous copy to the host has not happened until somebody waits for the stream, or for an
event that was recorded after it; until then the target holds rubbish.
"""

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from encoders.backends.scale import PLANE_DTYPE
from fakes import gpu

RUBBISH = 0xAB
_streams: dict[int, Stream] = {}


class CUDARuntimeError(RuntimeError):
    """As cupy.cuda.runtime.CUDARuntimeError."""


class OutOfMemoryError(MemoryError):
    """As cupy.cuda.memory.OutOfMemoryError."""


def _check(call: str, **arguments: object) -> None:
    code = gpu.present.note(call, **arguments)
    if not gpu.present.devices:
        raise CUDARuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")
    if code == 2:
        raise OutOfMemoryError("Out of memory allocating bytes")
    if code:
        raise CUDARuntimeError("cudaErrorIllegalAddress: an illegal memory access was encountered")


class Device:
    """As cupy.cuda.Device."""

    def __init__(self, index: int) -> None:
        self.index = index

    def use(self) -> None:
        _check("use", index=self.index)
        if self.index >= gpu.present.devices:
            raise CUDARuntimeError("cudaErrorInvalidDevice: invalid device ordinal")


class Stream:
    """As cupy.cuda.Stream: copies to the host wait here until somebody asks for them."""

    def __init__(self, non_blocking: bool = False) -> None:
        assert non_blocking, "a blocking stream waits for the default stream"
        self.ptr = 1000 + len(_streams)
        self.pending: list[tuple[int, bytes]] = []
        self.done = 0
        _streams[self.ptr] = self

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def run_to(self, count: int) -> None:
        while self.done < count and self.pending:
            address, data = self.pending.pop(0)
            ctypes.memmove(address, data, len(data))
            self.done += 1

    def synchronize(self) -> None:
        _check("synchronize")
        self.run_to(self.done + len(self.pending))


class Event:
    """As cupy.cuda.Event."""

    def __init__(self, block: bool = False, disable_timing: bool = False) -> None:
        self._stream: Stream | None = None
        self._count = 0

    def record(self, stream: Stream) -> None:
        self._stream, self._count = stream, stream.done + len(stream.pending)

    def synchronize(self) -> None:
        assert self._stream is not None, "waiting for an event that was never recorded"
        self._stream.run_to(self._count)


def _alloc(size: int) -> Any:
    _check("alloc", size=size)
    array = np.full(size, RUBBISH, np.uint8)
    return SimpleNamespace(ptr=array.ctypes.data, array=array)


def _alloc_pinned(size: int) -> npt.NDArray[np.uint8]:
    _check("alloc_pinned_memory", size=size)
    return np.full(size, RUBBISH, np.uint8)


def _memcpy_async(target: int, source: int, size: int, kind: int, stream: int) -> None:
    _check("memcpyAsync", kind=kind, size=size)
    data = ctypes.string_at(source, size)
    if kind == 2:
        ctypes.memset(target, RUBBISH, size)
        _streams[stream].pending.append((target, data))
    else:
        ctypes.memmove(target, data, size)


class RawModule:
    """As cupy.RawModule, for the one kernel there is: its arithmetic in NumPy."""

    def __init__(self, code: str, options: tuple[str, ...] = ()) -> None:
        _check("RawModule", options=options)
        assert "scale_ladder" in code

    def get_function(self, name: str) -> Any:
        assert name == "scale_ladder"
        return _scale_ladder


def _scale_ladder(grid: tuple[int], block: tuple[int], arguments: tuple[np.generic, ...], *, shared_mem: int) -> None:
    _check("scale_ladder", grid=grid)
    assert block == (256,)
    assert [type(argument) for argument in arguments] == [
        *(np.uint64, np.int32, np.uint64, np.uint64),
        *(np.int32, np.int32, np.int32, np.int32, np.int32, np.uint64),
    ]
    table, count, luma, chroma, luma_pitch, chroma_pitch, step, second, deep, output = (int(each) for each in arguments)
    for plane in _view(table, count * PLANE_DTYPE.itemsize).view(PLANE_DTYPE):
        if plane["components"] == 1:
            _scale_component(plane, luma, luma_pitch, 1, deep, output, 0)
        else:
            _scale_component(plane, chroma, chroma_pitch, step, deep, output, 0)
            second_at = second * (2 if deep else 1)
            _scale_component(plane, chroma + second_at, chroma_pitch, step, deep, output + int(plane["second"]), 3)


def _scale_component(plane: Any, source: int, pitch: int, step: int, deep: int, output: int, dither_at: int) -> None:
    width, height = int(plane["width"]), int(plane["height"])
    wx, sx = _taps(plane["weights_x"], plane["starts_x"], width, plane["taps_x"])
    wy, sy = _taps(plane["weights_y"], plane["starts_y"], height, plane["taps_y"])
    rows, columns = int(sy.max()) + wy.shape[1], int(sx.max()) + wx.shape[1]
    samples = _strided(source, rows, columns, pitch, step, deep).astype(np.float32) / (256 if deep else 1)
    across = np.einsum("hwt,wt->hw", samples[:, sx[:, None] + np.arange(wx.shape[1])], wx, optimize=True)
    down = np.einsum("htw,ht->hw", across[sy[:, None] + np.arange(wy.shape[1])], wy, optimize=True)
    if deep:
        down += _DITHER[np.ix_(np.arange(height) % 8, (np.arange(width) + dither_at) % 8)] / np.float32(128)
    else:
        down += np.float32(0.5)
    target = _strided(output + int(plane["offset"]), height, width, int(plane["pitch"]), int(plane["step"]), 0)
    target[:] = np.clip(down, 0, 255)


def _strided(address: int, rows: int, columns: int, pitch: int, step: int, deep: int) -> npt.NDArray[Any]:
    size = 2 if deep else 1
    raw = _view(address, (rows - 1) * pitch + ((columns - 1) * step + 1) * size)
    kind = np.uint16 if deep else np.uint8
    return np.lib.stride_tricks.as_strided(
        raw[: raw.size // size * size].view(kind), (rows, columns), (pitch, step * size)
    )


_DITHER = np.array(
    [
        [36, 68, 60, 92, 34, 66, 58, 90],
        [100, 4, 124, 28, 98, 2, 122, 26],
        [52, 84, 44, 76, 50, 82, 42, 74],
        [116, 20, 108, 12, 114, 18, 106, 10],
        [32, 64, 56, 88, 38, 70, 62, 94],
        [96, 0, 120, 24, 102, 6, 126, 30],
        [48, 80, 40, 72, 54, 86, 46, 78],
        [112, 16, 104, 8, 118, 22, 110, 14],
    ],
    np.float32,
)


def _taps(weights: int, starts: int, length: int, taps: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    w = _view(int(weights), int(length) * int(taps) * 4).view(np.float32).reshape(int(length), int(taps))
    return w, _view(int(starts), int(length) * 4).view(np.int32)


def _view(address: int, size: int) -> npt.NDArray[np.uint8]:
    return np.frombuffer((ctypes.c_uint8 * size).from_address(address), np.uint8)


def _mem_get_info() -> tuple[int, int]:
    return 20 << 30, 24 << 30


cuda = SimpleNamespace(
    Device=Device,
    Stream=Stream,
    Event=Event,
    alloc=_alloc,
    alloc_pinned_memory=_alloc_pinned,
    runtime=SimpleNamespace(memcpyAsync=_memcpy_async, memGetInfo=_mem_get_info, CUDARuntimeError=CUDARuntimeError),
)
__version__ = "14.2.0"
