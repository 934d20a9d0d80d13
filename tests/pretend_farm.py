"""A dispatcher on a real database with workers that only pretend."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from planned import INFO, plan_of
from sqlalchemy import select

from cluster.dispatcher import Dispatcher
from cluster.metadata import jobs
from cluster.metadata.database import Database
from cluster.metadata.lifecycle import VideoStatus
from cluster.metadata.schema import Job, Video
from cluster.metrics import DispatcherMetrics
from cluster.pool import NodeView
from cluster.settings import ClusterSettings
from cluster.tasks import AssetFile, Done, Outcome, RunningTask, TaskRequest, WorkerDescription
from encoders.errors import Failure, Fault
from scheduler.engine import Scheduler
from scheduler.jobs import JobState, TaskKind
from scheduler.settings import SchedulerSettings

Answer = Callable[[TaskRequest], Outcome | None]


class PretendPool:
    """Workers without Ray: answers come from a function; what it was asked is kept."""

    def __init__(self, joined: Callable[[WorkerDescription], None], lost: Callable[[str, str], None]) -> None:
        self.joined, self.lost = joined, lost
        self.answer: Answer = succeed
        self.asked: list[TaskRequest] = []
        self.stopped: list[tuple[str, int]] = []
        self.hold: asyncio.Event | None = None
        self.held: set[str] = set()
        self.running: Counter[str] = Counter()
        self.retired: set[str] = set()
        self.draining = False
        self.outlived: PretendPool | None = None
        self.resumed: list[str] = []
        self.slots = 0
        self.backends = frozenset({"cpu"})

    def nodes(self) -> list[NodeView]:
        names = tuple(f"w{number}" for number in (1, 2) if f"w{number}" not in self.retired)
        idle = tuple(name for name in names if not self.running[name])
        return [NodeView(node_id="n", address="10.0.0.1", workers=names, idle=idle, running=self.running.total())]

    def set_draining(self, node_id: str, draining: bool) -> None:
        self.draining = draining

    def retire(self, worker_id: str) -> None:
        self.retired.add(worker_id)
        self.lost(worker_id, "drained")

    async def adopt(self) -> None:
        if self.outlived is None:
            return
        self.slots = 2
        for number, request in enumerate((self.outlived.asked[-1], None), start=1):
            running = () if request is None else (_told(request),)
            name = f"w{number}"
            about = WorkerDescription(
                worker_id=name, node_id="n", device_id="cpu:n", pid=0, backends=("cpu",), running=running
            )
            self.joined(about)

    async def resume(self, worker_id: str, task_id: str, attempt: int) -> Outcome | None:
        assert self.outlived is not None
        assert self.outlived.hold is not None
        self.resumed.append(task_id)
        await self.outlived.hold.wait()
        (request,) = (each for each in self.outlived.asked if (each.task_id, each.attempt) == (task_id, attempt))
        return self.answer(request)

    async def refresh(self) -> None:
        if not self.slots:
            self.slots = 2
            for number in (1, 2):
                self.joined(
                    WorkerDescription(worker_id=f"w{number}", node_id="n", device_id="cpu:n", pid=0, backends=("cpu",))
                )

    async def run(self, worker_id: str, request: TaskRequest) -> Outcome | None:
        self.asked.append(request)
        self.running[worker_id] += 1
        try:
            if self.hold is not None:
                self.held.add(request.task_id)
                await self.hold.wait()
            await asyncio.sleep(0)
        finally:
            self.running[worker_id] -= 1
        if worker_id in self.retired:
            return None
        if (request.task_id, request.attempt) in self.stopped:
            return Failure(code="stopped", fault=Fault.INFRASTRUCTURE, detail="stopped")
        return self.answer(request)

    async def stop(self, worker_id: str, task_id: str, attempt: int) -> None:
        self.stopped.append((task_id, attempt))
        if self.hold is not None:
            self.hold.set()

    async def check(self, worker_id: str) -> tuple[bool, str]:
        return True, "fine"

    def replace(self, worker_id: str, reason: str) -> None:
        self.lost(worker_id, "hung")

    def close(self) -> None:
        self.slots = 0


def _told(request: TaskRequest) -> RunningTask:
    return RunningTask(
        job_id=request.job_id, task_id=request.task_id, attempt=request.attempt, backend=request.backend, elapsed_s=1.0
    )


def succeed(request: TaskRequest) -> Outcome:
    if request.kind is TaskKind.INSPECT:
        return Done(engine_s=0.1, wall_s=0.1, info=INFO, plan=plan_of(4, 1))
    if request.kind is TaskKind.PACKAGE:
        asset = AssetFile(kind="HLS", key="assets/v/k/master.m3u8", content_type="x", size_bytes=1)
        return Done(engine_s=0.1, wall_s=0.1, assets=(asset,))
    return Done(engine_s=1.0, wall_s=1.0)


class Stage:
    """A database, and dispatchers on it."""

    def __init__(self, database: Database, settings: ClusterSettings) -> None:
        self.database = database
        self.settings = settings

    def dispatcher(self, owner: str) -> tuple[Dispatcher, PretendPool]:
        async def explain(_: dict[str, Any]) -> None:
            return None

        made = Dispatcher(
            self.settings,
            self.database,
            Scheduler(SchedulerSettings()),
            owner,
            DispatcherMetrics(),
            explain,
            PretendPool,
        )
        assert isinstance(made.pool, PretendPool)
        return made, made.pool

    async def submit(self, name: str, tier: str = "free", gpu: str = "prefer") -> str:
        now = time.time()
        async with self.database.write() as session:
            session.add(
                Video(
                    id=f"v{name}",
                    user_id=f"u{name}",
                    title="t",
                    visibility="private",
                    filename="f",
                    content_type="video/mp4",
                    size_bytes=1,
                    profile="default",
                    status=VideoStatus.UPLOADED.value,
                    source_key=f"sources/{name}",
                    created_at=now,
                    updated_at=now,
                )
            )
            await session.flush()
            job = jobs.NewJob(
                video_id=f"v{name}", user_id=f"u{name}", tier=tier, profile="default", gpu=gpu, job_id=f"j{name}"
            )
            await jobs.enqueue_job(session, job, now)
        return f"j{name}"

    async def rows(self, job_id: str) -> tuple[Job, Video]:
        async with self.database.read() as session:
            job = await session.get_one(Job, job_id)
            return job, await session.get_one(Video, job.video_id)

    async def until(self, job_id: str, *states: JobState) -> tuple[Job, Video]:
        async with asyncio.timeout(90):
            while True:
                job, video = await self.rows(job_id)
                if job.state in states:
                    return job, video
                await asyncio.sleep(0.02)


@asynccontextmanager
async def at_work(dispatcher: Dispatcher) -> AsyncIterator[None]:
    """Let a dispatcher work for the length of the block."""
    work = asyncio.create_task(dispatcher.run(doorbell))
    try:
        yield
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


async def kill(work: asyncio.Task[None], database: Database) -> None:
    """End a dispatcher as kill -9 would: nothing is handed back. Not amid a write, whose lock would outlive it here."""
    async with database.write() as session:
        await session.execute(select(1))  # a transaction begins with its first statement
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


async def doorbell(_: float) -> None:
    await asyncio.sleep(0.05)
