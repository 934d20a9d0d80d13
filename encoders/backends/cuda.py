"""The little of CUDA that the GPU lanes need: one device, one stream, fixed memory, one kernel. CuPy underneath.

Rule: everything of a lane (decoder, kernel, encoders, copies) is issued on the one stream of its `CudaDevice`, so the
order of calls is the order of work on the device, and nothing waits on the host but `Mark.wait` and `finish`.

CuPy is imported when a device is opened, never before: dispatcher and gateway may import this module.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from encoders.backends.nverrors import typed_errors

Array = npt.NDArray[np.uint8]
HOST_TO_DEVICE, DEVICE_TO_HOST, DEVICE_TO_DEVICE = 1, 2, 3
"""cudaMemcpyKind. Source: driver_types.h."""


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    """A piece of device memory; freed when the last reference goes.

    Attributes:
        address: on the device.
        owner: keeps the memory.
    """

    address: int
    size_bytes: int
    owner: object


@dataclass(frozen=True, slots=True)
class PinnedMemory:
    """Page-locked host memory that the device copies to and from without waiting; freed with the last reference."""

    array: Array
    owner: object

    @property
    def address(self) -> int:
        """On the host."""
        return int(self.array.ctypes.data)


class Mark(Protocol):
    """A point in the stream."""

    def wait(self) -> None:
        """Return when the device has done everything that was issued before the mark."""
        ...


class _EventMark:
    def __init__(self, event: Any) -> None:
        self._event = event

    def wait(self) -> None:
        with typed_errors("wait for the GPU"):
            self._event.synchronize()


class Kernel:
    """A compiled kernel, launched on its device's stream."""

    def __init__(self, function: Any, stream: Any) -> None:
        self._function = function
        self._stream = stream

    def launch(self, blocks: int, threads: int, shared_bytes: int, *arguments: np.generic) -> None:
        """Issue a launch; arguments are NumPy scalars, whose type is the kernel's parameter type."""
        with typed_errors("launch the scaling kernel"), self._stream:
            self._function((blocks,), (threads,), arguments, shared_mem=shared_bytes)


class CudaDevice:
    """An open device with its stream. Uses the primary context, which PyNvVideoCodec joins when given the stream.

    Args:
        index: among the devices that this process sees (CUDA_VISIBLE_DEVICES).

    CuPy keeps compiled kernels on disk; a confined process, which may not write there, keeps them in memory.

    Raises:
        NoDevice: CuPy is not installed, there is no driver, or no such device.
    """

    def __init__(self, index: int = 0) -> None:
        self.index = index
        if not _cache_is_writable():
            os.environ["CUPY_CACHE_IN_MEMORY"] = "1"
        with typed_errors(f"open GPU {index}"):
            import cupy

            self._cupy: Any = cupy
            self._cupy.cuda.Device(index).use()
            self._stream: Any = self._cupy.cuda.Stream(non_blocking=True)

    @property
    def stream_address(self) -> int:
        """Handle of the stream, as PyNvVideoCodec's `cudastream` takes it."""
        return int(self._stream.ptr)

    def allocate(self, size_bytes: int) -> DeviceMemory:
        """Device memory that holds no particular bytes.

        Raises:
            SessionsExhausted: the device's memory is taken.
        """
        with typed_errors(f"allocate {size_bytes} bytes on the GPU"):
            memory = self._cupy.cuda.alloc(size_bytes)
        return DeviceMemory(int(memory.ptr), size_bytes, memory)

    def upload(self, array: Array) -> DeviceMemory:
        """A copy of host bytes on the device, complete when this returns."""
        memory = self.allocate(array.nbytes)
        self.copy_to_device(memory.address, array)
        self.finish()
        return memory

    def pinned(self, size_bytes: int) -> PinnedMemory:
        """Page-locked host memory."""
        with typed_errors(f"pin {size_bytes} bytes of host memory"):
            memory = self._cupy.cuda.alloc_pinned_memory(size_bytes)
        return PinnedMemory(np.frombuffer(memory, np.uint8, size_bytes), memory)

    def copy_to_device(self, address: int, array: Array) -> None:
        """Issue a copy; `array` (contiguous) must stay as it is until the stream has passed it."""
        self._copy(address, int(array.ctypes.data), array.nbytes, HOST_TO_DEVICE)

    def copy_to_host(self, array: Array, address: int) -> None:
        """Issue a copy; `array` (contiguous, pinned) holds the bytes once a later mark has been waited for."""
        self._copy(int(array.ctypes.data), address, array.nbytes, DEVICE_TO_HOST)

    def copy_within(self, target: int, source: int, size_bytes: int) -> None:
        """Issue a copy from one address of the device to another."""
        self._copy(target, source, size_bytes, DEVICE_TO_DEVICE)

    def _copy(self, target: int, source: int, size_bytes: int, kind: int) -> None:
        with typed_errors("copy between host and GPU"):
            self._cupy.cuda.runtime.memcpyAsync(target, source, size_bytes, kind, self._stream.ptr)

    def compile(self, source: Path, name: str) -> Kernel:
        """Compile a kernel for this device with NVRTC; CuPy keeps the result under CUPY_CACHE_DIR.

        Raises:
            NoDevice: NVRTC is missing.
            DeviceFault: NVRTC refused the source, which no released source does.
        """
        with typed_errors(f"compile {source.name}"):
            module = self._cupy.RawModule(code=source.read_text(), options=("--std=c++14",))
            return Kernel(module.get_function(name), self._stream)

    def mark(self) -> Mark:
        """A mark behind everything issued so far."""
        with typed_errors("mark the GPU's stream"):
            event = self._cupy.cuda.Event(block=True, disable_timing=True)
            event.record(self._stream)
        return _EventMark(event)

    def finish(self) -> None:
        """Return when the device has done everything issued so far."""
        with typed_errors("wait for the GPU"):
            self._stream.synchronize()

    def memory(self) -> tuple[int, int]:
        """Free and total memory of the device, bytes."""
        with typed_errors("ask for the GPU's memory"):
            free, total = self._cupy.cuda.runtime.memGetInfo()
        return int(free), int(total)


def _cache_is_writable() -> bool:
    """Whether CuPy can keep compiled kernels where it does. Source: CuPy, CUPY_CACHE_DIR and its default."""
    folder = Path(os.environ.get("CUPY_CACHE_DIR") or Path.home() / ".cupy" / "kernel_cache")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f".{os.getpid()}").touch()
        (folder / f".{os.getpid()}").unlink()
    except OSError:
        return False
    return True
