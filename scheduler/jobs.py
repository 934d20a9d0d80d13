"""Values of the scheduler: what a caller submits (a job), its steps (tasks), and who offers to run them (workers).

An attempt is one try of a task; its number starts at 1 and rises strictly over retries, twins and restarts. An
engine-second is one second of one codec engine or core: the unit of cost and fairness.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Tier(StrEnum):
    """Who is favoured, by weight (settings.SchedulerSettings.tier_weights); nobody starves."""

    PAID = "paid"
    VERIFIED = "verified"
    FREE = "free"


class JobState(StrEnum):
    """Where a job stands. The last three are ends."""

    QUEUED = "queued"
    """No task of it has started yet."""
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    """A task is dead; the failure is in FinishJob."""
    CANCELLED = "cancelled"


class TaskState(StrEnum):
    """Where a task stands. DONE, DEAD and CANCELLED are ends (DONE may be reopened: see transitions)."""

    BLOCKED = "blocked"
    """Some of its needs are not done yet."""
    READY = "ready"
    RUNNING = "running"
    """At least one attempt is in flight."""
    WAITING_RETRY = "waiting_retry"
    DONE = "done"
    DEAD = "dead"
    """Out of attempts, or a failure that no retry mends: the dead-letter list."""
    CANCELLED = "cancelled"


class TaskKind(StrEnum):
    """What a task does."""

    INSPECT = "inspect"
    AUDIO = "audio"
    SEGMENT = "segment"
    PACKAGE = "package"


class GpuPolicy(StrEnum):
    """What a job's owner allows; a GPU is a backend other than `cpu`."""

    REQUIRE = "require"
    """Segments run on a GPU or wait for one."""
    PREFER = "prefer"
    NEVER = "never"


@dataclass(frozen=True, slots=True, kw_only=True)
class CostFeatures:
    """What the cost of a task is predicted from.

    Attributes:
        codec: codec of the source's video track ("h264"); "" where there is none.
        pixels: pixels per output frame, summed over the renditions; 0 for a task without pictures.
        frames: output frames (for audio: packets or any count that grows with duration).
        preset: encoder preset or profile name; tasks of one preset share what is learned.
    """

    kind: TaskKind
    codec: str
    pixels: int
    frames: int
    preset: str

    def __post_init__(self) -> None:
        if self.pixels < 0 or self.frames < 0:
            raise ValueError(f"pixels and frames are counts, got {self.pixels} and {self.frames}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSpec:
    """One step of a job.

    Attributes:
        task_id: unique over all jobs of the farm.
        needs: ids of tasks of the same job that must be done first.
        position: order in the job, for first-segments-first; 0 is first.
        backends: what may run it, best first: ("nvenc", "hybrid", "cpu").
        renditions: encodes it runs at once: what encode-session budgets count.
        memory_bytes: peak device memory on a GPU backend, all renditions; 0 = not counted.
        host_memory_bytes: peak main memory where it runs on cores, all renditions; 0 = not counted.
    """

    task_id: str
    kind: TaskKind
    needs: tuple[str, ...] = ()
    cost: CostFeatures
    position: int
    backends: tuple[str, ...] = ("cpu",)
    renditions: int = 1
    memory_bytes: int = 0
    host_memory_bytes: int = 0

    def __post_init__(self) -> None:
        if not self.backends:
            raise ValueError(f"task {self.task_id} names no backend: it could never run")
        if min(self.renditions, self.memory_bytes, self.host_memory_bytes) < 0:
            raise ValueError(f"task {self.task_id}: renditions and bytes of memory are not negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSpec:
    """One slot: an actor that runs one task at a time.

    Attributes:
        device_id: GPU UUID, or "cpu:<node>"; the unit of health and of "never twice on the same device".
        backends: what it can run; no order.
        confined: it may run the last try of a poison task (it also runs ordinary ones).
        depth: tasks it takes at once: 1, or 2 to stage the next in while one runs.
        device_sessions: encodes that its device runs at once, shared by the device's workers; 0 = no limit.
        device_memory_bytes: memory of its device (of a "cpu:" device: the node's) that tasks may fill, shared likewise;
            0 = no limit.
    """

    worker_id: str
    node_id: str
    device_id: str
    backends: tuple[str, ...]
    confined: bool = False
    depth: int = 1
    device_sessions: int = 0
    device_memory_bytes: int = 0

    def __post_init__(self) -> None:
        if not self.backends:
            raise ValueError(f"worker {self.worker_id} offers no backend")
        if self.depth < 1:
            raise ValueError(f"worker {self.worker_id}: depth is at least 1, got {self.depth}")
