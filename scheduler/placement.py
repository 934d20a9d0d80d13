"""Where a task runs: eligible -> rank -> pick, over slots of several kinds and nodes.

Slots that are alike (same device, backends and confinement) form a group; eligibility and rank are questions about
groups, so a farm of a thousand slots asks them some hundred times at most, and once in the steady state, where one slot
is free. A group's eligibility is a mask over the requirement classes alive (requirements.py), kept until a class or the
farm's shape changes; budgets of devices (encode sessions, memory) are looked at each time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from scheduler.health import Circuit, Device
from scheduler.jobs import WorkerSpec
from scheduler.requirements import Requirement, RequirementIndex

WARM_SEARCH = 16
"""Workers of a group that are looked at for one that is warm; the first is taken if none is."""
PASSED_OVER_LIMIT = 16
"""So many tasks may start on a device while one waits that needs more of a budget than is free; then the device is kept
for it. Without that, small tasks that always fit would starve a large one for ever; with less, slots would stand empty
for every large one."""


class HasWarmth(Protocol):
    """A worker that remembers what it ran last."""

    warm: str


_W = TypeVar("_W", bound=HasWarmth)


@dataclass(slots=True)
class _Group(Generic[_W]):
    spec: WorkerSpec
    device: Device
    workers: dict[str, _W]
    seen: tuple[int, int] = (-1, -1)
    mask: int = 0
    most_sessions: int = 0
    most_memory: int = 0


class Shape:
    """What the farm consists of, as far as it decides whether a task has another place to go.

    `version` changes with every device or confined worker that comes, goes, or changes its health.
    """

    def __init__(self) -> None:
        self.version = 0
        self._confined: Counter[str] = Counter()

    def changed(self) -> None:
        """Something came, went or changed its health."""
        self.version += 1

    def count_confined(self, spec: WorkerSpec, step: int) -> None:
        """A slot came (+1) or goes (-1); only confined ones are counted."""
        if spec.confined:
            for backend in spec.backends:
                self._confined[backend] += step
        self.changed()

    def has_confined(self, requirement: Requirement) -> bool:
        """Whether a confined slot, idle or not, could take the task."""
        return any(self._confined[backend] for backend in requirement.backends)


class SlotPool(Generic[_W]):
    """Places that are free, by group."""

    def __init__(self, index: RequirementIndex, devices: Mapping[str, Device], shape: Shape) -> None:
        self._index = index
        self._devices = devices
        self._shape = shape
        self._groups: dict[tuple[str, str, tuple[str, ...], bool], _Group[_W]] = {}
        self._wanted = 0

    def __bool__(self) -> bool:
        return bool(self._groups)

    def __len__(self) -> int:
        return sum(len(group.workers) for group in self._groups.values())

    def add(self, spec: WorkerSpec, worker: _W, device: Device) -> None:
        """A worker has a free place."""
        key = (spec.device_id, spec.node_id, spec.backends, spec.confined)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = _Group(spec, device, {})
        group.workers[spec.worker_id] = worker

    def remove(self, spec: WorkerSpec) -> None:
        """The worker has no free place here; harmless when it had none."""
        key = (spec.device_id, spec.node_id, spec.backends, spec.confined)
        group = self._groups.get(key)
        if group is not None and group.workers.pop(spec.worker_id, None) is not None and not group.workers:
            del self._groups[key]

    def mask(self, wanted: int) -> int:
        """The classes of `wanted` that some free place here could take now."""
        total, self._wanted = 0, wanted
        for group in self._groups.values():
            total |= self._mask_of(group) & wanted
            if total == wanted:
                break
        return total

    def pick(
        self, bit: int, *, near: Collection[str], warm: str, avoid: Callable[[WorkerSpec], bool] | None = None
    ) -> _W | None:
        """The best free place for a task of a class.

        Rank: the best backend; then a node that holds the source already; then the device with the least to do; then a
        slot that is not confined, since poison tasks have no other. Among equals, a worker that ran the same profile
        last: batching of similar work that delays nobody, for all of them are free.

        Args:
            near: nodes that hold the source.
            warm: what the worker should have run last.
            avoid: places that are out of the question for this task only.
        """
        best: _Group[_W] | None = None
        best_rank: tuple[int, bool, int, bool] | None = None
        order = self._index.by_bit[bit].backends
        for group in self._groups.values():
            if not self._mask_of(group) & bit or (avoid is not None and avoid(group.spec)):
                continue
            spec = group.spec
            backend_rank = min(order.index(backend) for backend in spec.backends if backend in order)
            rank = (backend_rank, spec.node_id not in near, group.device.running, spec.confined)
            if best_rank is None or rank < best_rank:
                best, best_rank = group, rank
        if best is None:
            return None
        self._pass_over(best, bit)
        chosen: _W | None = None
        for _, worker in zip(range(WARM_SEARCH), best.workers.values(), strict=False):
            if worker.warm == warm:
                return worker
            chosen = chosen or worker
        return chosen

    def _mask_of(self, group: _Group[_W]) -> int:
        device = group.device
        if not device.takes_work():
            return 0
        version = (self._index.version, self._shape.version)
        if group.seen != version:
            group.mask = group.most_sessions = group.most_memory = 0
            for bit, requirement in self._index.by_bit.items():
                if self._suits(group.spec, requirement):
                    group.mask |= bit
                    group.most_sessions = max(group.most_sessions, requirement.sessions)
                    group.most_memory = max(group.most_memory, _memory_of(requirement, device))
            group.seen = version
        spec = group.spec
        if not spec.device_sessions and not spec.device_memory_bytes:
            return group.mask
        mask = self._within_budget(group)
        kept = device.kept_for & self._wanted & group.mask
        return mask & kept if kept else mask

    def _pass_over(self, group: _Group[_W], bit: int) -> None:
        """A task of a class is about to start: count it against those that wait here for more than is free."""
        spec, device = group.spec, group.device
        if not spec.device_sessions and not spec.device_memory_bytes:
            return
        if device.kept_for == bit:
            device.kept_for = 0
        device.passed_over.pop(bit, None)
        waiting = group.mask & self._wanted & ~self._within_budget(group)
        device.passed_over = {
            each: device.passed_over.get(each, 0) + 1 for each in self._index.by_bit if each & waiting
        }
        if not device.kept_for & self._wanted:
            longest = max(device.passed_over, key=device.passed_over.__getitem__, default=0)
            device.kept_for = longest if device.passed_over.get(longest, 0) >= PASSED_OVER_LIMIT else 0

    def _within_budget(self, group: _Group[_W]) -> int:
        spec, device = group.spec, group.device
        sessions = spec.device_sessions - device.sessions_used if spec.device_sessions else None
        memory = spec.device_memory_bytes - device.memory_used if spec.device_memory_bytes else None
        if (sessions is None or group.most_sessions <= sessions) and (memory is None or group.most_memory <= memory):
            return group.mask
        mask = 0
        for bit, requirement in self._index.by_bit.items():
            if not group.mask & bit:
                continue
            fits = (sessions is None or requirement.sessions <= sessions) and (
                memory is None or _memory_of(requirement, device) <= memory
            )
            # A task that is larger than the whole budget would wait for ever: it may have the device to itself.
            if fits or device.running == 0:
                mask |= bit
        return mask

    def _suits(self, spec: WorkerSpec, requirement: Requirement) -> bool:
        if not any(backend in requirement.backends for backend in spec.backends):
            return False
        if requirement.confined and not spec.confined and self._shape.has_confined(requirement):
            return False
        return spec.device_id not in requirement.excluded or not has_other_device(self._devices, requirement)


def _memory_of(requirement: Requirement, device: Device) -> int:
    """What a task takes of the memory that a device counts: its own, or its node's."""
    return requirement.memory_bytes if device.is_gpu else requirement.host_memory_bytes


def has_other_device(devices: Mapping[str, Device], requirement: Requirement) -> bool:
    """Whether a healthy device that is here, or expected back, could take a task that must avoid some devices."""
    return any(
        device_id not in requirement.excluded
        and device.circuit is not Circuit.OPEN
        and (device.workers or device.expected)
        and any(backend in device.backends for backend in requirement.backends)
        for device_id, device in devices.items()
    )
