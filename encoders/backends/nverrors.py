"""What a GPU library says when it fails, as a typed cause with a policy.

PyNvVideoCodec and CuPy raise a handful of exception classes whose only information is a number in their text. Each
number means one of five things, and what to do next hangs on that thing alone.

Source of the NVENC codes: nvEncodeAPI.h, NVENCSTATUS. Source of the CUDA codes: cuda.h, CUresult.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import ClassVar

from encoders.errors import BackendUnavailable, FarmError, Fault


class GpuPolicy(StrEnum):
    """What to do after a failure on a GPU."""

    REMOVE_LANE = "remove_lane"
    """The host offers this backend no more; it is proven again when a worker starts."""
    BACK_OFF = "back_off"
    """The same segment on the same backend, later: somebody else holds what it needs."""
    NEXT_BACKEND = "next_backend"
    """The rendition goes to the next backend, whole; this one is not asked for such work again."""
    FENCE = "fence"
    """The process is ended, the device gets no work until it is proven again, the segment is redone elsewhere."""


class NoDevice(BackendUnavailable):
    """There is no GPU, or it has no engine of the kind that is needed."""

    code = "gpu_no_device"
    policy: ClassVar[GpuPolicy] = GpuPolicy.REMOVE_LANE


class Unsupported(BackendUnavailable):
    """The engine is there and cannot do this: codec, depth, chroma, size, or an interface newer than the driver."""

    code = "gpu_unsupported"
    policy: ClassVar[GpuPolicy] = GpuPolicy.NEXT_BACKEND


class BadConfiguration(BackendUnavailable):
    """The encoder refused its settings."""

    code = "gpu_bad_configuration"
    policy: ClassVar[GpuPolicy] = GpuPolicy.NEXT_BACKEND


class SessionsExhausted(FarmError):
    """All encode sessions, or the memory that one more needs, are taken."""

    code = "encode_sessions_exhausted"
    fault = Fault.DEVICE
    policy: ClassVar[GpuPolicy] = GpuPolicy.BACK_OFF


class DeviceFault(FarmError):
    """The device misbehaved: nothing that came from it in this segment can be trusted."""

    code = "gpu_device_fault"
    fault = Fault.DEVICE
    policy: ClassVar[GpuPolicy] = GpuPolicy.FENCE


GpuError = NoDevice | Unsupported | BadConfiguration | SessionsExhausted | DeviceFault
GpuCause = type[NoDevice] | type[Unsupported] | type[BadConfiguration] | type[SessionsExhausted] | type[DeviceFault]

NVENC_CAUSES: dict[int, GpuCause] = {
    1: NoDevice,  # NO_ENCODE_DEVICE
    2: NoDevice,  # UNSUPPORTED_DEVICE: a GPU without NVENC
    5: DeviceFault,  # DEVICE_NOT_EXIST: it was there before
    8: BadConfiguration,  # INVALID_PARAM
    10: SessionsExhausted,  # OUT_OF_MEMORY: the session limit, on older drivers
    12: Unsupported,  # UNSUPPORTED_PARAM
    15: Unsupported,  # INVALID_VERSION
    18: DeviceFault,  # ENCODER_BUSY
    20: DeviceFault,  # GENERIC
    21: SessionsExhausted,  # INCOMPATIBLE_CLIENT_KEY: the session limit, on newer drivers
}
"""NVENCSTATUS to cause. Source: nvEncodeAPI.h; 10 and 21 as session limits: reports against drivers 4xx and 580."""

CUDA_CAUSES: dict[int, GpuCause] = {
    2: SessionsExhausted,  # MEMORY_ALLOCATION: another lane holds it
    35: NoDevice,  # INSUFFICIENT_DRIVER
    100: NoDevice,  # NO_DEVICE
    101: NoDevice,  # INVALID_DEVICE
    222: Unsupported,  # UNSUPPORTED_PTX_VERSION
    801: Unsupported,  # NOT_SUPPORTED
    803: NoDevice,  # SYSTEM_DRIVER_MISMATCH
    804: NoDevice,  # COMPAT_NOT_SUPPORTED_ON_DEVICE
    999: Unsupported,  # what PyNvVideoCodec says without libnvcuvid
}
"""CUresult to cause; every other code from 200 up is a fault of the device (illegal address, launch failure, lost)."""

_SHARED_CODES = frozenset({1, 2, 5, 8})
_CODE = re.compile(r"Error code\s*:\s*(\d+)")
_CUDA_NAME = re.compile(r"cudaError([A-Za-z]+)|CUDA_ERROR_([A-Z_]+)")
_CUDA_NAMES: dict[str, GpuCause] = {
    "insufficientdriver": NoDevice,
    "nodevice": NoDevice,
    "invaliddevice": NoDevice,
    "memoryallocation": SessionsExhausted,
    "outofmemory": SessionsExhausted,
    "unsupportedptxversion": Unsupported,
    "notsupported": Unsupported,
    "nokernelimagefordevice": Unsupported,
}
"""Names that CuPy prints (the run-time API) and the driver API, without their prefix, case and underscores."""

_TEXTS: tuple[tuple[str, GpuCause], ...] = (
    ("failed to load nvenc library", NoDevice),
    ("libcuda.so.1: cannot open", NoDevice),
    ("no module named", NoDevice),
    ("could not dynamically load libnvcuvid", Unsupported),
    ("driver version is too old", Unsupported),
    ("no capable devices found", NoDevice),
    ("operation not permitted", NoDevice),  # PyAV's PermissionError for NVENC on a host without a GPU
    ("openencodesessionex failed: out of memory", SessionsExhausted),
    ("out of memory", SessionsExhausted),
    ("not supported", Unsupported),
    ("unsupported", Unsupported),
    ("reconfigure not supported", Unsupported),
    ("invalid codec given", BadConfiguration),
    ("invalid strides", BadConfiguration),
    ("incorrect usage of cpu input buffer", BadConfiguration),
)
"""Texts without a number, lower case; the first that is found decides."""

_MEANING: dict[GpuCause, str] = {
    NoDevice: "no usable GPU engine (check the driver, and NVIDIA_DRIVER_CAPABILITIES=video,compute,utility)",
    Unsupported: "the GPU or its driver cannot do this",
    BadConfiguration: "the encoder refused its settings",
    SessionsExhausted: "all encode sessions, or the GPU's memory, are in use",
    DeviceFault: "the GPU misbehaved and gets no work until it is proven again",
}


def classify_cause(text: str) -> GpuCause:
    """The cause that a library's error text names.

    NVENC's and CUDA's codes share the smallest numbers; PyNvVideoCodec prints NVENC's for its encoder ("Enc" in the
    name of the function), CUDA's else. What nobody recognises counts as a fault of the device: the safe reading, since
    then nothing of the segment is used and the device is proven again.
    """
    found = _CODE.search(text)
    if found:
        code = int(found.group(1))
        if code in NVENC_CAUSES and (code not in _SHARED_CODES or "enc" in text.lower()):
            return NVENC_CAUSES[code]
        return CUDA_CAUSES.get(code, DeviceFault)
    named = _CUDA_NAME.search(text)
    if named:
        name = (named.group(1) or named.group(2)).replace("_", "").lower()
        return _CUDA_NAMES.get(name, DeviceFault)
    lowered = text.lower()
    for needle, cause in _TEXTS:
        if needle in lowered:
            return cause
    return DeviceFault


def to_gpu_error(error: BaseException, doing: str) -> GpuError:
    """A library's exception as a typed error.

    Args:
        doing: what was tried, as in "open an encode session for 720p".
    """
    text = " ".join(f"{type(error).__name__}: {error}".split())
    cause = classify_cause(text)
    return cause(f"{doing}: {_MEANING[cause]}; the library said: {text[:300]}")


@contextmanager
def typed_errors(doing: str) -> Iterator[None]:
    """Turn whatever a GPU library raises inside into a typed error; errors that are typed already pass.

    Args:
        doing: as for `to_gpu_error`.
    """
    try:
        yield
    except _library_errors() as error:
        raise to_gpu_error(error, doing) from error


def _library_errors() -> tuple[type[Exception], ...]:
    """What PyNvVideoCodec and CuPy raise, as far as they are loaded; neither has a root class of its own."""
    found: list[type[Exception]] = [RuntimeError, MemoryError, TypeError, ImportError, OSError]
    nvc = sys.modules.get("PyNvVideoCodec")
    for name in ("PyNvVCException", "PyNvVCExceptionUnsupported"):
        cls = getattr(nvc, name, None)
        if isinstance(cls, type) and issubclass(cls, Exception):
            found.append(cls)
    compiler = sys.modules.get("cupy.cuda.compiler")
    compile_error = getattr(compiler, "CompileException", None)
    if isinstance(compile_error, type) and issubclass(compile_error, Exception):
        found.append(compile_error)
    return tuple(found)
