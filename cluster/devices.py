"""NVML: which GPUs a node has and what their video engines do, as plain values.

GPU utilisation, which most tools show, does not count the video engines: a card whose encoders are full may read 25 %.
So engine use, sessions and clocks are read on their own. nvidia-ml-py is loaded on first use, and only loading the
driver's library can fail: what a device does not support is None.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from encoders.errors import FarmError, Fault

T = TypeVar("T")

THROTTLE_REASONS = {
    0x2: "applications clocks",
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "software thermal",
    0x40: "hardware thermal",
    0x80: "power brake",
    0x100: "display clocks",
}
"""Bits of nvmlDeviceGetCurrentClocksEventReasons that lower clocks; 0x1 (idle) does not count. Source: nvml.h."""
CLOCK_SM, CLOCK_VIDEO = 1, 3
"""nvmlClockType_t. Source: nvml.h."""
TEMPERATURE_GPU = 0


class NvmlUnavailable(FarmError):
    """There is no NVIDIA driver here, or its management library does not start."""

    code = "nvml_unavailable"
    fault = Fault.DEVICE


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceReading:
    """One GPU or MIG slice at one moment. None where the device, or a slice of it, does not tell.

    Attributes:
        uuid: of the GPU, or of the slice.
        parent: UUID of the GPU that a slice belongs to; None for a whole GPU.
        encoder_use, decoder_use: share of time that the engines worked, 0 to 1, all engines of a kind together.
        gpu_use: share of time that kernels ran; says nothing of the video engines.
        encode_sessions: open on the device, of all processes.
        encode_fps: average of the open sessions, frames a second.
        encode_latency_s: average of the open sessions.
        video_clock_hz, sm_clock_hz: now; the video engines' throughput goes with the first.
        max_video_clock_hz: the highest that the device allows.
        throttled: why clocks are lowered now; empty when they are not.
    """

    index: int
    uuid: str
    name: str
    parent: str | None = None
    encoder_use: float | None = None
    decoder_use: float | None = None
    gpu_use: float | None = None
    encode_sessions: int | None = None
    encode_fps: float | None = None
    encode_latency_s: float | None = None
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    video_clock_hz: int | None = None
    max_video_clock_hz: int | None = None
    sm_clock_hz: int | None = None
    temperature_c: int | None = None
    power_w: float | None = None
    throttled: tuple[str, ...] = ()


class Nvml:
    """The driver's management library, started. Close it, or use it as a context manager.

    Args:
        library: stands in for the pynvml module.

    Raises:
        NvmlUnavailable: the reason is in the detail.
    """

    def __init__(self, library: Any = None) -> None:
        self._nvml: Any = library or _pynvml()
        try:
            self._nvml.nvmlInit()
        except self._nvml.NVMLError as error:
            raise NvmlUnavailable(f"NVML does not start: {error}") from error

    def __enter__(self) -> Nvml:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the library; safe when the driver has gone meanwhile."""
        try:
            self._nvml.nvmlShutdown()
        except self._nvml.NVMLError:
            return

    @property
    def driver_version(self) -> str:
        """Of the kernel driver; empty when it does not say."""
        return self._tell(self._nvml.nvmlSystemGetDriverVersion) or ""

    def read(self) -> list[DeviceReading]:
        """All GPUs, each followed by its MIG slices. A GPU that has fallen off the bus is left out."""
        count = self._tell(self._nvml.nvmlDeviceGetCount) or 0
        found: list[DeviceReading] = []
        for index in range(count):
            handle = self._tell(self._nvml.nvmlDeviceGetHandleByIndex, index)
            if handle is None:
                continue
            reading = self._read(index, handle, None)
            if reading is None:
                continue
            found.append(reading)
            for piece in self._slices(handle):
                part = self._read(index, piece, reading.uuid)
                if part is not None:
                    found.append(part)
        return found

    def _slices(self, handle: Any) -> Iterator[Any]:
        mode = self._tell(self._nvml.nvmlDeviceGetMigMode, handle)
        if not mode or not mode[0]:
            return
        for number in range(self._tell(self._nvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0):
            piece = self._tell(self._nvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, number)
            if piece is not None:
                yield piece

    def _read(self, index: int, handle: Any, parent: str | None) -> DeviceReading | None:
        nvml, tell = self._nvml, self._tell
        uuid = tell(nvml.nvmlDeviceGetUUID, handle)
        if uuid is None:
            return None
        encoder, decoder = (
            tell(ask, handle) for ask in (nvml.nvmlDeviceGetEncoderUtilization, nvml.nvmlDeviceGetDecoderUtilization)
        )
        use = tell(nvml.nvmlDeviceGetUtilizationRates, handle)
        stats = tell(nvml.nvmlDeviceGetEncoderStats, handle)
        memory = tell(nvml.nvmlDeviceGetMemoryInfo, handle)
        power = tell(nvml.nvmlDeviceGetPowerUsage, handle)
        reasons = tell(nvml.nvmlDeviceGetCurrentClocksEventReasons, handle) or 0
        return DeviceReading(
            index=index,
            uuid=str(uuid),
            name=str(tell(nvml.nvmlDeviceGetName, handle) or "unknown"),
            parent=parent,
            encoder_use=encoder[0] / 100 if encoder else None,
            decoder_use=decoder[0] / 100 if decoder else None,
            gpu_use=use.gpu / 100 if use else None,
            encode_sessions=stats[0] if stats else None,
            encode_fps=float(stats[1]) if stats else None,
            encode_latency_s=stats[2] / 1e6 if stats else None,
            memory_used_bytes=int(memory.used) if memory else None,
            memory_total_bytes=int(memory.total) if memory else None,
            video_clock_hz=_hertz(tell(nvml.nvmlDeviceGetClockInfo, handle, CLOCK_VIDEO)),
            max_video_clock_hz=_hertz(tell(nvml.nvmlDeviceGetMaxClockInfo, handle, CLOCK_VIDEO)),
            sm_clock_hz=_hertz(tell(nvml.nvmlDeviceGetClockInfo, handle, CLOCK_SM)),
            temperature_c=tell(nvml.nvmlDeviceGetTemperature, handle, TEMPERATURE_GPU),
            power_w=power / 1000 if power is not None else None,
            throttled=tuple(reason for bit, reason in THROTTLE_REASONS.items() if reasons & bit),
        )

    def _tell(self, ask: Callable[..., T], *arguments: object) -> T | None:
        """An answer, or None where the device has none (not supported, no permission, a slice)."""
        try:
            return ask(*arguments)
        except self._nvml.NVMLError:
            return None


def _pynvml() -> Any:
    import pynvml

    return pynvml


def _hertz(megahertz: int | None) -> int | None:
    return None if megahertz is None else megahertz * 1_000_000
