"""A dispatcher's batch on SQLite and PostgreSQL: written by row, fenced by job, all of it or nothing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest
from planned import INFO, plan_of
from sqlalchemy import event

from cluster.breakdown import BACKENDS, planned_tasks
from cluster.claims import ClaimedJob, claim
from cluster.errors import FencedOut, RowMissing
from cluster.ledger import Batch
from cluster.metadata import jobs, writes
from cluster.metadata.database import Database
from cluster.metadata.lifecycle import VideoStatus
from cluster.metadata.schema import Job, Task, Video
from cluster.metadata.writes import TaskChange
from cluster.settings import ClusterSettings
from cluster.tasks import Done
from encoders.errors import Failure, Fault
from scheduler.instructions import FinishJob, SaveJob, SaveTask, StartTask
from scheduler.jobs import JobState, TaskState
from tests.contract.rows import queued_jobs


async def held(db: Database, count: int = 1) -> list[ClaimedJob]:
    """Jobs just claimed, by their ids."""
    for _ in range(count):  # each of a video of its own
        await queued_jobs(db, 1)
    settings = ClusterSettings(job_lease_s=60.0)
    return sorted(await claim(db, "d", settings, count, {}), key=lambda each: each.job_id)


async def take_away(db: Database, job: ClaimedJob) -> None:
    """Another dispatcher has the job now."""
    async with db.write() as session:
        assert await jobs.release_job(session, job.job_id, job.token)
        assert [row.id for row in await jobs.claim_jobs(session, "other", time.time(), 60.0, 1)] == [job.job_id]


async def rows(db: Database, job: ClaimedJob) -> tuple[Job, Video, dict[str, Task]]:
    async with db.read() as session:
        row = await session.get_one(Job, job.job_id)
        tasks = {task.id.partition("/")[2]: task for task in await jobs.tasks_of(session, job.job_id)}
        return row, await session.get_one(Video, job.video_id), tasks


async def write(db: Database, batch: Batch) -> set[str]:
    async with db.write() as session:
        return await batch.write(session)


def start_of(job: ClaimedJob, name: str, attempt: int = 1) -> StartTask:
    return StartTask(
        job_id=job.job_id,
        task_id=f"{job.job_id}/{name}",
        attempt=attempt,
        worker_id="w",
        backend="cpu",
        timeout_s=60.0,
    )


def saved(job: ClaimedJob, name: str, state: TaskState, attempt: int = 1, **more: Any) -> SaveTask:
    return SaveTask(job_id=job.job_id, task_id=f"{job.job_id}/{name}", state=state, attempt=attempt, **more)


def inspected(job: ClaimedJob, batch: Batch, segments: int) -> None:
    plan = plan_of(segments, 1)
    batch.inspected(job, plan, INFO, planned_tasks(job.job_id, plan, INFO, BACKENDS))


async def test_all_that_happens_to_a_job_at_once_is_one_transaction(db: Database) -> None:
    (job,) = await held(db)
    batch = Batch()
    assert not batch
    batch.result(job, start_of(job, "inspect"), Done(engine_s=0.5, wall_s=1.0))
    inspected(job, batch, 2)
    batch.task(job, saved(job, "inspect", TaskState.DONE))
    batch.job(job, SaveJob(job_id=job.job_id, state=JobState.RUNNING))
    batch.task(job, saved(job, "segment/00000", TaskState.RUNNING))
    failure = Failure(code="store_full", fault=Fault.INFRASTRUCTURE, detail="no space")
    batch.task(job, saved(job, "segment/00000", TaskState.WAITING_RETRY, failure=failure, deaths=1))
    batch.task(job, saved(job, "segment/00000", TaskState.RUNNING, attempt=2, deaths=1))
    batch.job(job, SaveJob(job_id=job.job_id, state=JobState.RUNNING, encoder="x264"))
    for share in (0.25, 0.5):
        batch.progress(job, {"360p": share})
    assert await write(db, batch) == set()
    row, video, tasks = await rows(db, job)
    assert (row.state, row.encoder, row.progress) == ("running", "x264", {"360p": 0.5})
    assert (video.status, video.duration_ms) == (VideoStatus.PROCESSING, 10_000)
    inspect, first, second = tasks["inspect"], tasks["segment/00000"], tasks["segment/00001"]
    assert (inspect.state, inspect.engine_s, inspect.worker) == ("done", 0.5, "w")
    assert inspect.result == {"reused": False, "wall_s": 1.0, "timings_s": {}, "warnings": []}
    assert inspect.finished_at is not None
    assert (first.state, first.attempts, first.deaths) == ("running", 2, 1)
    assert first.failure is not None
    assert first.failure["code"] == "store_full"
    assert (second.state, second.attempts) == ("ready", 0)


async def test_a_job_that_was_lost_is_left_alone_and_the_others_are_written(db: Database) -> None:
    lost, kept = await held(db, 2)
    await take_away(db, lost)
    before = await rows(db, lost)
    batch = Batch()
    for job in (lost, kept):
        inspected(job, batch, 1)
        batch.task(job, saved(job, "inspect", TaskState.DONE))
        batch.progress(job, {"360p": 0.5})
        batch.finish(job, FinishJob(job_id=job.job_id, state=JobState.CANCELLED), None)
    assert await write(db, batch) == {lost.job_id}
    row, video, tasks = await rows(db, lost)
    assert (row.attempt, row.lease_owner, row.plan, row.progress, row.state) == (
        lost.token + 1,
        "other",
        None,
        before[0].progress,
        "running",
    )
    assert (video.status, set(tasks), tasks["inspect"].state) == (before[1].status, {"inspect"}, "ready")
    row, video, tasks = await rows(db, kept)
    assert (row.state, row.progress, row.lease_owner) == ("cancelled", {"360p": 0.5}, None)
    assert (video.status_code, tasks["inspect"].state) == ("cancelled", "done")


async def test_a_batch_that_was_not_written_can_be_written_again(db: Database) -> None:
    (job,) = await held(db)
    batch = Batch()
    inspected(job, batch, 2)
    batch.task(job, saved(job, "inspect", TaskState.DONE))

    class Gone(Exception):
        """The database went away before the commit."""

    async def write_and_lose() -> None:
        async with db.write() as session:
            await batch.write(session)
            raise Gone

    with pytest.raises(Gone):
        await write_and_lose()
    assert set((await rows(db, job))[2]) == {"inspect"}
    assert await write(db, batch) == set()
    assert (await rows(db, job))[2]["inspect"].state == "done"


async def test_the_number_of_statements_does_not_grow_with_the_decisions(db: Database) -> None:
    claimed = await held(db, 8)
    batch = Batch()
    for job in claimed:
        inspected(job, batch, 8)
    await write(db, batch)

    async def statements(some: Sequence[ClaimedJob], segments: int) -> int:
        batch = Batch()
        for job in some:
            for number in range(segments):
                name = f"segment/{number:05d}"
                batch.result(job, start_of(job, name), Done(engine_s=1.0, wall_s=1.0))
                batch.task(job, saved(job, name, TaskState.DONE))
                batch.progress(job, {"360p": number / 8})
            batch.task(job, saved(job, f"segment/{segments:05d}", TaskState.RUNNING))
        told: list[str] = []
        async with db.write() as session:
            engine = (await session.connection()).sync_connection
            event.listen(engine, "before_cursor_execute", lambda *what: told.append(what[2]))
            assert await batch.write(session) == set()
        return len(told)

    assert await statements(claimed[:1], 1) == await statements(claimed, 7) == 4


async def test_what_is_not_a_step_of_the_job_is_not_written(db: Database) -> None:
    one, two = await held(db, 2)
    change = TaskChange(job_id=one.job_id, task_id=f"{two.job_id}/inspect", columns={"state": TaskState.DONE})
    with pytest.raises(RowMissing):
        async with db.write() as session:
            await writes.save_tasks(session, {one.job_id: one.token}, [change])
    with pytest.raises(FencedOut):
        async with db.write() as session:
            await writes.save_tasks(session, {one.job_id: one.token + 1}, [change])
    assert (await rows(db, two))[2]["inspect"].state == "ready"
