"""The dispatcher on a real database with workers that only pretend: resume, fencing, cancellation, rejection."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from planned import INFO, plan_of
from pretend_farm import Stage, at_work, doorbell, kill, succeed
from sqlalchemy import update

from cluster.active_jobs import Finished
from cluster.metadata import jobs
from cluster.metadata.database import Database
from cluster.metadata.lifecycle import VideoStatus
from cluster.metadata.migrate import migrate
from cluster.metadata.schema import Job
from cluster.settings import ClusterSettings
from cluster.tasks import Done, Outcome, TaskRequest
from encoders.errors import Failure, Fault
from scheduler.instructions import StartTask
from scheduler.jobs import JobState, TaskKind


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    settings = ClusterSettings(data_dir=tmp_path, job_lease_s=30.0)
    await asyncio.to_thread(migrate, settings.effective_database_url)
    database = Database(settings.effective_database_url)
    yield Stage(database, settings)
    # What a cancelled dispatcher was writing must have ended before its connection is closed under it.
    left = [task for task in asyncio.all_tasks() if getattr(task.get_coro(), "__qualname__", "") == "Dispatcher.run"]
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    await database.close()


async def test_a_job_becomes_ready_with_its_assets_and_events(stage: Stage) -> None:
    dispatcher, pool = stage.dispatcher("a")
    job_id = await stage.submit("1")
    work = asyncio.create_task(dispatcher.run(doorbell))
    job, video = await stage.until(job_id, JobState.COMPLETED)
    work.cancel()
    assert video.status == VideoStatus.READY
    assert video.duration_ms == 10_000
    assert job.progress == {"144p": 1.0, "360p": 1.0}
    kinds = [request.kind for request in pool.asked]
    assert kinds[0] is TaskKind.INSPECT
    assert kinds[-1] is TaskKind.PACKAGE
    assert kinds.count(TaskKind.SEGMENT) == 4


async def test_input_failures_reject_the_video_without_retry(stage: Stage) -> None:
    dispatcher, pool = stage.dispatcher("a")
    pool.answer = lambda request: Failure(code="too_long", fault=Fault.INPUT, detail="41 s; 30 s is the most: cut it")
    job_id = await stage.submit("1")
    work = asyncio.create_task(dispatcher.run(doorbell))
    _, video = await stage.until(job_id, JobState.FAILED)
    work.cancel()
    assert (video.status, video.status_code) == (VideoStatus.REJECTED_TOO_LONG, "too_long")
    assert len(pool.asked) == 1


async def test_a_successor_resumes_and_runs_no_finished_task_again(stage: Stage) -> None:
    first, pool = stage.dispatcher("lead#1")
    job_id = await stage.submit("1")
    finished: list[str] = []

    def two_segments_then_nothing(request: TaskRequest) -> Outcome | None:
        if len(finished) >= 4:
            return None  # as if the workers had died with their dispatcher
        finished.append(request.task_id)
        return succeed(request)

    pool.answer = two_segments_then_nothing
    work = asyncio.create_task(first.run(doorbell))
    async with asyncio.timeout(90):
        while len(finished) < 4 or len(pool.asked) < 6:
            await asyncio.sleep(0.02)
    await kill(work, stage.database)
    second, successor_pool = stage.dispatcher("lead#2")
    async with stage.database.write() as session:
        assert await jobs.free_claims(session, "lead", keep="lead#2") == 1
    work = asyncio.create_task(second.run(doorbell))
    _, video = await stage.until(job_id, JobState.COMPLETED)
    work.cancel()
    assert video.status == VideoStatus.READY
    again = {request.task_id for request in successor_pool.asked}
    assert not again & set(finished)
    assert again | set(finished) == {f"{job_id}/inspect", f"{job_id}/package", f"{job_id}/audio/audio-0"} | {
        f"{job_id}/segment/{index:05d}" for index in range(4)
    }


async def test_a_paused_leader_that_was_replaced_changes_nothing(stage: Stage) -> None:
    first, pool = stage.dispatcher("lead#1")
    pool.hold = asyncio.Event()
    job_id = await stage.submit("1")
    old = asyncio.create_task(first.run(doorbell))
    async with asyncio.timeout(90):
        while not pool.asked:
            await asyncio.sleep(0.02)
    async with stage.database.write() as session:
        await jobs.free_claims(session, "lead", keep="lead#2")
        claimed = await jobs.claim_jobs(session, "lead#2", time.time(), 60.0, 10)
    assert [row.id for row in claimed] == [job_id]
    pool.hold.set()  # the old leader wakes up and gets its answer
    async with asyncio.timeout(90):
        while first.jobs:
            await asyncio.sleep(0.02)
    job, video = await stage.rows(job_id)
    old.cancel()
    assert (job.plan, job.lease_owner) == (None, "lead#2")
    assert video.status in (VideoStatus.UPLOADED, VideoStatus.PROCESSING)


async def test_cancelling_stops_what_runs(stage: Stage) -> None:
    dispatcher, pool = stage.dispatcher("a")
    pool.hold = asyncio.Event()
    job_id = await stage.submit("1")
    work = asyncio.create_task(dispatcher.run(doorbell))
    async with asyncio.timeout(90):
        while not pool.asked:
            await asyncio.sleep(0.02)
    async with stage.database.write() as session:
        assert await jobs.request_cancel(session, job_id, time.time())
    _, video = await stage.until(job_id, JobState.CANCELLED)
    work.cancel()
    assert video.status_code == "cancelled"
    assert pool.stopped


async def test_a_paid_job_overtakes_at_the_next_free_slot(stage: Stage) -> None:
    dispatcher, pool = stage.dispatcher("a")
    free = [await stage.submit(f"f{number}") for number in range(6)]
    pool.hold = asyncio.Event()
    work = asyncio.create_task(dispatcher.run(doorbell))
    async with asyncio.timeout(90):
        while len(pool.asked) < 2:
            await asyncio.sleep(0.02)
        paid = await stage.submit("p", "paid")
        while paid not in dispatcher.jobs:
            await asyncio.sleep(0.02)
    pool.hold.set()
    await stage.until(paid, JobState.COMPLETED)
    running = [job_id for job_id in free if (await stage.rows(job_id))[0].state != JobState.COMPLETED]
    work.cancel()
    first_paid = next(index for index, request in enumerate(pool.asked) if request.job_id == paid)
    assert first_paid <= 4
    assert running


async def test_a_slot_on_which_a_source_was_inspected_goes_on_with_it_before_others(stage: Stage) -> None:
    dispatcher, pool = stage.dispatcher("a")
    for number in range(6):
        await stage.submit(f"f{number}")
    paid = await stage.submit("p", "paid")
    begun: list[int] = []

    def answer(request: TaskRequest) -> Outcome:
        if request.job_id == paid and request.kind is TaskKind.INSPECT:
            begun.append(len(pool.asked))
        return succeed(request)

    pool.answer = answer
    async with at_work(dispatcher):
        await stage.until(paid, JobState.COMPLETED)
    following = [request.job_id for request in pool.asked[begun[0] : begun[0] + 3]]
    assert following.count(paid) >= 2, "one slot may have been given away in the same moment"


async def test_a_second_answer_of_an_inspection_changes_no_plan(stage: Stage) -> None:
    dispatcher, pool = stage.dispatcher("a")
    job_id = await stage.submit("1")
    pool.hold = asyncio.Event()
    seen: list[TaskRequest] = []

    def answer(request: TaskRequest) -> Outcome:
        seen.append(request)
        return succeed(request)

    pool.answer = answer
    async with at_work(dispatcher), asyncio.timeout(90):
        while not pool.held:
            await asyncio.sleep(0.02)
        pool.hold.set()
        while dispatcher.jobs[job_id].claimed.plan is None:
            await asyncio.sleep(0)
        plan = dispatcher.jobs[job_id].claimed.plan
        (begun,) = [request for request in pool.asked if request.kind is TaskKind.INSPECT]
        start = StartTask(
            task_id=begun.task_id, attempt=1, job_id=job_id, worker_id="w1", backend="cpu", timeout_s=60.0
        )
        again = Done(engine_s=0.1, wall_s=0.1, info=INFO, plan=plan_of(2, 1))
        dispatcher.inbox.put_nowait(Finished(start=start, outcome=again))
        await stage.until(job_id, JobState.COMPLETED)
    assert len({request.task_id for request in seen if request.kind is TaskKind.SEGMENT}) == 4
    assert all(request.plan == plan for request in seen if request.kind is not TaskKind.INSPECT)


async def test_what_workers_still_run_of_a_dispatcher_before_is_not_started_again(stage: Stage) -> None:
    first, pool = stage.dispatcher("lead#1")
    pool.hold = asyncio.Event()
    job_id = await stage.submit("1")
    work = asyncio.create_task(first.run(doorbell))
    async with asyncio.timeout(90):
        while not pool.held:
            await asyncio.sleep(0.02)
    await kill(work, stage.database)  # the worker goes on
    second, successor_pool = stage.dispatcher("lead#2")
    successor_pool.outlived = pool
    async with stage.database.write() as session:
        assert await jobs.free_claims(session, "lead", keep="lead#2") == 1
    async with at_work(second), asyncio.timeout(90):
        while not successor_pool.resumed:
            await asyncio.sleep(0.02)
        pool.hold.set()
        await stage.until(job_id, JobState.COMPLETED)
    assert successor_pool.resumed == [f"{job_id}/inspect"]
    assert f"{job_id}/inspect" not in {request.task_id for request in successor_pool.asked}


@pytest.mark.parametrize("others", [0, 1])
async def test_a_dispatcher_that_stood_still_goes_on_with_a_job_that_it_claims_anew(stage: Stage, others: int) -> None:
    dispatcher, pool = stage.dispatcher("a")
    job_id = await stage.submit("1")
    pool.hold = asyncio.Event()
    async with at_work(dispatcher):
        async with asyncio.timeout(90):
            while not pool.held:
                await asyncio.sleep(0.02)
        held = dispatcher.jobs[job_id]
        again = replace(held.claimed, token=held.claimed.token + 1 + others)
        async with stage.database.write() as session:
            await session.execute(update(Job).where(Job.id == job_id).values(attempt=again.token))
            dispatcher._take(again)
            assert (dispatcher.jobs.get(job_id) is held) == (not others)
        pool.hold.set()
        job, video = await stage.until(job_id, JobState.COMPLETED, JobState.CANCELLED)
    assert (job.state, job.attempt, video.status) == (JobState.COMPLETED, again.token, VideoStatus.READY)
    assert len({request.task_id for request in pool.asked}) == 7
