"""What a decision costs, and whether it stays flat: up to a million queued jobs of ten thousand users.

Three figures per size of the queue, of the production scheduler as the dispatcher calls it (`Scheduler.handle`):

- enqueue: a job arrives while all slots are busy;
- complete: a task's result is taken in, up to the point where a slot is free;
- choose: the next task is chosen among all that wait, placed, charged, and its instructions are written.

Besides: bytes per queued job, and decisions per second with a thousand slots of a hundred nodes, all busy. Times are of
this thread's own processor time, so a machine that does other work besides does not blur them.
"""

from __future__ import annotations

import gc
import math
import statistics
import time
import tracemalloc
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from benchmarks.environment import write_results
from scheduler import engine
from scheduler.events import JobSubmitted, TaskDone, WorkerJoined
from scheduler.instructions import StartTask
from scheduler.jobs import CostFeatures, TaskKind, TaskSpec, Tier, WorkerSpec
from scheduler.settings import SchedulerSettings

USERS = 10_000
ROUNDS = 20_000
"""Completions measured per size of the queue."""
ENDLESS_S = 1e12
"""No timeouts here: simulated time stands still while jobs arrive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Medians (and 99th percentiles) in microseconds at one size of the queue."""

    queued: int
    enqueue_us: float
    enqueue_p99_us: float
    complete_us: float
    complete_p99_us: float
    choose_us: float
    choose_p99_us: float
    bytes_per_job: float


class _Stopwatch:
    """Times the part of each `handle` that gives free places to tasks."""

    def __init__(self) -> None:
        self.choose_s = 0.0
        self._names = vars(engine)
        self._assign = self._names["assign"]

    def __enter__(self) -> _Stopwatch:
        self._names["assign"] = self._timed
        return self

    def __exit__(self, *_: object) -> None:
        self._names["assign"] = self._assign

    def _timed(self, ledger: Any) -> None:
        begin = time.thread_time_ns()
        self._assign(ledger)
        self.choose_s = (time.thread_time_ns() - begin) / 1e9


class Bench:
    """A scheduler with a full queue and a few busy slots."""

    def __init__(self) -> None:
        self.scheduler = engine.Scheduler(
            SchedulerSettings(cold_timeout_s=ENDLESS_S, min_timeout_s=ENDLESS_S, twins=False)
        )
        self.now = 0.0
        self.queued = 0
        self.running: list[StartTask] = []
        self._cost = CostFeatures(kind=TaskKind.SEGMENT, codec="h264", pixels=2_000_000, frames=300, preset="default")

    def join(self, slots: int, nodes: int) -> None:
        """Slots come; each takes a task if one waits."""
        for index in range(slots):
            node = f"n{index % nodes}"
            spec = WorkerSpec(worker_id=f"w{index}", node_id=node, device_id=f"cpu:{node}", backends=("cpu",))
            self._keep(self.scheduler.handle(WorkerJoined(at=self.now, worker=spec)))

    def enqueue(self) -> float:
        """One more job, of one task. Seconds it took."""
        name = f"job-{self.queued:08d}"
        self.queued += 1
        spec = TaskSpec(task_id=f"{name}/s0", kind=TaskKind.SEGMENT, cost=self._cost, position=0)
        event = JobSubmitted(
            at=self.now,
            job_id=name,
            user_id=f"user-{self.queued % USERS:05d}",
            tier=(Tier.PAID, Tier.VERIFIED, Tier.FREE)[self.queued % 3],
            tasks=(spec,),
            open=False,
        )
        begin = time.thread_time_ns()
        out = self.scheduler.handle(event)
        seconds = (time.thread_time_ns() - begin) / 1e9
        self._keep(out)
        return seconds

    def complete(self) -> float:
        """The oldest running task is done, and its slot takes the next. Seconds for both."""
        start = self.running.pop(0)
        self.now += 0.005
        event = TaskDone(
            at=self.now, task_id=start.task_id, attempt=start.attempt, worker_id=start.worker_id, engine_s=5.0
        )
        begin = time.thread_time_ns()
        out = self.scheduler.handle(event)
        seconds = (time.thread_time_ns() - begin) / 1e9
        self._keep(out)
        return seconds

    def _keep(self, out: list[Any]) -> None:
        self.running += [entry for entry in out if isinstance(entry, StartTask)]


def measure_point(queued: int) -> Point:
    """The three figures with so many jobs in the queue."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        bench = Bench()
        bench.join(8, 2)
        tail = min(queued, ROUNDS)
        for _ in range(queued - tail):
            bench.enqueue()
        enqueue = [bench.enqueue() for _ in range(tail)]
        complete: list[float] = []
        choose: list[float] = []
        with _Stopwatch() as stopwatch:
            for _ in range(min(ROUNDS, queued // 2)):
                whole_s = bench.complete()
                choose.append(stopwatch.choose_s)
                complete.append(whole_s - stopwatch.choose_s)
                bench.enqueue()
    finally:
        gc.enable()
    del bench
    gc.collect()
    return Point(
        queued=queued,
        enqueue_us=_median_us(enqueue),
        enqueue_p99_us=_p99_us(enqueue),
        complete_us=_median_us(complete),
        complete_p99_us=_p99_us(complete),
        choose_us=_median_us(choose),
        choose_p99_us=_p99_us(choose),
        bytes_per_job=measure_bytes(min(queued, 50_000)),
    )


def measure_bytes(jobs: int) -> float:
    """Bytes of memory that a queued job of one task takes, all its strings and values included."""
    bench = Bench()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for _ in range(jobs):
        bench.enqueue()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (after - before) / jobs


def measure_rate(slots: int, queued: int) -> float:
    """Completions per second (each with the decision that follows) with so many busy slots."""
    bench = Bench()
    for _ in range(queued + slots):
        bench.enqueue()
    bench.join(slots, slots // 10)
    begin = time.thread_time()
    rounds = min(queued, ROUNDS)
    for _ in range(rounds):
        bench.complete()
    return rounds / (time.thread_time() - begin)


def slope_us_per_doubling(points: list[Point]) -> float:
    """Least-squares slope of the median choice over log2(queued): what a queue twice as long adds, in microseconds."""
    xs = [math.log2(point.queued) for point in points]
    ys = [point.choose_us for point in points]
    mean_x, mean_y = statistics.fmean(xs), statistics.fmean(ys)
    spread = sum((x - mean_x) ** 2 for x in xs)
    return sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / spread if spread else 0.0


def _median_us(seconds: list[float]) -> float:
    return statistics.median(seconds) * 1e6


def _p99_us(seconds: list[float]) -> float:
    return sorted(seconds)[int(0.99 * (len(seconds) - 1))] * 1e6


@click.command()
@click.option(
    "--jobs", default=1_000_000, show_default=True, help="Longest queue; tenths of it are measured too; 0: none."
)
@click.option("--slots", default=1_000, show_default=True, help="Busy slots for decisions per second.")
@click.option("--loop", "decisions", default=0, help="Let the dispatcher's whole loop decide so often for the slots.")
@click.option("--database", default="", help="URL of an empty database for the loop; a file of its own unless given.")
@click.option(
    "--ray", "videos", default=0, help="Idle time between tasks of a real farm, read off so many short videos."
)
@click.option("--ray-slots", default=2, show_default=True)
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the figures here.")
def command(
    jobs: int, slots: int, decisions: int, database: str, videos: int, ray_slots: int, json_path: Path | None
) -> None:
    """Cost of the scheduler's decisions as the queue grows to a million jobs; of the loop around it; of a real farm."""
    results = measure_engine(jobs, slots) if jobs else {}
    if decisions:
        results["loop"] = _measure_loop(slots, decisions, database)
    if videos:
        results["slot_idle"] = _measure_slot_idle(ray_slots, videos)
    if json_path is not None:
        write_results(json_path, "scheduler", results)


def _measure_loop(slots: int, decisions: int, database: str) -> dict[str, Any]:
    from benchmarks.dispatch_rate import measure_dispatch_rate

    found = measure_dispatch_rate(slots, decisions, database)
    if found.failed:
        raise click.ClickException(f"{found.failed} jobs failed: the rate would say nothing")
    kind = database.partition(":")[0] or "SQLite"
    print(f"{found.per_s:,.0f} decisions per second of the whole loop, {slots} slots, {kind};")
    print(f"{found.per_cpu_s:,.0f} per second of its processor time")
    return {**asdict(found), "per_s": found.per_s, "per_cpu_s": found.per_cpu_s}


def _measure_slot_idle(slots: int, videos: int) -> dict[str, Any]:
    from benchmarks.slot_idle import measure_slot_idle

    found = measure_slot_idle(slots, videos)
    median_s, p95_s = found.percentile_s(0.5), found.percentile_s(0.95)
    print(f"{len(found.pauses_s)} pauses between tasks that waited, on {slots} slots of a real farm:")
    print(f"median {1e3 * median_s:.0f} ms, p95 {1e3 * p95_s:.0f} ms")
    return {**asdict(found), "median_s": median_s, "p95_s": p95_s}


def measure_engine(jobs: int, slots: int) -> dict[str, Any]:
    """The engine alone: how a decision's cost grows with the queue, and how many it makes."""
    sizes = [size for size in (jobs // 1000, jobs // 100, jobs // 10, jobs) if size >= 100]
    points: list[Point] = []
    print(f"{'queued':>9} {'enqueue':>16} {'complete':>16} {'choose':>16} {'per job':>10}   (µs median / p99)")
    for size in sizes:
        point = measure_point(size)
        points.append(point)
        print(
            f"{point.queued:>9} {point.enqueue_us:>7.1f} /{point.enqueue_p99_us:>7.1f} "
            f"{point.complete_us:>7.1f} /{point.complete_p99_us:>7.1f} "
            f"{point.choose_us:>7.1f} /{point.choose_p99_us:>7.1f} {point.bytes_per_job:>7.0f} B"
        )
    slope = slope_us_per_doubling(points)
    rate = measure_rate(slots, min(jobs, 100_000))
    print(f"a queue twice as long adds {slope:.2f} µs to a choice")
    print(f"{rate:,.0f} completions with their decisions per second, {slots} busy slots")
    return {"points": [asdict(point) for point in points], "slope_us_per_doubling": slope, "decisions_per_s": rate}
