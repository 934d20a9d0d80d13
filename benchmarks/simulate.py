"""A farm in simulated time that runs the production scheduler: the same engine, events and instructions as the real.

Only what a farm does between an instruction and its report is invented here: tasks take times drawn around a true cost
that the scheduler does not know and must learn, slots report when they are done, and jobs arrive by a traffic that is a
function of a seed. Two other policies speak the same language, for comparison: first come first served, and strict
priority.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from math import cos, exp, pi
from typing import Protocol

from scheduler.events import Event, JobSubmitted, TaskDone, TasksAdded, Tick, WorkerJoined
from scheduler.instructions import FinishJob, Instruction, StartTask, StopTask
from scheduler.jobs import CostFeatures, JobState, TaskKind, TaskSpec, Tier, WorkerSpec

SEGMENT_FRAMES = 300
"""Frames of a segment: 10 to 12 s at usual rates."""
LADDER_PIXELS = {"1080p": 3_800_000, "720p": 1_720_000, "480p": 800_000}
"""Pixels per frame of the default ladder from the rung downwards."""
HEIGHT_SHARES = (0.7, 0.2, 0.1)
"""Of the sources: most uploads are 1080p, as phones make them."""


class Policy(Protocol):
    """What decides: the production scheduler, or something to compare it with."""

    def handle_all(self, happened: Iterable[Event]) -> list[Instruction]:
        """Instructions that follow from what happened, all of it at once."""


@dataclass(slots=True, kw_only=True)
class SimulatedJob:
    """A job as it was, for the record.

    Attributes:
        true_s: engine-seconds that its tasks really take, all together.
        size_bytes: of the upload; 0: not told.
        started_at, ended_at: when its first task started and when it was over; None while not.
    """

    job_id: str
    user_id: str
    tier: Tier
    submitted_at: float
    segments: int
    height: str
    difficulty: float
    true_s: float = 0.0
    started_at: float | None = None
    ended_at: float | None = None
    state: JobState = JobState.QUEUED
    size_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Who submits what, when.

    Attributes:
        load: engine-seconds that arrive per second, as a share of what the farm serves, at the mean of a day.
        swing: the day's wave: load * (1 + swing * cos), highest at a quarter past the half of the span.
        tier_shares: share of the load (not of the jobs) per tier.
        users: users per tier; the n-th of them submits with weight 1/n (Zipf).
        median_segments: of a job; lengths are lognormal, between 1 and 400.
        span_s: how long jobs arrive.
    """

    load: float
    swing: float = 0.0
    tier_shares: dict[Tier, float] = field(
        default_factory=lambda: {Tier.PAID: 0.15, Tier.VERIFIED: 0.25, Tier.FREE: 0.6}
    )
    users: int = 200
    median_segments: float = 5.0
    spread: float = 1.0
    span_s: float = 3600.0


def true_segment_s(height: str) -> float:
    """Seconds that a segment of average difficulty takes on a slot: what the scheduler has to find out."""
    return 1.0 + 0.0075 * LADDER_PIXELS[height] * SEGMENT_FRAMES / 1e6


def make_jobs(traffic: Traffic, *, slots: int, seed: int) -> Iterator[SimulatedJob]:
    """The jobs of a traffic, in order of arrival."""
    chance = random.Random(seed)
    order = count()
    arrivals: list[tuple[float, int, SimulatedJob]] = []
    for tier, share in traffic.tier_shares.items():
        weights = [1.0 / rank for rank in range(1, traffic.users + 1)]
        mean_s = _mean_job_s(traffic)
        rate = traffic.load * share * slots / mean_s
        if rate <= 0.0:
            continue
        now = 0.0
        while True:
            now += chance.expovariate(rate * (1.0 + traffic.swing))
            if now >= traffic.span_s:
                break
            wave = 1.0 - traffic.swing * cos(2.0 * pi * now / traffic.span_s)
            if chance.random() * (1.0 + traffic.swing) > wave:
                continue
            number = next(order)
            job = SimulatedJob(
                job_id=f"{tier}{number}",
                user_id=f"{tier}-{chance.choices(range(traffic.users), weights)[0]}",
                tier=tier,
                submitted_at=now,
                segments=_segments(traffic, chance),
                height=chance.choices(tuple(LADDER_PIXELS), HEIGHT_SHARES)[0],
                difficulty=chance.lognormvariate(0.0, 0.3),
            )
            arrivals.append((now, number, job))
    arrivals.sort(key=lambda entry: entry[:2])
    return (job for _, _, job in arrivals)


def _segments(traffic: Traffic, chance: random.Random) -> int:
    return max(1, min(400, round(traffic.median_segments * chance.lognormvariate(0.0, traffic.spread))))


def _mean_job_s(traffic: Traffic) -> float:
    chance = random.Random(0)
    jobs = [_segments(traffic, chance) for _ in range(20_000)]
    segment_s = sum(share * true_segment_s(height) for height, share in zip(LADDER_PIXELS, HEIGHT_SHARES, strict=True))
    return sum(jobs) / len(jobs) * segment_s * exp(0.3**2 / 2) + 3.5


@dataclass(slots=True)
class _Running:
    start: StartTask
    ends_at: float
    seconds: float


class Simulation:
    """Runs jobs through a policy on so many equal slots.

    Attributes:
        jobs: every job that was submitted.
        served: (time, tier, engine-seconds) of every finished task.
        decisions: events handled.
        observe: called with every job just "submitted" and just "planned".
    """

    def __init__(self, policy: Policy, *, slots: int, nodes: int = 8, seed: int = 0, noise: float = 0.15) -> None:
        self.policy = policy
        self.now = 0.0
        self.jobs: dict[str, SimulatedJob] = {}
        self.served: list[tuple[float, Tier, float]] = []
        self.decisions = 0
        self.observe: Callable[[Simulation, SimulatedJob, str], None] = lambda _simulation, _job, _moment: None
        self.slots = slots
        self._noise = noise
        self._seed = seed
        self._order = count()
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._running: dict[tuple[str, int], _Running] = {}
        for index in range(slots):
            node = f"n{index % nodes}"
            spec = WorkerSpec(worker_id=f"w{index}", node_id=node, device_id=f"cpu:{node}", backends=("cpu",))
            self._handle(WorkerJoined(at=0.0, worker=spec))

    def run(
        self, jobs: Iterator[SimulatedJob], *, until: float, watch: Callable[[Simulation], None] | None = None,
        watch_every_s: float = 60.0,
    ) -> None:  # fmt: skip
        """Submits jobs as their time comes, and goes on until `until` (simulated seconds) or until nothing is left."""
        for job in jobs:
            self._at(job.submitted_at, lambda job=job: self._submit(job))  # type: ignore[misc]
        self._at(1.0, lambda: self._tick(until))
        if watch is not None:
            self._at(watch_every_s, lambda: self._watch(watch, watch_every_s, until))
        while self._heap and self._heap[0][0] <= until:
            self.now, _, action = heappop(self._heap)
            action()

    def _at(self, when: float, action: Callable[[], None]) -> None:
        heappush(self._heap, (when, next(self._order), action))

    def _tick(self, until: float) -> None:
        self._handle(Tick(at=self.now))
        if self.now < until:
            self._at(self.now + 1.0, lambda: self._tick(until))

    def _watch(self, watch: Callable[[Simulation], None], every_s: float, until: float) -> None:
        watch(self)
        if self.now < until:
            self._at(self.now + every_s, lambda: self._watch(watch, every_s, until))

    def _submit(self, job: SimulatedJob) -> None:
        self.jobs[job.job_id] = job
        inspect = _spec(job, "inspect", TaskKind.INSPECT, (), 0)
        self._handle(
            JobSubmitted(
                at=self.now,
                job_id=job.job_id,
                user_id=job.user_id,
                tier=job.tier,
                tasks=(inspect,),
                size_bytes=job.size_bytes,
            )
        )
        self.observe(self, job, "submitted")

    def _handle(self, *happened: Event) -> None:
        self.decisions += len(happened)
        for instruction in self.policy.handle_all(happened):
            if isinstance(instruction, StartTask):
                self._start(instruction)
            elif isinstance(instruction, StopTask):
                self._stop(instruction)
            elif isinstance(instruction, FinishJob):
                self.jobs[instruction.job_id].ended_at = self.now
                self.jobs[instruction.job_id].state = instruction.state

    def _start(self, start: StartTask) -> None:
        job = self.jobs[start.job_id]
        if job.started_at is None:
            job.started_at = self.now
        chance = random.Random(f"{self._seed}/{start.task_id}/{start.attempt}")
        seconds = _true_s(job, start.task_id) * chance.lognormvariate(0.0, self._noise)
        job.true_s += seconds
        key = (start.task_id, start.attempt)
        self._running[key] = _Running(start, self.now + seconds, seconds)
        self._at(self.now + seconds, lambda: self._end(key))

    def _stop(self, stop: StopTask) -> None:
        self._end((stop.task_id, stop.attempt))

    def _end(self, key: tuple[str, int]) -> None:
        running = self._running.pop(key, None)
        if running is None:
            return
        start = running.start
        job = self.jobs[start.job_id]
        spent_s = running.seconds - max(0.0, running.ends_at - self.now)
        self.served.append((self.now, job.tier, spent_s))
        done = TaskDone(
            at=self.now, task_id=start.task_id, attempt=start.attempt, worker_id=start.worker_id, engine_s=spent_s
        )
        if start.task_id.endswith("/inspect"):
            # As the dispatcher has them: what was found comes with the news that it was.
            self._handle(done, TasksAdded(at=self.now, job_id=job.job_id, tasks=_plan(job)))
            self.observe(self, job, "planned")
        else:
            self._handle(done)


def _plan(job: SimulatedJob) -> tuple[TaskSpec, ...]:
    inspect = (f"{job.job_id}/inspect",)
    segments = [_spec(job, f"s{index}", TaskKind.SEGMENT, inspect, index) for index in range(job.segments)]
    audio = _spec(job, "audio", TaskKind.AUDIO, inspect, 0)
    needs = tuple(spec.task_id for spec in (*segments, audio))
    return (*segments, audio, _spec(job, "package", TaskKind.PACKAGE, needs, job.segments))


def _spec(job: SimulatedJob, name: str, kind: TaskKind, needs: tuple[str, ...], position: int) -> TaskSpec:
    frames = {
        TaskKind.SEGMENT: SEGMENT_FRAMES,
        TaskKind.AUDIO: job.segments * 470,
        TaskKind.PACKAGE: job.segments * SEGMENT_FRAMES,
    }.get(kind, 0)
    pixels = LADDER_PIXELS[job.height] if kind is TaskKind.SEGMENT else 0
    cost = CostFeatures(kind=kind, codec="h264", pixels=pixels, frames=frames, preset="default")
    return TaskSpec(task_id=f"{job.job_id}/{name}", kind=kind, needs=needs, cost=cost, position=position)


def _true_s(job: SimulatedJob, task_id: str) -> float:
    name = task_id.rsplit("/", 1)[1]
    if name == "inspect":
        return 1.0
    if name == "audio":
        return 0.5 + 0.1 * job.segments
    if name == "package":
        return 1.0 + 0.05 * job.segments
    return true_segment_s(job.height) * job.difficulty


class SimplePolicy:
    """One list, one rule: the ready task with the smallest rank goes to the slot that is free; nothing is learned."""

    def __init__(self, rank: Callable[[Tier, int], tuple[float, ...]]) -> None:
        self._rank = rank
        self._order = count()
        self._idle: list[str] = []
        self._ready: list[tuple[tuple[float, ...], int, str, str]] = []
        self._ranks: dict[str, tuple[float, ...]] = {}
        self._needs: dict[str, int] = {}
        self._jobs: dict[str, str] = {}
        self._left: dict[str, int] = {}
        self._dependents: dict[str, list[str]] = {}

    def handle_all(self, happened: Iterable[Event]) -> list[Instruction]:
        """Knows arrivals, plans, ends and slots; nothing ever fails here."""
        out: list[Instruction] = []
        for event in happened:
            self._take_in(event, out)
        while self._idle and self._ready:
            _, _, job_id, task_id = heappop(self._ready)
            out.append(
                StartTask(
                    job_id=job_id, task_id=task_id, attempt=1, worker_id=self._idle.pop(), backend="cpu",
                    timeout_s=3600.0,
                )
            )  # fmt: skip
        return out

    def _take_in(self, event: Event, out: list[Instruction]) -> None:
        if isinstance(event, WorkerJoined):
            self._idle.append(event.worker.worker_id)
        elif isinstance(event, JobSubmitted):
            self._ranks[event.job_id] = self._rank(event.tier, next(self._order))
            self._left[event.job_id] = 1
            self._add(event.job_id, event.tasks)
        elif isinstance(event, TasksAdded):
            self._left[event.job_id] -= 1
            self._add(event.job_id, tuple(event.tasks))
        elif isinstance(event, TaskDone):
            self._done(event, out)

    def _add(self, job_id: str, tasks: tuple[TaskSpec, ...]) -> None:
        for spec in tasks:
            self._jobs[spec.task_id] = job_id
            self._left[job_id] += 1
            open_needs = [need for need in spec.needs if need in self._jobs]
            self._needs[spec.task_id] = len(open_needs)
            for need in open_needs:
                self._dependents.setdefault(need, []).append(spec.task_id)
            if not open_needs:
                self._push(job_id, spec.task_id)

    def _push(self, job_id: str, task_id: str) -> None:
        heappush(self._ready, (self._ranks[job_id], next(self._order), job_id, task_id))

    def _done(self, event: TaskDone, out: list[Instruction]) -> None:
        self._idle.append(event.worker_id)
        job_id = self._jobs.pop(event.task_id)
        self._left[job_id] -= 1
        for dependent in self._dependents.pop(event.task_id, ()):
            self._needs[dependent] -= 1
            if self._needs[dependent] == 0:
                self._push(job_id, dependent)
        if self._left[job_id] == 0:
            out.append(FinishJob(job_id=job_id, state=JobState.COMPLETED))


def first_come_first_served() -> SimplePolicy:
    """Whoever came first, whatever the tier."""
    return SimplePolicy(lambda _tier, order: (float(order),))


def strict_priority() -> SimplePolicy:
    """Paid before verified before free, first come first served within each."""
    ranks = {Tier.PAID: 0.0, Tier.VERIFIED: 1.0, Tier.FREE: 2.0}
    return SimplePolicy(lambda tier, order: (ranks[tier], float(order)))


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` of them lie (nearest rank); 0 of an empty list."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
