"""The queue on SQLite and PostgreSQL: order, claims, fencing, cancellation, restart."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.errors import FencedOut, IllegalTransition, RowMissing
from cluster.metadata import jobs, writes
from cluster.metadata.database import Database
from cluster.metadata.jobs import NewTask
from cluster.metadata.lifecycle import VideoStatus, VideoTrigger
from cluster.metadata.schema import Job, Video
from cluster.metadata.videos import set_video_status
from cluster.metadata.writes import TaskChange
from scheduler.jobs import JobState, TaskKind, TaskState
from tests.contract.rows import NOW, queued_jobs, uploaded_video

LEASE_S = 20.0


async def claim(db: Database, owner: str = "d1", now: float = NOW, limit: int = 10, **terms: Any) -> list[Job]:
    async with db.write() as session:
        return await jobs.claim_jobs(session, owner, now, LEASE_S, limit, **terms)


async def load(db: Database, job_id: str) -> Job:
    async with db.read() as session:
        job = await session.get(Job, job_id)
        assert job is not None
        return job


def tasks(job_id: str, count: int = 2) -> list[NewTask]:
    return [
        NewTask(
            task_id=f"{job_id}/segment/{n}",
            kind=TaskKind.SEGMENT,
            position=n,
            state=TaskState.READY,
            needs=(f"{job_id}/inspect/0",),
            spec={"start": n * 240},
        )
        for n in range(count)
    ]


async def test_first_come_first_claimed(db: Database) -> None:
    ids = await queued_jobs(db, 5)
    first = await claim(db, limit=2)
    assert [job.id for job in first] == ids[:2]
    assert [(job.state, job.attempt, job.lease_owner, job.lease_until) for job in first] == [
        ("running", 1, "d1", NOW + LEASE_S)
    ] * 2
    assert [job.id for job in await claim(db)] == ids[2:]
    assert await claim(db) == []
    assert first[0].seq < first[1].seq


async def test_no_job_is_claimed_twice(db: Database, url: str) -> None:
    ids = await queued_jobs(db, 60)
    others = [Database(url) for _ in range(3)]
    got: Counter[str] = Counter()

    async def drain(database: Database, owner: str) -> None:
        while claimed := await claim(database, owner, limit=3):
            got.update(job.id for job in claimed)
            await asyncio.sleep(0)

    await asyncio.gather(*(drain(one, f"d{n}") for n, one in enumerate([db, *others])))
    for other in others:
        await other.close()
    assert got == Counter(ids)


async def test_sequence_has_no_doubles_under_load(db: Database, url: str) -> None:
    other = Database(url)
    ids = [one for some in await asyncio.gather(*(queued_jobs(d, 5) for d in (db, other) * 4)) for one in some]
    await other.close()
    claimed = await claim(db, limit=100)
    assert sorted(job.id for job in claimed) == sorted(ids)
    assert len({job.seq for job in claimed}) == 40


async def test_lease_that_is_over_goes_to_the_next(db: Database) -> None:
    (job_id,) = await queued_jobs(db, 1)
    await claim(db, "dead", NOW)
    assert await claim(db, "alive", NOW + LEASE_S - 1) == []
    (job,) = await claim(db, "alive", NOW + LEASE_S + 1)
    assert (job.id, job.attempt, job.lease_owner, job.started_at) == (job_id, 2, "alive", NOW)


async def test_abandoned_jobs_go_first(db: Database) -> None:
    ids = await queued_jobs(db, 3)
    await claim(db, "dead", NOW, limit=1)
    assert [job.id for job in await claim(db, "alive", NOW + LEASE_S + 1, limit=1)] == ids[:1]


async def test_what_is_left_alone(db: Database) -> None:
    plain, paused, excluded = await queued_jobs(db, 3)
    (here,) = await queued_jobs(db, 1, affinity="eu")
    (there,) = await queued_jobs(db, 1, affinity="us")
    (paid,) = await queued_jobs(db, 1, tier="paid")
    async with db.write() as session:
        await jobs.set_paused(session, paused, True)
    assert [job.id for job in await claim(db, tier="paid")] == [paid]
    assert [job.id for job in await claim(db, exclude={excluded})] == [plain]
    assert [job.id for job in await claim(db, affinity="eu", exclude=[excluded])] == [here]
    async with db.write() as session:
        await jobs.set_paused(session, paused, False)
    assert {job.id for job in await claim(db, affinity="us")} == {paused, excluded, there}


def inspected(job_id: str) -> TaskChange:
    return TaskChange(job_id=job_id, task_id=f"{job_id}/inspect/0", columns={"state": TaskState.DONE})


WRITES: dict[str, Callable[[AsyncSession, str, int], Awaitable[Any]]] = {
    "save_job": lambda s, job_id, token: jobs.save_job(s, job_id, token, encoder="cpu"),
    "save_plan": lambda s, job_id, token: jobs.save_plan(s, job_id, token, {"a": 1}, {"b": 2}, tasks(job_id)),
    "add_tasks": lambda s, job_id, token: jobs.add_tasks(s, job_id, token, tasks(job_id)),
    "save_tasks": lambda s, job_id, token: writes.save_tasks(s, {job_id: token}, [inspected(job_id)]),
    "save_jobs": lambda s, job_id, token: writes.save_jobs(s, {job_id: token}, {job_id: {"progress": {"720p": 0.5}}}),
    "finish_job": lambda s, job_id, token: jobs.finish_job(s, job_id, token, JobState.COMPLETED, None, NOW),
    "release_job": lambda s, job_id, token: jobs.release_job(s, job_id, token),
}


@pytest.mark.parametrize("name", WRITES)
async def test_stale_claim_writes_nothing(db: Database, name: str) -> None:
    (job_id,) = await queued_jobs(db, 1)
    (old,) = await claim(db, "old", NOW)
    async with db.write() as session:
        inspect = NewTask(task_id=f"{job_id}/inspect/0", kind=TaskKind.INSPECT, position=0, state=TaskState.READY)
        await jobs.add_tasks(session, job_id, old.attempt, [inspect])
    (new,) = await claim(db, "new", NOW + LEASE_S + 1)
    before = await load(db, job_id)
    try:
        async with db.write() as session:
            refused = await WRITES[name](session, job_id, old.attempt) is False
    except FencedOut:
        refused = True
    assert refused
    after = await load(db, job_id)
    assert {c.key: getattr(after, c.key) for c in Job.__table__.columns} == {
        c.key: getattr(before, c.key) for c in Job.__table__.columns
    }
    async with db.read() as session:
        assert [task.state for task in await jobs.tasks_of(session, job_id)] == ["ready"]
    async with db.write() as session:
        assert await WRITES[name](session, job_id, new.attempt) is not False


@pytest.mark.parametrize("name", WRITES)
async def test_released_claim_writes_nothing(db: Database, name: str) -> None:
    (job_id,) = await queued_jobs(db, 1)
    (job,) = await claim(db)
    async with db.write() as session:
        assert await jobs.release_job(session, job_id, job.attempt)
    try:
        async with db.write() as session:
            assert await WRITES[name](session, job_id, job.attempt) is False
    except FencedOut:
        pass
    assert [(job.id, job.attempt) for job in await claim(db, "d2")] == [(job_id, 2)]


async def test_renewal_tells_what_was_lost(db: Database) -> None:
    kept, taken, finished = await queued_jobs(db, 3)
    claims = {job.id: job.attempt for job in await claim(db, "d1", NOW)}
    async with db.write() as session:
        await jobs.finish_job(session, finished, claims[finished], JobState.FAILED, {"code": "x"}, NOW)
        assert await jobs.renew_leases(session, "d1", {kept: claims[kept]}, NOW + 15, LEASE_S) == set()
    assert [job.id for job in await claim(db, "d2", NOW + LEASE_S + 1)] == [taken]
    async with db.write() as session:
        assert await jobs.renew_leases(session, "d1", claims, NOW + 22, LEASE_S) == {taken, finished}
        assert await jobs.renew_leases(session, "d1", {}, NOW + 22, LEASE_S) == set()
    assert (await load(db, kept)).lease_until == NOW + 22 + LEASE_S


async def test_late_renewal_holds_when_nobody_came(db: Database) -> None:
    (job_id,) = await queued_jobs(db, 1)
    (job,) = await claim(db)
    async with db.write() as session:
        assert await jobs.renew_leases(session, "d1", {job_id: job.attempt}, NOW + 100, LEASE_S) == set()
    assert await claim(db, "d2", NOW + 101) == []


async def test_restart_finds_plan_and_tasks(db: Database, url: str) -> None:
    (job_id,) = await queued_jobs(db, 1)
    (job,) = await claim(db, "dead")
    async with db.write() as session:
        await jobs.save_plan(session, job_id, job.attempt, {"width": 1920}, {"segments": 2}, tasks(job_id))
        columns = {"state": TaskState.DONE, "attempts": 1, "result": {"key": "seg/0"}, "engine_s": 1.5}
        change = TaskChange(job_id=job_id, task_id=f"{job_id}/segment/0", columns=columns)
        await writes.save_tasks(session, {job_id: job.attempt}, [change])
    again = Database(url)
    (job,) = await claim(again, "alive", NOW + LEASE_S + 1)
    async with again.write() as session:
        await jobs.save_plan(session, job_id, job.attempt, {"width": 1920}, {"segments": 2}, tasks(job_id, 3))
        first, second, third = await jobs.tasks_of(session, job_id)
    await again.close()
    assert (job.info, job.plan) == ({"width": 1920}, {"segments": 2})
    assert (first.state, first.result, first.engine_s) == ("done", {"key": "seg/0"}, 1.5)
    assert (second.state, second.needs, second.spec) == ("ready", [f"{job_id}/inspect/0"], {"start": 240})
    assert third.id == f"{job_id}/segment/2"


async def test_finished_job_is_over(db: Database) -> None:
    (job_id,) = await queued_jobs(db, 1)
    (job,) = await claim(db)
    async with db.write() as session:
        with pytest.raises(ValueError, match="not an end"):
            await jobs.finish_job(session, job_id, job.attempt, JobState.RUNNING, None, NOW)
        failure = {"code": "damaged", "fault": "input"}
        assert await jobs.finish_job(session, job_id, job.attempt, JobState.FAILED, failure, NOW + 9)
    row = await load(db, job_id)
    assert (row.state, row.failure, row.finished_at, row.lease_owner) == ("failed", failure, NOW + 9, None)
    assert await claim(db, "d2", NOW + 1e6) == []
    async with db.write() as session:
        assert not await jobs.request_cancel(session, job_id, NOW)
    with pytest.raises(IllegalTransition):
        async with db.write() as session:
            await jobs.set_paused(session, job_id, True)


async def test_cancel_before_the_claim_ends_the_job_and_its_video(db: Database) -> None:
    (job_id,) = await queued_jobs(db, 1)
    async with db.write() as session:
        assert await jobs.request_cancel(session, job_id, NOW + 1)
    job = await load(db, job_id)
    assert (job.state, job.finished_at) == ("cancelled", NOW + 1)
    async with db.read() as session:
        video = await session.get(Video, job.video_id)
        assert video is not None
        assert (video.status, video.status_code) == (VideoStatus.PROCESSING_FAILED, "cancelled")
    assert await claim(db) == []


async def test_cancel_of_a_claimed_job_is_a_wish(db: Database) -> None:
    mine, other = await queued_jobs(db, 2)
    await claim(db, "d1", limit=1)
    await claim(db, "d2", limit=1)
    async with db.write() as session:
        assert await jobs.request_cancel(session, mine, NOW)
        assert await jobs.request_cancel(session, other, NOW)
        assert await jobs.cancel_requests(session, "d1") == [mine]
    assert (await load(db, mine)).state == "running"


async def test_cancelled_and_paused_job_of_a_dead_dispatcher_is_found(db: Database) -> None:
    (job_id,) = await queued_jobs(db, 1)
    await claim(db, "dead")
    async with db.write() as session:
        await jobs.set_paused(session, job_id, True)
    assert await claim(db, "alive", NOW + LEASE_S + 1) == []
    async with db.write() as session:
        assert await jobs.request_cancel(session, job_id, NOW)
    (job,) = await claim(db, "alive", NOW + LEASE_S + 1)
    assert (job.id, job.cancel_requested) == (job_id, True)


async def test_counts(db: Database) -> None:
    await queued_jobs(db, 2, "ann", tier="paid")
    await queued_jobs(db, 3, "bob")
    await claim(db, limit=1, tier="free")
    async with db.read() as session:
        assert await jobs.queue_depths(session) == {
            ("paid", "queued"): 2,
            ("free", "queued"): 2,
            ("free", "running"): 1,
        }
        assert await jobs.count_active_jobs(session, "bob") == 3
        assert await jobs.count_active_jobs(session, None) == 5
        assert await jobs.count_active_jobs(session, "eve") == 0


async def test_jobs_are_their_owners(db: Database) -> None:
    video_id = await uploaded_video(db)
    async with db.write() as session:
        await jobs.enqueue_job(session, jobs.NewJob(video_id=video_id, user_id="ann", tier="free", profile="p"), NOW)
        last = await jobs.enqueue_job(
            session,
            jobs.NewJob(video_id=video_id, user_id="ann", tier="free", profile="p", options={"trim_s": 30}),
            NOW,
        )
        await set_video_status(session, video_id, VideoTrigger.PROCESSING_STARTED, NOW)
    async with db.read() as session:
        latest = await jobs.latest_job(session, "ann", video_id)
        assert latest is not None
        assert (latest.id, latest.options, latest.gpu, latest.paused) == (last.id, {"trim_s": 30}, "prefer", False)
        assert await jobs.jobs_ahead(session, latest) == 1
        assert (await jobs.job_of(session, "ann", last.id)).id == last.id
        assert await jobs.latest_job(session, "eve", video_id) is None
        with pytest.raises(RowMissing):
            await jobs.job_of(session, "eve", last.id)
