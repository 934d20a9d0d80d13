"""pynvml for machines without a driver: GPUs as dictionaries, and the errors that it raises."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any


class NVMLError(Exception):
    """As pynvml.NVMLError."""


class FakeNvml:
    """Stands in for the pynvml module.

    Args:
        gpus: what each answers, by the end of the function's name ("UUID", "EncoderUtilization"); a missing entry is
            not supported. "slices" lists the same for MIG slices.
    """

    NVMLError = NVMLError

    def __init__(self, *gpus: dict[str, Any], driver: bool = True) -> None:
        self.gpus = gpus
        self.driver = driver
        self.running = 0

    def nvmlInit(self) -> None:
        if not self.driver:
            raise NVMLError("NVML Shared Library Not Found")
        self.running += 1

    def nvmlShutdown(self) -> None:
        self.running -= 1

    def nvmlSystemGetDriverVersion(self) -> str:
        return "580.159.03"

    def nvmlDeviceGetCount(self) -> int:
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> dict[str, Any]:
        if self.gpus[index].get("lost"):
            raise NVMLError("GPU is lost")
        return self.gpus[index]

    def nvmlDeviceGetMaxMigDeviceCount(self, handle: dict[str, Any]) -> int:
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle: dict[str, Any], number: int) -> dict[str, Any]:
        slices: list[dict[str, Any]] = handle.get("slices", [])
        if number >= len(slices):
            raise NVMLError("Not Found")
        return slices[number]

    def nvmlDeviceGetMigMode(self, handle: dict[str, Any]) -> tuple[int, int]:
        return (int("slices" in handle), 0)

    def __getattr__(self, name: str) -> Any:
        key = name.removeprefix("nvmlDeviceGet")

        def answer(handle: dict[str, Any], *arguments: object) -> Any:
            value = handle.get(key)
            if isinstance(value, dict):
                value = value.get(arguments[0]) if arguments else SimpleNamespace(**value)
            if value is None:
                raise NVMLError("Not Supported")
            return value

        return answer


L4 = {
    "UUID": "GPU-l4",
    "Name": "NVIDIA L4",
    "EncoderUtilization": (93, 167000),
    "DecoderUtilization": (40, 167000),
    "UtilizationRates": {"gpu": 25, "memory": 10},
    "EncoderStats": (8, 61, 15000),
    "MemoryInfo": {"used": 3 << 30, "total": 24 << 30},
    "ClockInfo": {1: 2040, 3: 1770},
    "MaxClockInfo": {3: 1770},
    "Temperature": 61,
    "PowerUsage": 71500,
    "CurrentClocksEventReasons": 0x4 | 0x1,
}
H200 = {
    "UUID": "GPU-h200",
    "Name": "NVIDIA H200",
    "DecoderUtilization": (7, 167000),
    "MemoryInfo": {"used": 1 << 30, "total": 141 << 30},
    "slices": [{"UUID": "MIG-1", "Name": "NVIDIA H200 MIG 1g.18gb", "MemoryInfo": {"used": 0, "total": 18 << 30}}],
}
