"""The child process that proves what the GPUs of this host do: `python -m encoders.backends.probe_child`.

Rule: everything that may end a process without a word happens here and nowhere else. Each finding is written as one
line of JSON, and each step says its name before it begins, so the parent knows what was proven and what the child died
of.
"""

from __future__ import annotations

from typing import Any

from encoders.backends.cuda import CudaDevice
from encoders.backends.nverrors import typed_errors
from encoders.backends.probe_decode import prove_decoding, prove_scaling
from encoders.backends.probe_devices import list_devices
from encoders.backends.probe_encode import count_sessions, prove_encoding
from encoders.backends.probe_report import report
from encoders.backends.probe_speed import SPEED_S, time_cpu_lane, time_device, time_encoding
from encoders.errors import FarmError


def main() -> None:
    """Prove everything, device after device."""
    try:
        devices = list_devices()
    except FarmError as error:
        report("none", reason=error.detail)
        return
    report("step", name="load PyNvVideoCodec and CuPy")
    try:
        library = load_libraries()
    except FarmError as error:
        for found in devices:
            report("device", **found, decode_reason=error.detail, encode_reason=error.detail)
        return
    encoding: list[tuple[CudaDevice, int]] = []
    for found in devices:
        report("device", **found)
        proven = prove_device(library, int(found["index"]))
        encoding += [proven] if proven is not None else []
    if encoding:
        report("step", name="count encode sessions")
        for index, sessions in count_sessions(library, encoding).items():
            report("found", index=index, sessions=sessions)
    if SPEED_S > 0:
        report("step", name="time FFmpeg on one core")
        report("host", cpu_lane_fps=time_cpu_lane())


def load_libraries() -> Any:
    """PyNvVideoCodec, with CuPy seen to be there.

    Raises:
        NoDevice, Unsupported: not installed, no driver library for it, or an older driver than it needs.
    """
    with typed_errors("load PyNvVideoCodec and CuPy (extras gpu-cu12 and gpu-cu13)"):
        import cupy  # noqa: F401
        import PyNvVideoCodec as library
    return library


def prove_device(library: Any, index: int) -> tuple[CudaDevice, int] | None:
    """Decode, scale, encode and time on one device; what fails is reported with its reason.

    Returns:
        The open device and its B-frames when it encodes.
    """
    try:
        report("step", name=f"open GPU {index}")
        device = CudaDevice(index)
    except FarmError as error:
        report("found", index=index, decode_reason=error.detail, encode_reason=error.detail)
        return None
    prove_decoding(library, device)
    report("step", name=f"scale on GPU {index}")
    try:
        report("found", index=index, scale_psnr_db=round(prove_scaling(device), 1))
    except FarmError as error:
        report("found", index=index, scale_reason=error.detail)
        return None
    b_frames = prove_encoding(library, device)
    if SPEED_S > 0:
        time_device(library, device)
        if b_frames is not None:
            time_encoding(library, device, b_frames)
    return None if b_frames is None else (device, b_frames)


if __name__ == "__main__":
    main()
