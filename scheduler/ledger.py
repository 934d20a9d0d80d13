"""The books: live jobs, tasks, attempts and slots, and the few moves that keep them consistent with each other.

Everything here is mutable and private to the engine. A job that is over is forgotten, with its tasks; an attempt is
kept until its worker reports that it ended, so that a slot is never given away while something still runs on it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from itertools import count
from math import copysign, exp
from typing import Any

from encoders.errors import Failure
from scheduler.cost import CostModel, Estimate
from scheduler.events import Survivor
from scheduler.fairness import FairQueue, JobLeaf
from scheduler.health import Device
from scheduler.instructions import Alert, Instruction, SaveJob, SaveTask, StopTask
from scheduler.jobs import GpuPolicy, JobState, TaskKind, TaskSpec, TaskState, Tier, WorkerSpec
from scheduler.placement import Shape, SlotPool
from scheduler.requirements import RequirementIndex, permitted_backends, requirement_of
from scheduler.settings import SchedulerSettings
from scheduler.transitions import JobEvent, TaskEvent, next_job_state, next_task_state

NONE: frozenset[str] = frozenset()
"""The empty set, shared: each `frozenset()` would be an object of its own, in every job and task."""
ARRIVAL_MEMORY_S = 900.0
"""Time constant of the rate of arrivals: long against bursts, short against the hours of a day."""
MEDIAN_STEP = 0.02
"""By how much, as a logarithm, one job's first segment moves the median of what segments are thought to take: up if it
took longer, down if not. A median, since heights of sources come in few kinds: their mean is the time of none."""
PACE_LEARNING = 0.05
"""Weight of the newest result in what the farm's pace is thought to be."""


class Job:
    """A live job.

    Attributes:
        expected_s: engine-seconds of tasks that are still to come, as counted in the queue.
        dropped: backends that its segments may not use any more.
        nodes: where its source is staged.
        difficulty: how its segments' times compare with their predictions, from `measured` of them.
    """

    __slots__ = (
        "deadline_at", "difficulty", "done_count", "done_ids", "dropped", "early_playback", "encoder", "expected_s",
        "gpu", "job_id", "leaf", "measured", "nodes", "open", "size_bytes", "started_at", "state", "submitted_at",
        "tasks", "tier", "user_id", "weight",
    )  # fmt: skip

    def __init__(
        self, job_id: str, user_id: str, tier: Tier, *, gpu: GpuPolicy, weight: float, deadline_at: float | None,
        early_playback: bool, submitted_at: float, leaf: JobLeaf,
    ) -> None:  # fmt: skip
        self.job_id = job_id
        self.user_id = user_id
        self.tier = tier
        self.gpu = gpu
        self.weight = weight
        self.deadline_at = deadline_at
        self.early_playback = early_playback
        self.submitted_at = submitted_at
        self.leaf = leaf
        self.state = JobState.QUEUED
        self.tasks: list[Task] = []
        self.open = True
        self.done_count = 0
        self.done_ids: frozenset[str] = NONE
        self.encoder: str | None = None
        self.dropped: frozenset[str] = NONE
        self.nodes: frozenset[str] = NONE
        self.expected_s = 0.0
        self.size_bytes = 0
        self.difficulty = 1.0
        self.measured = 0
        self.started_at: float | None = None


class Task:
    """A task of a live job.

    Attributes:
        attempt: highest attempt number used.
        in_flight: attempts whose result would be taken, the straggler and perhaps its twin.
        lost: attempt -> worker, for attempts given up without hearing of their end; a late result is still welcome.
        void_up_to: results of attempts up to this number are of no use: another encoder's, or made of such.
        bit: class under which it waits in the queue; 0 when it does not.
        predicted_s: engine-seconds as counted in the queue.
    """

    __slots__ = (
        "attempt", "bit", "confined", "deaths", "dependents", "device_failures", "failed_devices", "failure",
        "in_flight", "infrastructure_failures", "job", "lost", "open_needs", "predicted_s", "spec", "state", "timeouts",
        "void_up_to",
    )  # fmt: skip

    def __init__(self, spec: TaskSpec, job: Job, *, attempt: int, deaths: int, predicted_s: float) -> None:
        self.spec = spec
        self.job = job
        self.attempt = attempt
        self.deaths = deaths
        self.predicted_s = predicted_s
        self.state = TaskState.BLOCKED
        self.open_needs = 0
        self.dependents: list[Task] | None = None
        self.in_flight: tuple[Attempt, ...] = ()
        self.lost: dict[int, str] | None = None
        self.bit = 0
        self.failed_devices: frozenset[str] = NONE
        self.device_failures = 0
        self.infrastructure_failures = 0
        self.timeouts = 0
        self.void_up_to = 0
        self.confined = False
        self.failure: Failure | None = None


class Attempt:
    """One try of a task, from its instruction until its worker reports its end.

    Attributes:
        begun_at: when it became the first of its worker; None while it is staged behind another.
        leaf: the place in the queue that pays for it.
        charged_s: what was charged for it.
        stop_by: it was told to stop, and should have ended by then; its result is welcome all the same, unless its
            task's `void_up_to` says otherwise.
    """

    __slots__ = (
        "backend", "begun_at", "charged_s", "confined", "estimate", "leaf", "number", "stop_by", "task", "timeout_s",
        "twin", "worker",
    )  # fmt: skip

    def __init__(
        self, task: Task, number: int, worker: Worker, backend: str, estimate: Estimate, timeout_s: float, *,
        twin: bool, confined: bool,
    ) -> None:  # fmt: skip
        self.task = task
        self.number = number
        self.worker = worker
        self.backend = backend
        self.estimate = estimate
        self.timeout_s = timeout_s
        self.twin = twin
        self.confined = confined
        self.leaf = task.job.leaf
        self.charged_s = 0.0
        self.begun_at: float | None = None
        self.stop_by: float | None = None

    @property
    def stopping(self) -> bool:
        """Whether it was told to stop."""
        return self.stop_by is not None


class Worker:
    """A slot and what it runs: the first of `attempts` runs, the others are staged.

    Attributes:
        survivors: attempts on it whose jobs are not known yet (survivors.py); it takes nothing else meanwhile.
    """

    __slots__ = ("attempts", "device", "drain_at", "gone", "pool", "spec", "survivors", "warm")

    def __init__(self, spec: WorkerSpec, device: Device) -> None:
        self.spec = spec
        self.device = device
        self.attempts: list[Attempt] = []
        self.survivors = 0
        self.drain_at: float | None = None
        self.gone = False
        self.pool: SlotPool[Worker] | None = None
        self.warm = ""


class Held:
    """A survivor whose job is not known yet, on its worker.

    Attributes:
        begun_at: when it began, on the engine's clock.
    """

    __slots__ = ("begun_at", "survivor", "worker")

    def __init__(self, survivor: Survivor, worker: Worker, begun_at: float) -> None:
        self.survivor = survivor
        self.worker = worker
        self.begun_at = begun_at


class Ledger:
    """The state of one scheduler."""

    def __init__(self, settings: SchedulerSettings) -> None:
        self.settings = settings
        self.now = 0.0
        self.queue = FairQueue(settings.tier_weights, settings.credit_s)
        self.index = RequirementIndex()
        self.costs = CostModel()
        self.jobs: dict[str, Job] = {}
        self.tasks: dict[str, Task] = {}
        self.workers: dict[str, Worker] = {}
        self.devices: dict[str, Device] = {}
        self.attempts: dict[tuple[str, int], Attempt] = {}
        self.survivors: dict[str, list[Held]] = {}
        self.shape = Shape()
        self.idle: SlotPool[Worker] = SlotPool(self.index, self.devices, self.shape)
        self.spare: SlotPool[Worker] = SlotPool(self.index, self.devices, self.shape)
        self.pinned: dict[str, dict[str, Job]] = {}
        self.missing: dict[str, float] = {}
        self.sweep_at = 0.0
        self._lanes: dict[tuple[tuple[str, ...], GpuPolicy, frozenset[str], str | None], tuple[str, ...]] = {}
        self.job_counts: dict[tuple[Tier, JobState], int] = {}
        self.asked_at: float | None = None
        self.asked_for = 0
        self.typical_plan_s = 60.0
        self.plan_s_per_byte = 0.0
        self.sizes_seen = 0
        self.typical_wall_s = 10.0
        self.packaging_s = 1.0
        self.pace = 1.0
        self._arrivals: dict[tuple[Tier, bool], tuple[float, float]] = {}
        self.advanced: list[Worker] = []
        self.out: list[Instruction] = []
        self._timers: list[tuple[float, int, Callable[[Ledger, Any], None], Any]] = []
        self._order = count()

    def call_at(self, due: float, action: Callable[[Ledger, Any], None], subject: Any) -> None:
        """Calls `action(self, subject)` once `due` is reached; the action checks whether it still matters."""
        heappush(self._timers, (due, self.next_order(), action, subject))

    def next_order(self) -> int:
        """A number that orders what falls due at the same time."""
        return next(self._order)

    def fire_timers(self) -> None:
        """Calls everything that is due."""
        while self._timers and self._timers[0][0] <= self.now:
            _, _, action, subject = heappop(self._timers)
            action(self, subject)

    def move_task(self, task: Task, event: TaskEvent, *, save: bool = True) -> None:
        """A task changes its state by the table; saved unless the state follows from others'."""
        task.state = next_task_state(task.state, event)
        if save:
            self.out.append(
                SaveTask(
                    job_id=task.job.job_id, task_id=task.spec.task_id, state=task.state, attempt=task.attempt,
                    failure=task.failure, deaths=task.deaths,
                )
            )  # fmt: skip

    def move_job(self, job: Job, event: JobEvent) -> None:
        """A job changes its state by the table."""
        state = next_job_state(job.state, event)
        self.count_job(job, -1)
        job.state = state
        self.count_job(job, 1)
        self.save_job(job)

    def save_job(self, job: Job) -> None:
        """Writes down where the job stands and its encoder."""
        self.out.append(SaveJob(job_id=job.job_id, state=job.state, encoder=job.encoder))

    def count_job(self, job: Job, step: int) -> None:
        """Keeps the numbers of jobs per tier and state."""
        key = (job.tier, job.state)
        self.job_counts[key] = self.job_counts.get(key, 0) + step

    def alert(self, name: str, detail: str) -> None:
        """Tells a person."""
        self.out.append(Alert(name=name, detail=detail))

    def note_arrival(self, job: Job, work_s: float) -> None:
        """Work arrived: what the rates of arrivals are learned from."""
        self._arrive((job.tier, False), work_s)
        if len(job.leaf.user.jobs) == 1:
            self._arrive((job.tier, True), work_s)

    def _arrive(self, key: tuple[Tier, bool], work_s: float) -> None:
        rate, since = self._arrivals.get(key, (0.0, self.now))
        kept = exp((since - self.now) / ARRIVAL_MEMORY_S)
        self._arrivals[key] = (rate * kept + work_s / ARRIVAL_MEMORY_S, self.now)

    def arrivals_s(self, tier: Tier, *, fresh: bool) -> float:
        """Engine-seconds that arrive per second in a tier, lately; `fresh`: by users who had nothing else here."""
        rate, since = self._arrivals.get((tier, fresh), (0.0, self.now))
        return rate * exp((since - self.now) / ARRIVAL_MEMORY_S)

    def note_result(self, attempt: Attempt, engine_s: float, wall_s: float) -> None:
        """A task took so much: what costs, the farm's pace and the job's own difficulty are learned from."""
        self.costs.learn(attempt.backend, attempt.task.spec.cost, engine_s=engine_s, wall_s=wall_s)
        if wall_s > 0.0 and engine_s > 0.0:
            self.pace += PACE_LEARNING * (engine_s / wall_s - self.pace)
            if attempt.task.spec.kind is TaskKind.SEGMENT:
                job = attempt.task.job
                job.measured += 1
                job.difficulty += (wall_s / attempt.estimate.wall_s - job.difficulty) / (1 + job.measured)
                if job.measured == 1:
                    self.typical_wall_s *= exp(copysign(MEDIAN_STEP, wall_s - self.typical_wall_s))
            elif attempt.task.spec.kind is TaskKind.PACKAGE:
                self.packaging_s += PACE_LEARNING * (wall_s - self.packaging_s)

    def timeout_s(self, task: Task, estimate: Estimate) -> float:
        """How long an attempt may take; twice as long after each one of the task that took too long."""
        floor_s = self.settings.min_timeout_s if estimate.samples else self.settings.cold_timeout_s
        if task.spec.kind is TaskKind.INSPECT:
            floor_s = max(floor_s, self.settings.inspect_timeout_s)
        return max(floor_s, self.settings.timeout_factor * estimate.p95_s) * 2.0 ** min(task.timeouts, 8)

    def enqueue(self, task: Task) -> None:
        """A READY task waits for a slot."""
        task.bit = self._class_of(task)
        job = task.job
        order = (0.0 if job.early_playback else -task.predicted_s, task.spec.position)
        self.queue.push(job.leaf, task.bit, order, task.spec.task_id)

    def reconsider(self, job: Job, tasks: Sequence[Task]) -> None:
        """Tasks of a job that wait for a slot need other slots from now on; their order among each other stays."""
        if not tasks:
            return
        before = [(task, task.bit) for task in tasks]
        for task, _ in before:
            task.bit = self._class_of(task)
        self.queue.reclass(job.leaf, {task.spec.task_id: task.bit for task, _ in before})
        for _, bit in before:
            self.index.release(bit)

    def _class_of(self, task: Task) -> int:
        """The class of slots that the task needs now; it is acquired."""
        allowed = self.allowed_backends(task)
        wanted = requirement_of(task.spec, allowed, excluded=task.failed_devices, confined=task.confined)
        return self.index.acquire(wanted)

    def withdraw(self, task: Task) -> None:
        """A task that waits for a slot waits no longer."""
        self.queue.discard(task.job.leaf, task.bit, task.spec.task_id)
        self.index.release(task.bit)
        task.bit = 0

    def occupy(self, attempt: Attempt) -> None:
        """An attempt takes a place on its worker."""
        worker = attempt.worker
        self.attempts[(attempt.task.spec.task_id, attempt.number)] = attempt
        attempt.task.in_flight += (attempt,)
        worker.attempts.append(attempt)
        worker.device.running += 1
        worker.device.take(attempt.task.spec, attempt.backend, 1)
        self.offer(worker)

    def vacate(self, attempt: Attempt, served_s: float) -> None:
        """An attempt's place is free again; the queue pays for what it really took."""
        worker = attempt.worker
        del self.attempts[(attempt.task.spec.task_id, attempt.number)]
        self.drop_in_flight(attempt)
        worker.attempts.remove(attempt)
        self.advanced.append(worker)
        worker.device.running -= 1
        worker.device.take(attempt.task.spec, attempt.backend, -1)
        self.queue.charge(attempt.leaf, (0.0 if attempt.twin else served_s) - attempt.charged_s)
        self.offer(worker)

    def offer(self, worker: Worker) -> None:
        """Puts a worker where its free places belong: idle, one more place to stage into, or nowhere."""
        pool: SlotPool[Worker] | None = None
        if worker.drain_at is None and not worker.gone and not worker.survivors:
            if not worker.attempts:
                pool = self.idle
            elif len(worker.attempts) < worker.spec.depth and not worker.attempts[0].stopping:
                pool = self.spare
        if pool is not worker.pool:
            if worker.pool is not None:
                worker.pool.remove(worker.spec)
            if pool is not None:
                pool.add(worker.spec, worker, worker.device)
            worker.pool = pool

    def stop(self, attempt: Attempt) -> None:
        """Tells an attempt to stop; its task does not count on it any more.

        Its place stays taken until its worker reports; a worker that does not do so in time is replaced.
        """
        self.drop_in_flight(attempt)
        self.offer(attempt.worker)
        task_id, worker_id = attempt.task.spec.task_id, attempt.worker.spec.worker_id
        self.out.append(StopTask(task_id=task_id, attempt=attempt.number, worker_id=worker_id))
        attempt.stop_by = self.now + self.settings.stop_grace_s

    def void(self, task: Task) -> None:
        """No result of an attempt so far is of use any more, also of those that were told to stop or given up."""
        task.void_up_to = task.attempt
        task.lost = None
        for attempt in task.in_flight:
            self.stop(attempt)

    def drop_in_flight(self, attempt: Attempt) -> None:
        """The task counts on the attempt no longer."""
        attempt.task.in_flight = tuple(other for other in attempt.task.in_flight if other is not attempt)

    def allowed_backends(self, task: Task) -> tuple[str, ...]:
        """Backends that the task may use now, best first: by policy, by what failed, by its job's encoder."""
        job, spec = task.job, task.spec
        if spec.kind is not TaskKind.SEGMENT:
            return spec.backends
        key = (spec.backends, job.gpu, job.dropped, job.encoder)
        found = self._lanes.get(key)
        if found is None:
            kept = tuple(name for name in permitted_backends(spec, job.gpu) if name not in job.dropped)
            found = tuple(name for name in kept if job.encoder in (None, self.encoder_of(name))) or kept
            self._lanes[key] = found
        return found

    def offered(self, backend: str) -> bool:
        """Whether a device that is here, or expected back, runs the backend."""
        return any(
            backend in device.backends and (device.workers or device.expected) for device in self.devices.values()
        )

    def encoder_of(self, backend: str) -> str:
        """The encoder of a backend: what must be one for all segments of a job."""
        return self.settings.encoders.get(backend, backend)
