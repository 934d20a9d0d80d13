"""A farm made of nothing but a scheduler: tests say what happens, it keeps what was instructed and checks the books."""

from __future__ import annotations

from typing import Any

from encoders.errors import Failure, Fault
from scheduler import events
from scheduler.engine import Scheduler
from scheduler.instructions import (
    Alert,
    CheckDevice,
    FinishJob,
    Instruction,
    ReplaceWorker,
    SaveJob,
    SaveTask,
    StartTask,
    StopTask,
)
from scheduler.jobs import CostFeatures, JobState, TaskKind, TaskSpec, TaskState, Tier, WorkerSpec
from scheduler.settings import SchedulerSettings

DEVICE = Failure(code="media_crashed", fault=Fault.DEVICE, detail="signal 11")
STORE = Failure(code="store_unavailable", fault=Fault.INFRASTRUCTURE, detail="503")
INPUT = Failure(code="damaged", fault=Fault.INPUT, detail="too much does not decode")
BUSY = Failure(code="encode_sessions_exhausted", fault=Fault.DEVICE, detail="sessions are used up")

LANES = ("nvenc", "hybrid", "cpu")


def task(
    task_id: str,
    kind: TaskKind = TaskKind.SEGMENT,
    *,
    needs: tuple[str, ...] = (),
    frames: int = 250,
    position: int = 0,
    backends: tuple[str, ...] = ("cpu",),
    **more: Any,
) -> TaskSpec:
    """A task of about `frames` frames of 1080p."""
    cost = CostFeatures(kind=kind, codec="h264", pixels=2_000_000, frames=frames, preset=more.pop("preset", "default"))
    return TaskSpec(task_id=task_id, kind=kind, needs=needs, cost=cost, position=position, backends=backends, **more)


def plan(job_id: str, segments: int = 3, **more: Any) -> tuple[TaskSpec, ...]:
    """Segments and the packaging of a job."""
    ids = [f"{job_id}/s{index}" for index in range(segments)]
    return (
        *(task(name, position=index, **more) for index, name in enumerate(ids)),
        task(f"{job_id}/package", TaskKind.PACKAGE, needs=tuple(ids), position=segments),
    )


def segments(number: int) -> tuple[TaskSpec, ...]:
    """Segments of job a, which any backend may encode."""
    return tuple(task(f"a/s{index}", position=index, backends=LANES) for index in range(number))


class Farm:
    """A scheduler, a clock, and a memory of what it said. Every event is followed by `validate()`."""

    def __init__(self, **settings: Any) -> None:
        self.scheduler = Scheduler(SchedulerSettings(**settings))
        self.now = 0.0
        self.running: dict[tuple[str, int], StartTask] = {}
        self.log: list[Instruction] = []
        self.saved_tasks: dict[str, SaveTask] = {}
        self.saved_jobs: dict[str, SaveJob] = {}
        self.finished: dict[str, FinishJob] = {}

    def handle(self, *happened: Any) -> list[Instruction]:
        """One event, or several at once; what they led to is kept, checked and returned."""
        out = self.scheduler.handle_all(happened)
        self.scheduler.validate()
        for instruction in out:
            if isinstance(instruction, StartTask):
                self.running[(instruction.task_id, instruction.attempt)] = instruction
            elif isinstance(instruction, SaveTask):
                self.saved_tasks[instruction.task_id] = instruction
            elif isinstance(instruction, SaveJob):
                self.saved_jobs[instruction.job_id] = instruction
            elif isinstance(instruction, FinishJob):
                assert instruction.job_id not in self.finished, "a job is over once"
                self.finished[instruction.job_id] = instruction
        self.log += out
        return out

    def wait(self, seconds: float) -> list[Instruction]:
        self.now += seconds
        return self.handle(events.Tick(at=self.now))

    def join(self, worker_id: str = "w0", **more: Any) -> list[Instruction]:
        node = more.pop("node_id", "n0")
        survivors = more.pop("survivors", ())
        spec = WorkerSpec(
            worker_id=worker_id,
            node_id=node,
            device_id=more.pop("device_id", f"cpu:{node}"),
            backends=more.pop("backends", ("cpu",)),
            **more,
        )
        return self.handle(events.WorkerJoined(at=self.now, worker=spec, survivors=survivors))

    def submit(
        self,
        job_id: str = "a",
        tasks: tuple[TaskSpec, ...] | None = None,
        *,
        user: str = "u",
        tier: Tier = Tier.FREE,
        still_open: bool = False,
        **more: Any,
    ) -> list[Instruction]:
        return self.handle(
            events.JobSubmitted(
                at=self.now,
                job_id=job_id,
                user_id=user,
                tier=tier,
                tasks=plan(job_id) if tasks is None else tasks,
                open=still_open,
                **more,
            )
        )

    def start_of(self, task_id: str) -> StartTask:
        """The latest attempt of a task that is on a worker."""
        return max((s for s in self.running.values() if s.task_id == task_id), key=lambda s: s.attempt)

    def runs(self, task_id: str) -> bool:
        return any(start.task_id == task_id for start in self.running.values())

    def done(self, task_id: str, *, after: float = 1.0, start: StartTask | None = None) -> list[Instruction]:
        self.now += after
        return self.handle(self.success(start or self.start_of(task_id), max(after, 0.1)))

    def success(self, start: StartTask, engine_s: float = 1.0) -> events.TaskDone:
        """The news that an attempt succeeded; it does not run any more."""
        self.running.pop((start.task_id, start.attempt), None)
        return events.TaskDone(
            at=self.now, task_id=start.task_id, attempt=start.attempt, worker_id=start.worker_id, engine_s=engine_s
        )

    def fail(
        self, task_id: str, failure: Failure = DEVICE, *, after: float = 1.0, start: StartTask | None = None
    ) -> list[Instruction]:
        self.now += after
        start = start or self.start_of(task_id)
        self.running.pop((task_id, start.attempt), None)
        return self.handle(
            events.TaskFailed(
                at=self.now, task_id=task_id, attempt=start.attempt, worker_id=start.worker_id, failure=failure
            )
        )

    def lose(self, worker_id: str, reason: str = "crashed", *, after: float = 1.0) -> list[Instruction]:
        self.now += after
        for key in [key for key, start in self.running.items() if start.worker_id == worker_id]:
            del self.running[key]
        return self.handle(events.WorkerLost(at=self.now, worker_id=worker_id, reason=reason))

    def state(self, task_id: str) -> TaskState:
        return self.saved_tasks[task_id].state

    def over(self, job_id: str = "a") -> JobState | None:
        finish = self.finished.get(job_id)
        return None if finish is None else finish.state

    def alerts(self) -> list[str]:
        return [entry.name for entry in self.log if isinstance(entry, Alert)]

    def finish_all(self, *, limit: int = 10_000) -> None:
        """Every running task succeeds, oldest first, until nothing runs."""
        for _ in range(limit):
            if not self.running:
                return
            task_id, attempt = next(iter(self.running))
            self.done(task_id, start=self.running[(task_id, attempt)])
        raise AssertionError("the farm does not come to rest")


def two_nodes(**settings: Any) -> Farm:
    """A CPU slot on each of two nodes."""
    farm = Farm(**settings)
    farm.join("w0", node_id="n0")
    farm.join("w1", node_id="n1")
    return farm


def gpu_farm(gpus: int = 2) -> Farm:
    """So many nodes with a GPU, and one with a CPU slot."""
    farm = Farm()
    for index in range(gpus):
        farm.join(f"g{index}", device_id=f"GPU-{index}", backends=("nvenc",), node_id=f"n{index}")
    farm.join("c", node_id="n9")
    return farm


def starts(out: list[Instruction]) -> list[tuple[str, int]]:
    """(task, attempt) of the StartTask instructions."""
    return [(entry.task_id, entry.attempt) for entry in out if isinstance(entry, StartTask)]


def stops(out: list[Instruction]) -> list[tuple[str, int]]:
    """(task, attempt) of the StopTask instructions."""
    return [(entry.task_id, entry.attempt) for entry in out if isinstance(entry, StopTask)]


def checks(out: list[Instruction]) -> list[str]:
    """Devices for which a canary was asked."""
    return [entry.device_id for entry in out if isinstance(entry, CheckDevice)]


def replaced(out: list[Instruction]) -> list[str]:
    """Workers that are to be replaced."""
    return [entry.worker_id for entry in out if isinstance(entry, ReplaceWorker)]
