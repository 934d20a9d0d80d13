"""Operators pause, move and drain by rows in the database; outages delay a dispatcher's jobs and lose none."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from pretend_farm import Stage, at_work, succeed
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.errors import DatabaseUnavailable, IllegalTransition, RowMissing
from cluster.metadata import jobs, nodes, operations
from cluster.metadata.database import Database
from cluster.metadata.lifecycle import VideoStatus, VideoTrigger
from cluster.metadata.migrate import migrate
from cluster.metadata.videos import set_video_status
from cluster.settings import ClusterSettings
from cluster.tasks import Outcome, TaskRequest
from encoders.errors import Failure, Fault
from scheduler.jobs import JobState, TaskKind

AWAY = Failure(code="store_unavailable", fault=Fault.INFRASTRUCTURE, detail="503")


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    settings = ClusterSettings(data_dir=tmp_path, job_lease_s=30.0)
    await asyncio.to_thread(migrate, settings.effective_database_url)
    database = Database(settings.effective_database_url)
    yield Stage(database, settings)
    await database.close()


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(90):
        while not happened():
            await asyncio.sleep(0.02)


async def test_a_paused_job_starts_nothing_new_and_goes_on_when_resumed(stage: Stage) -> None:
    dispatcher, pool = stage.dispatcher("a")
    pool.hold = asyncio.Event()
    job_id = await stage.submit("1")
    async with at_work(dispatcher):
        await until(lambda: bool(pool.asked))
        async with stage.database.write() as session:
            await jobs.set_paused(session, job_id, True)
        await until(lambda: dispatcher.jobs[job_id].paused)
        pool.hold.set()
        other = await stage.submit("2")
        await stage.until(other, JobState.COMPLETED)
        assert [request.kind for request in pool.asked if request.job_id == job_id] == [TaskKind.INSPECT]
        async with stage.database.write() as session:
            await jobs.set_paused(session, job_id, False)
        await stage.until(job_id, JobState.COMPLETED)


async def test_a_moved_job_overtakes_those_that_came_before_it(stage: Stage) -> None:
    dispatcher, pool = stage.dispatcher("a")
    pool.hold = asyncio.Event()
    waiting = [await stage.submit(f"f{number}") for number in range(8)]
    async with at_work(dispatcher):
        await until(lambda: len(pool.asked) == 2 and len(dispatcher.jobs) == 8)
        last = next(job_id for job_id in reversed(waiting) if job_id not in {each.job_id for each in pool.asked})
        async with stage.database.write() as session:
            await operations.reprioritise(session, last, "paid", None)
        await until(lambda: dispatcher.jobs[last].tier == "paid")
        pool.hold.set()
        await stage.until(last, JobState.COMPLETED)
    assert pool.asked[2].job_id == last


async def test_a_drained_node_finishes_what_runs_takes_nothing_new_and_works_again_when_asked(stage: Stage) -> None:
    dispatcher, pool = stage.dispatcher("a")
    pool.hold = asyncio.Event()
    job_id = await stage.submit("1")
    async with at_work(dispatcher):
        await until(lambda: bool(pool.asked))
        await until_node(stage.database, "alive", 2)
        async with stage.database.write() as session:
            with pytest.raises(RowMissing):
                await nodes.ask_to_drain(session, "10.0.0.9", time.time() + 60)
            await nodes.ask_to_drain(session, "10.0.0.1", time.time() + 60)
        await until(lambda: pool.draining and len(pool.retired) == 1)  # the idle one of its two workers has gone
        await until_node(stage.database, "draining", 1)
        pool.hold.set()
        await until(lambda: len(pool.retired) == 2)
        await until_node(stage.database, "drained", 0)
        assert [request.kind for request in pool.asked] == [TaskKind.INSPECT]
        async with stage.database.write() as session:
            await nodes.ask_to_drain(session, "n", None)
        await until(lambda: not pool.draining)
        pool.retired.clear()
        pool.slots = 0  # the pool starts fresh workers on a node that works
        await stage.until(job_id, JobState.COMPLETED)


async def until_node(database: Database, state: str, workers: int) -> None:
    """Wait until the one node is seen like this."""
    async with asyncio.timeout(90):
        while True:
            async with database.read() as session:
                if [(node.state, node.workers) for node in await nodes.list_nodes(session)] == [(state, workers)]:
                    return
            await asyncio.sleep(0.02)


class FailingDatabase(Database):
    """A database that is away while `away` is set."""

    away = False
    refused = 0

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        self.refuse()
        async with super().write() as session:
            yield session
            self.refuse()  # it went while the transaction was open: nothing of it is kept

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        self.refuse()
        async with super().read() as session:
            yield session

    def refuse(self) -> None:
        if self.away:
            self.refused += 1
            raise DatabaseUnavailable("no route to host")


def has_gone(database: FailingDatabase, away_at: set[str], left: int) -> bool:
    return database.away and len(away_at) == left and database.refused >= 3


async def test_a_database_that_is_away_for_a_while_delays_a_job_and_loses_nothing(stage: Stage) -> None:
    flaky = FailingDatabase(stage.settings.effective_database_url)
    away_at = {"1/audio", "1/package"}

    def answer(request: TaskRequest) -> Outcome:
        if any(name in request.task_id for name in away_at):
            away_at.discard("1/audio" if request.kind is TaskKind.AUDIO else "1/package")
            flaky.away = True
        return succeed(request)

    there, stage.database = stage.database, flaky
    dispatcher, pool = stage.dispatcher("a")
    stage.database = there
    pool.answer = answer
    job_id = await stage.submit("1")
    async with at_work(dispatcher):
        for left in (1, 0):
            await until(partial(has_gone, flaky, away_at, left))
            flaky.refused, flaky.away = 0, False
        _, video = await stage.until(job_id, JobState.COMPLETED)
    await flaky.close()
    assert video.status == VideoStatus.READY
    tasks = [request.task_id for request in pool.asked]
    assert len(tasks) == len(set(tasks)), "an attempt whose result waited for the database was run again"


async def test_a_store_that_is_away_for_a_while_delays_a_job(stage: Stage) -> None:
    dispatcher, pool = stage.dispatcher("a")
    failures = {TaskKind.PACKAGE: 2}

    def answer(request: TaskRequest) -> Outcome:
        if failures.get(request.kind, 0):
            failures[request.kind] -= 1
            return AWAY
        return succeed(request)

    pool.answer = answer
    job_id = await stage.submit("1")
    async with at_work(dispatcher):
        _, video = await stage.until(job_id, JobState.COMPLETED)
    assert video.status == VideoStatus.READY
    assert [r.attempt for r in pool.asked if r.kind is TaskKind.PACKAGE] == [1, 2, 3]


async def test_a_dead_letter_keeps_its_evidence_and_comes_back_by_replay(stage: Stage) -> None:
    dispatcher, pool = stage.dispatcher("a")
    crash = Failure(code="media_crashed", fault=Fault.DEVICE, detail="SIGSEGV", evidence={"stderr": "x264 [error]"})

    refusal = Failure(code="damaged", fault=Fault.INPUT, detail="no frame decodes")

    def answer(request: TaskRequest) -> Outcome:
        if request.job_id == "j2":
            return refusal
        return crash if request.task_id.endswith("segment/00002") else succeed(request)

    pool.answer = answer
    job_id = await stage.submit("1")
    rejected = await stage.submit("2")
    async with at_work(dispatcher):
        _, video = await stage.until(job_id, JobState.FAILED)
        assert video.status == VideoStatus.PROCESSING_FAILED
        await stage.until(rejected, JobState.FAILED)
        async with stage.database.read() as session:
            assert [job.id for job in await operations.dead_letters(session)] == [job_id], (
                "a rejection is no dead letter"
            )
            _, failed = await operations.dead_letter(session, job_id[:6])
        assert [task.id for task in failed] == [f"{job_id}/segment/00002"]
        evidence = failed[0].failure["evidence"] if failed[0].failure else {}
        assert evidence["stderr"] == "x264 [error]"
        assert evidence["backend"] == "cpu"
        assert evidence["worker"] in {"w1", "w2"}
        assert evidence["device"] == "cpu:n"
        pool.answer = succeed
        pool.asked.clear()
        async with stage.database.write() as session:
            await operations.replay(session, job_id, time.time())
        _, video = await stage.until(job_id, JobState.COMPLETED)
    assert video.status == VideoStatus.READY
    again = [request.task_id for request in pool.asked if request.kind is TaskKind.SEGMENT]
    assert f"{job_id}/segment/00002" in again
    async with stage.database.read() as session:
        assert await operations.dead_letters(session) == []


async def test_a_dropped_dead_letter_is_listed_no_more_and_a_deleted_video_is_not_replayed(stage: Stage) -> None:
    names = ("1", "2")
    for name in names:
        job_id = await stage.submit(name)
        async with stage.database.write() as session:
            (row,) = await jobs.claim_jobs(session, "a", time.time(), 60, 1)
            failure = {"code": "media_crashed", "fault": "device", "detail": "", "evidence": {}}
            assert await jobs.finish_job(session, job_id, row.attempt, JobState.FAILED, failure, time.time())
            await set_video_status(session, f"v{name}", VideoTrigger.FAILED, time.time())
    async with stage.database.write() as session:
        await operations.drop(session, "j1")
        await set_video_status(session, "v2", VideoTrigger.DELETED, time.time())
    async with stage.database.write() as session:
        assert [job.id for job in await operations.dead_letters(session)] == ["j2"]
        with pytest.raises(IllegalTransition):
            await operations.replay(session, "j2", time.time())
        with pytest.raises(RowMissing):
            await operations.dead_letter(session, "j")
