"""Readings of GPUs by NVML, and their metrics."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from fakes.nvml import H200, L4, FakeNvml

from cluster.device_metrics import DEVICE_METRICS, LABELS, DeviceWatcher
from cluster.devices import DeviceReading, Nvml, NvmlUnavailable


def test_a_gpu_with_everything() -> None:
    with Nvml(FakeNvml(L4)) as nvml:
        (reading,) = nvml.read()

    assert reading == DeviceReading(
        index=0,
        uuid="GPU-l4",
        name="NVIDIA L4",
        encoder_use=0.93,
        decoder_use=0.4,
        gpu_use=0.25,
        encode_sessions=8,
        encode_fps=61.0,
        encode_latency_s=0.015,
        memory_used_bytes=3 << 30,
        memory_total_bytes=24 << 30,
        video_clock_hz=1_770_000_000,
        max_video_clock_hz=1_770_000_000,
        sm_clock_hz=2_040_000_000,
        temperature_c=61,
        power_w=71.5,
        throttled=("power cap",),
    )


def test_what_a_device_does_not_support_is_none_and_slices_follow_their_gpu() -> None:
    with Nvml(FakeNvml(H200, L4)) as nvml:
        whole, part, other = nvml.read()

    assert whole.encoder_use is None
    assert whole.decoder_use == 0.07
    assert (part.uuid, part.parent, part.index) == ("MIG-1", "GPU-h200", 0)
    assert part.decoder_use is None
    assert (other.index, other.parent) == (1, None)


def test_a_gpu_that_fell_off_the_bus_is_left_out() -> None:
    with Nvml(FakeNvml({**L4, "lost": True}, {**L4, "UUID": "GPU-2"})) as nvml:
        assert [reading.uuid for reading in nvml.read()] == ["GPU-2"]
        assert nvml.driver_version == "580.159.03"


def test_a_node_without_a_driver_says_so() -> None:
    with pytest.raises(NvmlUnavailable, match="Not Found"):
        Nvml(FakeNvml(driver=False))


def test_the_library_is_stopped() -> None:
    library = FakeNvml(L4)
    with Nvml(library):
        assert library.running == 1
    assert library.running == 0


class Gauges:
    """Remembers what was set."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, str], float] = {}
        self.made: list[str] = []
        self.set_once = threading.Event()

    def make(self, name: str, help_text: str, labels: Sequence[str]) -> Gauges.One:
        assert tuple(labels) == LABELS
        self.made.append(name)
        return Gauges.One(self, name)

    class One:
        def __init__(self, all_of: Gauges, name: str) -> None:
            self.all_of, self.name = all_of, name

        def set(self, value: float, tags: Mapping[str, str]) -> None:
            self.all_of.values[(self.name, tags["device"])] = value
            self.all_of.set_once.set()


def test_metrics_leave_out_what_is_unknown(tmp_path: Path) -> None:
    gauges = Gauges()
    watcher = DeviceWatcher(tmp_path / "lock", make_gauge=gauges.make)

    with Nvml(FakeNvml(L4, H200)) as nvml:
        readings = nvml.read()
    watcher.publish(readings)
    watcher.publish(readings)

    assert gauges.values[("reelmill_gpu_encoder_use", "GPU-l4")] == 0.93
    assert ("reelmill_gpu_encoder_use", "GPU-h200") not in gauges.values
    assert gauges.values[("reelmill_gpu_throttled", "GPU-l4")] == 1
    assert gauges.values[("reelmill_gpu_throttled", "MIG-1")] == 0
    assert len(gauges.made) == len(set(gauges.made)) == len(DEVICE_METRICS)


def test_names_of_metrics_are_unique_and_ours() -> None:
    names = [metric.name for metric in DEVICE_METRICS]

    assert len(set(names)) == len(names)
    assert all(name.startswith("reelmill_gpu_") for name in names)


def test_the_watcher_watches_until_it_is_stopped(tmp_path: Path) -> None:
    gauges, library = Gauges(), FakeNvml(L4)
    watcher = DeviceWatcher(tmp_path / "lock", lambda: Nvml(library), gauges.make, period_s=60)

    assert watcher.start()
    watcher.stop()

    assert gauges.values
    assert library.running == 0


def test_one_watcher_of_a_node_publishes_and_another_takes_over(tmp_path: Path) -> None:
    first, second = Gauges(), Gauges()
    watching = DeviceWatcher(tmp_path / "lock", lambda: Nvml(FakeNvml(L4)), first.make, period_s=0.01)
    waiting = DeviceWatcher(tmp_path / "lock", lambda: Nvml(FakeNvml(L4)), second.make, period_s=0.01)
    watching.start()
    assert first.set_once.wait(10)
    waiting.start()
    assert not second.values

    watching.stop()

    assert second.set_once.wait(10)
    waiting.stop()


def test_a_node_without_a_driver_is_not_watched(tmp_path: Path) -> None:
    watcher = DeviceWatcher(tmp_path / "lock", lambda: Nvml(FakeNvml(driver=False)))

    assert not watcher.start()
    assert "Not Found" in watcher.reason
    watcher.stop()
