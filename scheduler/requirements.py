"""What a task needs of a slot, as a class. Queues are indexed by class, so "who is next for this slot" scans nothing.

Nearly all tasks share a handful of classes (which backends, how much device memory). A class of its own arises when a
task must avoid a device, or must run confined; it goes when the last such task goes.
"""

from __future__ import annotations

from dataclasses import dataclass

from scheduler.jobs import GpuPolicy, TaskKind, TaskSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """What a slot must offer.

    Attributes:
        backends: any of these, best first.
        excluded: devices where the task failed before.
        confined: only a confined slot (the last try of a poison task).
        sessions: encode sessions it takes on a device that counts them.
        memory_bytes: device memory it takes on a GPU that counts it.
        host_memory_bytes: main memory it takes on a node that counts it, when it runs on cores.
    """

    backends: tuple[str, ...]
    excluded: frozenset[str] = frozenset()
    confined: bool = False
    sessions: int = 0
    memory_bytes: int = 0
    host_memory_bytes: int = 0


def round_memory(memory_bytes: int) -> int:
    """Memory rounded up to an eighth of its power of two, so that near equals share a class; <= 12.5 % more."""
    if memory_bytes <= 0:
        return 0
    step = max(1, 1 << max(0, memory_bytes.bit_length() - 4))
    return -(-memory_bytes // step) * step


class RequirementIndex:
    """The classes alive, each with one bit. `version` changes whenever a bit gets another meaning."""

    def __init__(self) -> None:
        self._bits: dict[Requirement, int] = {}
        self._users: dict[int, int] = {}
        self._free: list[int] = []
        self.by_bit: dict[int, Requirement] = {}
        self.version = 0

    def acquire(self, requirement: Requirement) -> int:
        """The bit of a class, created when it is new. One `release` per `acquire`."""
        bit = self._bits.get(requirement)
        if bit is None:
            bit = self._free.pop() if self._free else 1 << len(self._users)
            self._bits[requirement] = bit
            self._users[bit] = 0
            self.by_bit[bit] = requirement
            self.version += 1
        self._users[bit] += 1
        return bit

    def holders(self, bit: int) -> int:
        """How many tasks of the class wait."""
        return self._users[bit]

    def release(self, bit: int) -> None:
        """One task of the class less. The bit of a class of its own is reused once nobody holds it."""
        self._users[bit] -= 1
        requirement = self.by_bit[bit]
        if self._users[bit] or not (requirement.excluded or requirement.confined):
            return
        del self._bits[requirement], self.by_bit[bit], self._users[bit]
        self._free.append(bit)
        self.version += 1


def permitted_backends(spec: TaskSpec, gpu: GpuPolicy) -> tuple[str, ...]:
    """Backends of a task that its job's policy allows, best first. The policy is about segments: sound needs no GPU."""
    if spec.kind is not TaskKind.SEGMENT or gpu is GpuPolicy.PREFER:
        return spec.backends
    wants_gpu = gpu is GpuPolicy.REQUIRE
    return tuple(backend for backend in spec.backends if (backend != "cpu") is wants_gpu)


def requirement_of(
    spec: TaskSpec, backends: tuple[str, ...], *, excluded: frozenset[str] = frozenset(), confined: bool = False
) -> Requirement:
    """What the task needs of a slot when it may use `backends`. A poison task's last try takes the CPU if it can."""
    if confined:
        backends = ("cpu",) if "cpu" in backends else backends
        return Requirement(backends=backends, confined=True, host_memory_bytes=_on_cores(spec, backends))
    on_gpu = any(backend != "cpu" for backend in backends)
    return Requirement(
        backends=backends,
        excluded=excluded,
        sessions=spec.renditions if on_gpu else 0,
        memory_bytes=round_memory(spec.memory_bytes) if on_gpu else 0,
        host_memory_bytes=_on_cores(spec, backends),
    )


def _on_cores(spec: TaskSpec, backends: tuple[str, ...]) -> int:
    return round_memory(spec.host_memory_bytes) if "cpu" in backends else 0
