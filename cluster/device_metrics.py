"""What the nodes' GPUs do, through Ray's own metrics: every name in one table, read by NVML once every few seconds.

Ray exports these from each node's agent, with the node's labels.
"""

from __future__ import annotations

import fcntl
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from cluster.devices import DeviceReading, Nvml, NvmlUnavailable

PERIOD_S = 5.0
"""NVML averages engine use over a sixth of a second to a second; more often would cost and not tell more."""
LABELS = ("device", "name")
"""UUID of the GPU or slice, and its model."""


@dataclass(frozen=True, slots=True)
class DeviceMetric:
    """One metric: a gauge of one value of a reading.

    Attributes:
        name: as exported, without Ray's prefix.
        help: with the unit.
        value: reads it; None leaves it out.
    """

    name: str
    help: str
    value: Callable[[DeviceReading], float | None]


DEVICE_METRICS: tuple[DeviceMetric, ...] = (
    DeviceMetric("reelmill_gpu_encoder_use", "Time that the NVENC engines work, 0 to 1.", lambda r: r.encoder_use),
    DeviceMetric("reelmill_gpu_decoder_use", "Time that the NVDEC engines work, 0 to 1.", lambda r: r.decoder_use),
    DeviceMetric("reelmill_gpu_kernel_use", "Time that kernels run, 0 to 1; no video engine.", lambda r: r.gpu_use),
    DeviceMetric("reelmill_gpu_encode_sessions", "Open NVENC sessions.", lambda r: r.encode_sessions),
    DeviceMetric("reelmill_gpu_encode_fps", "Average of the open sessions, frames a second.", lambda r: r.encode_fps),
    DeviceMetric("reelmill_gpu_encode_latency_seconds", "Average of the sessions.", lambda r: r.encode_latency_s),
    DeviceMetric("reelmill_gpu_memory_used_bytes", "Memory in use.", lambda r: r.memory_used_bytes),
    DeviceMetric("reelmill_gpu_memory_total_bytes", "Memory of the device.", lambda r: r.memory_total_bytes),
    DeviceMetric("reelmill_gpu_video_clock_hertz", "Clock of the video engines.", lambda r: r.video_clock_hz),
    DeviceMetric("reelmill_gpu_video_clock_max_hertz", "Highest such clock.", lambda r: r.max_video_clock_hz),
    DeviceMetric("reelmill_gpu_sm_clock_hertz", "Clock of the multiprocessors.", lambda r: r.sm_clock_hz),
    DeviceMetric("reelmill_gpu_temperature_celsius", "Temperature of the chip.", lambda r: r.temperature_c),
    DeviceMetric("reelmill_gpu_power_watts", "Power drawn.", lambda r: r.power_w),
    DeviceMetric("reelmill_gpu_throttled", "1 while clocks are lowered.", lambda r: float(bool(r.throttled))),
)


class Gauge(Protocol):
    """As ray.util.metrics.Gauge."""

    def set(self, value: float, tags: Mapping[str, str]) -> None:
        """The value of one set of labels."""
        ...


def ray_gauge(name: str, help_text: str, labels: Sequence[str]) -> Any:
    """A gauge that Ray's agent exports."""
    from ray.util import metrics

    return metrics.Gauge(name, description=help_text, tag_keys=tuple(labels))


class DeviceWatcher:
    """Reads a node's devices in a thread of its own and publishes what it finds.

    Args:
        lock: a file that only one watcher of a node holds; the others wait for it, and do nothing until it dies.
        open_nvml: starts the library; raises NvmlUnavailable on a node without a driver, where nothing is watched.
        make_gauge: (name, help, labels) -> gauge.
    """

    def __init__(
        self,
        lock: Path,
        open_nvml: Callable[[], Nvml] = Nvml,
        make_gauge: Callable[[str, str, Sequence[str]], Gauge] = ray_gauge,
        period_s: float = PERIOD_S,
    ) -> None:
        self._lock = lock
        self._open_nvml = open_nvml
        self._make_gauge = make_gauge
        self._period_s = period_s
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._gauges: dict[str, Gauge] = {}
        self.reason = ""

    def start(self) -> bool:
        """Watch until `stop`; False, with `reason` set, on a node without NVIDIA's driver."""
        try:
            nvml = self._open_nvml()
        except NvmlUnavailable as error:
            self.reason = error.detail
            return False
        self._thread = threading.Thread(target=self._watch, args=(nvml,), name="device-watcher", daemon=True)
        self._thread.start()
        return True

    def stop(self) -> None:
        """End the thread; harmless when there is none."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def publish(self, readings: Sequence[DeviceReading]) -> None:
        """Set every gauge for which a reading has a value."""
        for metric in DEVICE_METRICS:
            for reading in readings:
                value = metric.value(reading)
                if value is None:
                    continue
                gauge = self._gauges.get(metric.name)
                if gauge is None:
                    gauge = self._gauges[metric.name] = self._make_gauge(metric.name, metric.help, LABELS)
                gauge.set(float(value), tags={"device": reading.uuid, "name": reading.name})

    def _watch(self, nvml: Nvml) -> None:
        self._lock.parent.mkdir(parents=True, exist_ok=True)
        with nvml, self._lock.open("w") as lock:
            held = False
            while True:
                held = held or _try_lock(lock)
                if held:
                    self.publish(nvml.read())
                if self._stop.wait(self._period_s):
                    return


def _try_lock(file: IO[str]) -> bool:
    """Take the lock if nobody has it; it goes with the file, and so with the process."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
