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
        total = 0
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
            group.mask = 0
            for bit, requirement in self._index.by_bit.items():
                if self._suits(group.spec, requirement):
                    group.mask |= bit
            group.seen = version
        spec = group.spec
        if not spec.device_sessions and not spec.device_memory_bytes:
            return group.mask
        return self._within_budget(group)

    def _within_budget(self, group: _Group[_W]) -> int:
        spec, device = group.spec, group.device
        sessions = spec.device_sessions - device.sessions_used if spec.device_sessions else None
        memory = spec.device_memory_bytes - device.memory_used if spec.device_memory_bytes else None
        mask = 0
        for bit, requirement in self._index.by_bit.items():
            if not group.mask & bit:
                continue
            fits = (sessions is None or requirement.sessions <= sessions) and (
                memory is None or requirement.memory_bytes <= memory
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


def has_other_device(devices: Mapping[str, Device], requirement: Requirement) -> bool:
    """Whether a healthy device that is here, or expected back, could take a task that must avoid some devices."""
    return any(
        device_id not in requirement.excluded
        and device.circuit is not Circuit.OPEN
        and (device.workers or device.expected)
        and any(backend in device.backends for backend in requirement.backends)
        for device_id, device in devices.items()
    )
