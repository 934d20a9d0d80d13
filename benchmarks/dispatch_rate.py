"""Decisions per second of the dispatcher's whole loop: events, engine, one transaction per batch, instructions.

The dispatcher is the production one, in this process, on SQLite as the embedded farm has it or on PostgreSQL. Its slots
answer at once, so that nothing but the loop holds it up: the figure is what it can do, not what a farm asks of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import func, select

from benchmarks.recovery import submit_jobs
from benchmarks.simulated_workers import SLOTS_PER_NODE, source_of
from benchmarks.steady_pool import SteadyPool
from cluster.dispatcher import Dispatcher
from cluster.metadata.database import Database
from cluster.metadata.migrate import migrate
from cluster.metadata.schema import Job
from cluster.metrics import DispatcherMetrics
from cluster.settings import ClusterSettings
from cluster.tasks import AssetFile, Done, Outcome, TaskRequest, WorkerDescription
from encoders.plan import Plan, plan_asset
from encoders.profiles.load import load_profile
from scheduler.engine import Scheduler
from scheduler.jobs import JobState, TaskKind
from scheduler.settings import SchedulerSettings

JOB_MINUTES = 60.0
SLOTS_PER_JOB = 40
"""Few jobs of many segments: what a plan costs, some hundred rows at once, is no part of the figure."""
SEGMENT_S = 10.0
"""What the slots say that a segment took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchRate:
    """What the loop did.

    Attributes:
        decisions: attempts that were decided, written, started, answered and taken in.
        wall_s: from the first answer on.
        cpu_s: processor time of this process meanwhile, SQLite's included.
        failed: jobs that did not go well; the figure says nothing if there are any.
    """

    slots: int
    decisions: int
    wall_s: float
    cpu_s: float
    failed: int

    @property
    def per_s(self) -> float:
        """Decisions a second on the clock."""
        return self.decisions / self.wall_s

    @property
    def per_cpu_s(self) -> float:
        """Decisions a second of processor time: what one core of its own would give."""
        return self.decisions / self.cpu_s


class InstantPool(SteadyPool):
    """Slots that answer at once; a `cluster.pool.Pool`."""

    def __init__(
        self, slots: int, joined: Callable[[WorkerDescription], None], lost: Callable[[str, str], None]
    ) -> None:
        super().__init__(joined, lost)
        self.slots = slots
        self.answered = 0
        self.wanted = 0
        self.reached = asyncio.Event()

    async def adopt(self) -> None:
        """All slots join."""
        for number in range(self.slots):
            node = f"n{number // SLOTS_PER_NODE}"
            self._joined(
                WorkerDescription(
                    worker_id=f"w{number}", node_id=node, device_id=f"cpu:{node}", pid=0, backends=("cpu",)
                )
            )

    async def run(self, _worker_id: str, request: TaskRequest) -> Outcome | None:
        """One attempt, done."""
        await asyncio.sleep(0)
        self.answered += 1
        if self.answered >= self.wanted:
            self.reached.set()
        done = Done(engine_s=SEGMENT_S, wall_s=SEGMENT_S)
        if request.kind is TaskKind.INSPECT:
            return replace(done, info=source_of("any", JOB_MINUTES), plan=_plan(request.profile))
        if request.kind is TaskKind.PACKAGE:
            key = f"assets/{request.video_id}/simulated/master.m3u8"
            return replace(done, assets=(AssetFile(kind="HLS", key=key, content_type="x", size_bytes=1),))
        return done


@cache
def _plan(profile: str) -> Plan:
    return plan_asset(source_of("any", JOB_MINUTES), load_profile(profile), 16, "simulated")


def measure_dispatch_rate(slots: int, decisions: int, database_url: str = "") -> DispatchRate:
    """Let the loop make at least so many decisions for so many slots, with always enough jobs.

    Args:
        database_url: of an empty database; a SQLite file of its own unless given.
    """
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    try:
        with tempfile.TemporaryDirectory(prefix="reelmill-loop-") as folder:
            return asyncio.run(_measure(Path(folder), slots, decisions, database_url))
    finally:
        structlog.reset_defaults()


async def _measure(folder: Path, slots: int, decisions: int, database_url: str) -> DispatchRate:
    settings = ClusterSettings(data_dir=folder, database_url=database_url, redis_url="", claim_window=4 * slots)
    await asyncio.to_thread(migrate, settings.effective_database_url)
    database = Database(settings.effective_database_url)
    most = 2 * slots + decisions
    await submit_jobs(database, 4 + max(slots // SLOTS_PER_JOB, most // len(_plan("default").segments)))
    pools: list[InstantPool] = []

    def opened(*callbacks: Any) -> InstantPool:
        pools.append(InstantPool(slots, *callbacks))
        return pools[0]

    async def explain(_: dict[str, Any]) -> None:
        """No gateway reads it here."""

    # How long an answer waits in the loop says nothing of a slot's health here.
    engine = Scheduler(SchedulerSettings(twins=False, slow_ratio=math.inf))
    dispatcher = Dispatcher(settings, database, engine, "benchmark", DispatcherMetrics(), explain, opened)
    work = asyncio.create_task(dispatcher.run(asyncio.sleep))
    try:
        await _reached(pools[0], slots, work)
        before, began, cpu = pools[0].answered, time.monotonic(), time.process_time()
        await _reached(pools[0], before + decisions, work)
        answered, wall_s, cpu_s = pools[0].answered - before, time.monotonic() - began, time.process_time() - cpu
    finally:
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work
    async with database.read() as session:
        failed = await session.scalar(select(func.count()).where(Job.state == str(JobState.FAILED)).select_from(Job))
    await database.close()
    return DispatchRate(slots=slots, decisions=answered, wall_s=wall_s, cpu_s=cpu_s, failed=int(failed or 0))


async def _reached(pool: InstantPool, answers: int, work: asyncio.Task[None]) -> None:
    """Wait until the slots have answered so often; a loop that ended before says why by its exception."""
    pool.wanted, pool.reached = answers, asyncio.Event()
    waiting = asyncio.create_task(pool.reached.wait())
    await asyncio.wait({waiting, work}, return_when=asyncio.FIRST_COMPLETED)
    if work.done():
        waiting.cancel()
        await work
