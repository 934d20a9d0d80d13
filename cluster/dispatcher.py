"""The loop: stamps what happened into events, feeds the engine, writes what it decided, then carries it out.

Rule: no policy here. Everything that could be decided one way or another is decided by `scheduler.engine`; this loop
only keeps three promises. Written before done: a decision is in the database before anything acts on it, so a
dispatcher may die at any point and the next one resumes from what it wrote. Fenced: every write of a job carries the
token of its claim; a dispatcher that was paused and replaced changes nothing and drops the job. Never stuck: a
database, store or worker that is away for a while delays work and loses none.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace

import structlog

from cluster import breakdown, claims
from cluster.active_jobs import ActiveJob, Finished, as_started, worker_joined
from cluster.bookkeeper import Bookkeeper
from cluster.claims import ClaimedJob
from cluster.errors import DatabaseUnavailable
from cluster.ledger import Batch
from cluster.metadata.database import Database
from cluster.metrics import DispatcherMetrics
from cluster.operators import NodeDesk, changed_wishes
from cluster.pool import OpenPool
from cluster.settings import ClusterSettings
from cluster.tasks import RunningTask, TaskRequest, WorkerDescription
from cluster.telling import Publish, Teller
from encoders.errors import Failure, Fault
from scheduler import events, instructions
from scheduler.engine import Scheduler
from scheduler.jobs import TaskKind

log = structlog.get_logger()

CLAIM_LIMIT = 200
"""Jobs claimed in one transaction: few enough that other writers, leadership's above all, wait for some tenths of a
second at most."""
BATCH_LIMIT = 64
"""Events whose decisions are written in one transaction: none of them is acted on before, so that a thousand at once
would leave slots idle for as long as it takes to decide and write them all."""
DATABASE_RETRY_S = 1.0
"""Pause before a write that found no database is tried again."""


class Dispatcher:
    """One claimant of jobs, one engine, one pool of workers.

    Args:
        owner: who holds the claims; the leadership's name and token are part of it.
        explain: publishes explanations (job id -> JSON-able value) for the gateways.
        open_pool: makes the workers' side.
    """

    def __init__(
        self,
        settings: ClusterSettings,
        database: Database,
        engine: Scheduler,
        owner: str,
        metrics: DispatcherMetrics,
        explain: Publish,
        open_pool: OpenPool,
    ) -> None:
        self.settings = settings
        self.database = database
        self.engine = engine
        self.owner = owner
        self.pool = open_pool(self._worker_joined, self._worker_lost)
        self.desk = NodeDesk(database, self.pool, settings.affinity)
        self.jobs: dict[str, ActiveJob] = {}
        self.teller = Teller(engine, metrics, self.jobs, explain)
        self.books = Bookkeeper(self.jobs, self.teller, settings.threads_per_slot)
        self.inbox: asyncio.Queue[events.Event | Finished] = asyncio.Queue()
        self._running: set[asyncio.Task[None]] = set()
        self._devices: dict[str, str] = {}
        self._claimed = asyncio.Event()
        self._tokens = asyncio.Lock()
        """Held from a decision to its commit, and while claiming: a job that is claimed anew has another token."""
        self._leaving: set[str] = set()
        """Jobs that others have now, and that the engine has not forgotten yet."""
        self._returning: dict[str, ClaimedJob] = {}
        """Such jobs that were claimed here again: the engine hears of them when it has forgotten them."""

    # -- loops

    async def run(self, doorbell: Callable[[float], Awaitable[None]]) -> None:
        """Work until cancelled.

        Workers of a dispatcher before come first, so that what they still run is known before anything is started.

        Args:
            doorbell: waits until there may be something new, at most so many seconds.
        """
        await self.pool.adopt()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._decide_forever())
            group.create_task(self._claim_forever(doorbell))
            group.create_task(self._renew_forever())
            group.create_task(self._watch_nodes_forever())
            group.create_task(self._tick_forever())

    async def _decide_forever(self) -> None:
        while True:
            await self._decide(await self.inbox.get())

    async def _claim_forever(self, doorbell: Callable[[float], Awaitable[None]]) -> None:
        while True:
            try:
                while await self._claim():
                    pass
                self._claimed.set()
                await self._listen_to_people()
            except DatabaseUnavailable as error:
                log.warning("database_unavailable", error=error.detail)
            await doorbell(self.settings.poll_s)

    async def _listen_to_people(self) -> None:
        """Owners cancel; operators pause, move and drain."""
        for job_id in await claims.cancelled(self.database, self.owner):
            self.inbox.put_nowait(events.CancelRequested(at=_now(), job_id=job_id))
        for wish in await changed_wishes(self.database, self.owner, self.jobs, _now()):
            self.inbox.put_nowait(wish)
        for change in await self.desk.look(_now()):
            self.inbox.put_nowait(change)

    async def _renew_forever(self) -> None:
        while True:
            await asyncio.sleep(self.settings.job_lease_s / 3)
            tokens = {job_id: job.claimed.token for job_id, job in self.jobs.items()}
            try:
                lost = await claims.renew(self.database, self.owner, tokens, self.settings.job_lease_s)
            except DatabaseUnavailable as error:
                log.warning("database_unavailable", error=error.detail)
                continue
            for job_id in lost:
                self._drop(job_id)

    async def _watch_nodes_forever(self) -> None:
        while True:
            await self.pool.refresh()
            await asyncio.sleep(self.settings.poll_s)

    async def _tick_forever(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self.inbox.put_nowait(events.Tick(at=_now()))

    # -- what happened

    def _worker_joined(self, worker: WorkerDescription) -> None:
        self._devices[worker.worker_id] = worker.device_id
        self.inbox.put_nowait(worker_joined(worker))
        for running in worker.running:
            self._spawn(self._follow(worker.worker_id, running))

    def _worker_lost(self, worker_id: str, reason: str) -> None:
        self.inbox.put_nowait(events.WorkerLost(at=_now(), worker_id=worker_id, reason=reason))

    async def _claim(self) -> int:
        held = Counter(job.tier for job in self.jobs.values())
        async with self._tokens:
            claimed = await claims.claim(self.database, self.owner, self.settings, CLAIM_LIMIT, held)
            for job in claimed:
                self._take(job)
        return len(claimed)

    def _take(self, claimed: ClaimedJob) -> None:
        """A job was claimed; perhaps one that is held, when this process stood still for longer than its lease."""
        job_id, held = claimed.job_id, self.jobs.get(claimed.job_id)
        if held is not None and claimed.token == held.claimed.token + 1:
            log.warning("job_claimed_anew", job_id=job_id)  # nobody else came meanwhile, so all is as it was
            held.claimed = replace(held.claimed, token=claimed.token)
            return
        if held is not None:
            self._drop(job_id)
        if job_id in self._leaving:
            self._returning[job_id] = claimed
        else:
            self.inbox.put_nowait(self.books.take_over(claimed))

    # -- deciding

    async def _decide(self, first: events.Event | Finished) -> None:
        """Feed the engine all that has happened, write what it decides in one transaction, then act on it."""
        async with self._tokens:
            items = [first]  # and what came while others wrote: a job claimed meanwhile may be the next
            while not self.inbox.empty() and len(items) < BATCH_LIMIT:
                items.append(self.inbox.get_nowait())
            batch = Batch()
            decided = self.engine.handle_all([event for item in items for event in self._events_of(item, batch)])
            for each in decided:
                self.books.record(each, batch)
            if batch:
                await self._commit(batch)
        for each in decided:
            self._act(each)
        self.teller.tell()
        await asyncio.sleep(0)  # what was decided is on its way to the workers before more is

    def _events_of(self, item: events.Event | Finished, batch: Batch) -> list[events.Event]:
        if isinstance(item, Finished):
            return self.books.events_of(item, self._devices.get(item.start.worker_id, ""), batch)
        return [item]

    async def _commit(self, batch: Batch) -> None:
        """Write until it is written; a job whose claim is lost is dropped and the others go on."""
        while True:
            try:
                async with self.database.write() as session:
                    lost = await batch.write(session)
                break
            except DatabaseUnavailable as error:
                log.warning("database_unavailable", error=error.detail)
                await asyncio.sleep(DATABASE_RETRY_S)
        for job_id in lost:
            self._drop(job_id)

    def _drop(self, job_id: str) -> None:
        """Another dispatcher has the job: stop what runs of it here, and write nothing more."""
        if self.jobs.pop(job_id, None) is not None:
            log.warning("job_fenced_out", job_id=job_id)
            self._leaving.add(job_id)
            self.inbox.put_nowait(events.CancelRequested(at=_now(), job_id=job_id))

    # -- acting

    def _act(self, each: instructions.Instruction) -> None:
        match each:
            case instructions.StartTask():
                self._spawn(self._attempt(each))
            case instructions.StopTask():
                self._spawn(self.pool.stop(each.worker_id, each.task_id, each.attempt))
            case instructions.FinishJob():
                self._forget(each)
            case instructions.CheckDevice():
                self._spawn(self._check(each))
            case instructions.ReplaceWorker():
                self.pool.replace(each.worker_id, each.reason)
            case instructions.Alert():
                self.teller.alert(each)
            case instructions.AskForWorkers():
                self.teller.wanted(each)
            case _:
                pass  # saves are written already

    def _forget(self, each: instructions.FinishJob) -> None:
        """The engine is done with a job: it is over, or it was another's and may have come back since."""
        job = self.jobs.pop(each.job_id, None)
        if job is not None:
            self.teller.finished(each, job.claimed.video_id)
        self._leaving.discard(each.job_id)
        if (claimed := self._returning.pop(each.job_id, None)) is not None:
            self.inbox.put_nowait(self.books.take_over(claimed))

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _attempt(self, start: instructions.StartTask) -> None:
        job = self.jobs.get(start.job_id)
        if job is None:
            failure = Failure(code="job_gone", fault=Fault.INFRASTRUCTURE, detail="the job is no longer held here")
            self.inbox.put_nowait(Finished(start=start, outcome=failure))
            return
        claimed, backend = job.claimed, start.backend
        if job.kinds[start.task_id] is TaskKind.INSPECT:
            # The identity of what will encode goes into the plan, wherever the source is looked at.
            backend = breakdown.inspecting_backend(claimed.gpu, self.pool.backends)
        request = TaskRequest(
            job_id=start.job_id,
            task_id=start.task_id,
            attempt=start.attempt,
            kind=job.kinds[start.task_id],
            video_id=claimed.video_id,
            source_key=claimed.source_key,
            profile=claimed.profile,
            backend=backend,
            threads=self.settings.threads_per_slot,
            slots=max(1, self.pool.slots),
            timeout_s=start.timeout_s,
            part=breakdown.part_of(start.task_id),
            trim=claimed.trim,
            plan=claimed.plan,
            info=claimed.info,
            confined=start.confined,
        )
        log.info(
            "task_started",
            task=start.task_id,
            attempt=start.attempt,
            worker=start.worker_id,
            timeout_s=round(start.timeout_s),
            twin=start.twin,
        )
        outcome = await self.pool.run(start.worker_id, request)
        if outcome is not None:  # else the pool has reported the worker as lost, and the engine draws the conclusion
            self.inbox.put_nowait(Finished(start=start, outcome=outcome))

    async def _follow(self, worker_id: str, running: RunningTask) -> None:
        """Wait for the outcome of an attempt that another dispatcher started; not before its job can be claimed."""
        await self._claimed.wait()
        outcome = await self.pool.resume(worker_id, running.task_id, running.attempt)
        if outcome is not None:
            self.inbox.put_nowait(Finished(start=as_started(worker_id, running), outcome=outcome))

    async def _check(self, each: instructions.CheckDevice) -> None:
        healthy, detail = await self.pool.check(each.worker_id)
        self.inbox.put_nowait(events.DeviceChecked(at=_now(), device_id=each.device_id, healthy=healthy, detail=detail))

    async def close(self, *, keep_workers: bool = False) -> None:
        """Hand the jobs back; a successor may claim them at once.

        Args:
            keep_workers: leave the workers at their work for the successor; otherwise they end.
        """
        if not keep_workers:
            self.pool.close()
        tokens = {job_id: job.claimed.token for job_id, job in self.jobs.items()}
        await claims.release(self.database, self.owner, tokens)


def _now() -> float:
    """The engine's clock: monotonic, so that a step of the wall clock moves no deadline."""
    return time.monotonic()
