"""The probe's first part: which devices the driver shows, asked of its own library."""

from __future__ import annotations

import ctypes
from typing import Any

from encoders.backends.nverrors import typed_errors
from encoders.backends.probe_report import report


def list_devices() -> list[dict[str, Any]]:
    """Index, UUID, name, architecture and memory of each device, by the driver's own library.

    Raises:
        NoDevice: no driver, or no device that this process may see.
    """
    report("step", name="ask the driver for devices")
    with typed_errors("load the GPU driver"):
        cuda = ctypes.CDLL("libcuda.so.1")
    version, count = ctypes.c_int(), ctypes.c_int()
    with typed_errors("start the GPU driver"):
        _check(cuda.cuInit(0))
        _check(cuda.cuDriverGetVersion(ctypes.byref(version)))
        _check(cuda.cuDeviceGetCount(ctypes.byref(count)))
        if not count.value:
            _check(100)
    report("driver", cuda=f"{version.value // 1000}.{version.value % 1000 // 10}")
    return [_device(cuda, index) for index in range(count.value)]


def _check(status: int) -> None:
    if status:
        raise RuntimeError(f"cuInit : \nError code : {status}\nError Type : driver")


def _device(cuda: ctypes.CDLL, index: int) -> dict[str, Any]:
    handle, memory = ctypes.c_int(), ctypes.c_size_t()
    uuid, name = (ctypes.c_ubyte * 16)(), ctypes.create_string_buffer(128)
    major, minor = ctypes.c_int(), ctypes.c_int()
    with typed_errors(f"ask about GPU {index}"):
        _check(cuda.cuDeviceGet(ctypes.byref(handle), index))
        _check(cuda.cuDeviceGetUuid_v2(uuid, handle))
        _check(cuda.cuDeviceGetName(name, len(name), handle))
        _check(cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), handle))
        # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR. Source: cuda.h.
        _check(cuda.cuDeviceGetAttribute(ctypes.byref(major), 75, handle))
        _check(cuda.cuDeviceGetAttribute(ctypes.byref(minor), 76, handle))
    digits = bytes(uuid).hex()
    return {
        "index": index,
        "uuid": f"GPU-{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}",
        "name": name.value.decode(errors="replace"),
        "architecture": f"{major.value}.{minor.value}",
        "memory_bytes": memory.value,
    }
