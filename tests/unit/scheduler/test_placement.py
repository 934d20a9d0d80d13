"""Which free slot a task gets, and which it never gets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from farm_driver import task

from scheduler.health import Circuit, Device
from scheduler.jobs import GpuPolicy, TaskKind, WorkerSpec
from scheduler.placement import WARM_SEARCH, Shape, SlotPool, has_other_device
from scheduler.requirements import Requirement, RequirementIndex, permitted_backends, requirement_of, round_memory

LANES = ("nvenc", "hybrid", "cpu")


@dataclass
class Slot:
    worker_id: str
    warm: str = ""


@dataclass
class Slots:
    """A pool with what it needs around it."""

    index: RequirementIndex = field(default_factory=RequirementIndex)
    devices: dict[str, Device] = field(default_factory=dict)
    shape: Shape = field(default_factory=Shape)
    specs: dict[str, WorkerSpec] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.pool: SlotPool[Slot] = SlotPool(self.index, self.devices, self.shape)

    def add(self, name: str, *, warm: str = "", node: str = "n0", device: str = "", **more: Any) -> Slot:
        more.setdefault("backends", ("cpu",))
        spec = WorkerSpec(worker_id=name, node_id=node, device_id=device or f"cpu:{node}", **more)
        it = self.devices.setdefault(spec.device_id, Device(device_id=spec.device_id))
        it.workers.add(name)
        it.backends |= set(spec.backends)
        self.shape.count_confined(spec, 1)
        self.specs[name] = spec
        slot = Slot(name, warm)
        self.pool.add(spec, slot, it)
        return slot

    def pick(self, requirement: Requirement, *, near: frozenset[str] = frozenset(), warm: str = "") -> str | None:
        bit = self.index.acquire(requirement)
        slot = self.pool.pick(bit, near=near, warm=warm)
        assert (slot is not None) == bool(self.pool.mask(bit))
        self.index.release(bit)
        return None if slot is None else slot.worker_id


def test_the_best_backend_comes_first() -> None:
    slots = Slots()
    slots.add("c")
    slots.add("h", device="GPU-1", backends=("cpu", "hybrid"))
    assert slots.pick(Requirement(backends=LANES)) == "h"
    assert slots.pick(Requirement(backends=("nvenc",))) is None


def test_then_the_node_that_holds_the_source_then_the_device_with_least_to_do() -> None:
    slots = Slots()
    slots.add("a", node="n0")
    slots.add("b", node="n1")
    assert slots.pick(Requirement(backends=("cpu",)), near=frozenset({"n1"})) == "b"
    slots.devices["cpu:n0"].running = 1
    assert slots.pick(Requirement(backends=("cpu",))) == "b"


def test_a_confined_slot_is_kept_for_those_who_need_it_while_another_is_free() -> None:
    slots = Slots()
    slots.add("safe", confined=True)
    assert slots.pick(Requirement(backends=("cpu",))) == "safe"
    slots.add("plain")
    assert slots.pick(Requirement(backends=("cpu",))) == "plain"
    assert slots.pick(Requirement(backends=("cpu",), confined=True)) == "safe"


def test_without_any_confined_slot_the_last_try_runs_anywhere() -> None:
    slots = Slots()
    slots.add("plain")
    slots.add("gpu", device="GPU-1", backends=("nvenc",), confined=True)
    assert slots.pick(Requirement(backends=("cpu",), confined=True)) == "plain"
    assert slots.pick(Requirement(backends=("nvenc",), confined=True)) == "gpu"


def test_among_equals_the_warm_one() -> None:
    slots = Slots()
    for index in range(5):
        slots.add(f"w{index}", warm="720p" if index == 3 else "")
    assert slots.pick(Requirement(backends=("cpu",)), warm="720p") == "w3"
    assert slots.pick(Requirement(backends=("cpu",)), warm="1080p") == "w0"


def test_the_search_for_warmth_ends() -> None:
    slots = Slots()
    for index in range(WARM_SEARCH + 5):
        slots.add(f"w{index}", warm="720p" if index == WARM_SEARCH + 1 else "")
    assert slots.pick(Requirement(backends=("cpu",)), warm="720p") == "w0"


def test_a_device_to_avoid_is_avoided_while_there_is_another() -> None:
    slots = Slots()
    slots.add("a", node="n0")
    avoid = Requirement(backends=("cpu",), excluded=frozenset({"cpu:n0"}))
    assert slots.pick(avoid) == "a"
    slots.devices["cpu:n1"] = Device(device_id="cpu:n1", backends=frozenset({"cpu"}), expected=True)
    slots.shape.changed()
    assert slots.pick(avoid) is None
    slots.devices["cpu:n1"].circuit = Circuit.OPEN
    slots.shape.changed()
    assert slots.pick(avoid) == "a"
    assert not has_other_device(slots.devices, avoid)


def test_a_device_that_is_out_gets_nothing() -> None:
    slots = Slots()
    slots.add("a")
    slots.devices["cpu:n0"].circuit = Circuit.OPEN
    assert slots.pick(Requirement(backends=("cpu",))) is None


def test_a_slot_that_is_taken_is_not_picked() -> None:
    slots = Slots()
    slots.add("a")
    slots.add("b")
    assert len(slots.pool) == 2
    slots.pool.remove(slots.specs["a"])
    slots.pool.remove(slots.specs["a"])
    assert slots.pick(Requirement(backends=("cpu",))) == "b"
    slots.pool.remove(slots.specs["b"])
    assert slots.pick(Requirement(backends=("cpu",))) is None
    assert len(slots.pool) == 0


@pytest.mark.parametrize(
    ("budget", "used", "needs", "fits"),
    [
        ({"device_sessions": 8}, {"sessions_used": 3}, {"sessions": 5}, True),
        ({"device_sessions": 8}, {"sessions_used": 4}, {"sessions": 5}, False),
        ({"device_memory_bytes": 100}, {"memory_used": 60}, {"memory_bytes": 40}, True),
        ({"device_memory_bytes": 100}, {"memory_used": 61}, {"memory_bytes": 40}, False),
        ({"device_sessions": 8, "device_memory_bytes": 100}, {"memory_used": 99}, {"sessions": 1}, True),
        ({"device_memory_bytes": 100}, {"memory_used": 1}, {"memory_bytes": 400}, False),
    ],
)
def test_budgets_of_a_device_are_counted(
    budget: dict[str, int], used: dict[str, int], needs: dict[str, int], fits: bool
) -> None:
    slots = Slots()
    slots.add("g", device="GPU-1", backends=("nvenc",), **budget)
    for name, value in used.items():
        setattr(slots.devices["GPU-1"], name, value)
    slots.devices["GPU-1"].running = 1
    other = slots.index.acquire(Requirement(backends=("cpu",)))
    assert (slots.pick(Requirement(backends=("nvenc",), **needs)) == "g") is fits
    slots.devices["GPU-1"].running = 0
    assert slots.pick(Requirement(backends=("nvenc",), **needs)) == "g"
    assert slots.pool.mask(other) == 0


def test_memory_is_rounded_up_a_little() -> None:
    assert round_memory(0) == 0
    for value in (1, 7, 8, 9, 1000, 10**9, 3 * 2**30 + 1):
        rounded = round_memory(value)
        assert value <= rounded <= value * 1.125 + 1
    assert len({round_memory(value) for value in range(2**20, 2**21, 999)}) <= 9


def test_what_a_policy_permits() -> None:
    segment = task("a", backends=LANES)
    assert permitted_backends(segment, GpuPolicy.PREFER) == LANES
    assert permitted_backends(segment, GpuPolicy.REQUIRE) == ("nvenc", "hybrid")
    assert permitted_backends(segment, GpuPolicy.NEVER) == ("cpu",)
    assert permitted_backends(task("a", TaskKind.AUDIO), GpuPolicy.REQUIRE) == ("cpu",)


def test_what_a_task_needs() -> None:
    spec = task("a", backends=LANES, renditions=5, memory_bytes=800)
    assert requirement_of(spec, LANES) == Requirement(backends=LANES, sessions=5, memory_bytes=832)
    assert requirement_of(spec, ("cpu",)) == Requirement(backends=("cpu",))
    assert requirement_of(spec, LANES, confined=True) == Requirement(backends=("cpu",), confined=True)
    assert requirement_of(spec, ("nvenc",), confined=True) == Requirement(backends=("nvenc",), confined=True)


def test_classes_of_their_own_are_recycled_and_common_ones_stay() -> None:
    index = RequirementIndex()
    common = index.acquire(Requirement(backends=("cpu",)))
    special = index.acquire(Requirement(backends=("cpu",), excluded=frozenset({"d1"})))
    assert index.acquire(Requirement(backends=("cpu",))) == common
    assert index.holders(common) == 2
    index.release(common)
    index.release(common)
    assert index.acquire(Requirement(backends=("cpu",))) == common
    version = index.version
    index.release(special)
    assert index.version > version
    assert index.acquire(Requirement(backends=("cpu",), confined=True)) == special
    assert index.acquire(Requirement(backends=("gpu",))) not in (common, special)


def test_cores_fill_the_memory_of_their_node() -> None:
    slots = Slots()
    slots.add("c", device_memory_bytes=100)
    slots.devices["cpu:n0"].memory_used = 60
    slots.devices["cpu:n0"].running = 1
    on_cores = Requirement(backends=("nvenc", "cpu"), memory_bytes=900, host_memory_bytes=40)
    assert slots.pick(on_cores) == "c"
    slots.devices["cpu:n0"].memory_used = 61
    assert slots.pick(on_cores) is None
    slots.devices["cpu:n0"].running = 0
    assert slots.pick(on_cores) == "c"


def test_what_a_task_needs_of_main_memory() -> None:
    spec = task("a", backends=LANES, renditions=2, memory_bytes=8, host_memory_bytes=800)
    assert requirement_of(spec, LANES).host_memory_bytes == 832
    assert requirement_of(spec, ("nvenc",)).host_memory_bytes == 0
    assert requirement_of(spec, LANES, confined=True).host_memory_bytes == 832
