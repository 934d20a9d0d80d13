"""What operators ask of jobs and nodes, on SQLite and PostgreSQL."""

from __future__ import annotations

import pytest

from cluster.errors import IllegalTransition, RowMissing
from cluster.metadata import jobs, nodes, operations, writes
from cluster.metadata.database import Database
from cluster.metadata.lifecycle import VideoStatus, VideoTrigger
from cluster.metadata.nodes import GONE, GONE_KEPT_S, NodeReport
from cluster.metadata.schema import Job, Video
from cluster.metadata.upkeep import settled_videos
from cluster.metadata.videos import set_video_status
from cluster.metadata.writes import TaskChange
from scheduler.jobs import JobState, TaskKind, TaskState
from tests.contract.rows import NOW, queued_jobs, uploaded_video


async def failed_job(db: Database, fault: str) -> Job:
    (job_id,) = await queued_jobs(db, 1)
    async with db.write() as session:
        (job,) = [each for each in await jobs.claim_jobs(session, "d", NOW, 60, 9) if each.id == job_id]
        done = jobs.NewTask(task_id=f"{job_id}/inspect", kind=TaskKind.INSPECT, position=0, state=TaskState.DONE)
        dead = jobs.NewTask(task_id=f"{job_id}/segment/0", kind=TaskKind.SEGMENT, position=1, state=TaskState.READY)
        await jobs.add_tasks(session, job_id, job.attempt, [done, dead])
        failure = {"code": "x", "fault": fault, "detail": "it broke", "evidence": {}}
        fields = {"state": TaskState.DEAD, "deaths": 2, "attempts": 3, "failure": failure}
        change = TaskChange(job_id=job_id, task_id=dead.task_id, columns=fields)
        await writes.save_tasks(session, {job_id: job.attempt}, [change])
        await set_video_status(session, job.video_id, VideoTrigger.PROCESSING_STARTED, NOW)
        assert await jobs.finish_job(session, job_id, job.attempt, JobState.FAILED, failure, NOW)
        await set_video_status(session, job.video_id, VideoTrigger.FAILED, NOW)
    return job


async def test_dead_letters_are_listed_replayed_and_dropped(db: Database) -> None:
    crashed, dropped = await failed_job(db, "device"), await failed_job(db, "infrastructure")
    await failed_job(db, "input")
    async with db.write() as session:
        assert {job.id for job in await operations.dead_letters(session)} == {crashed.id, dropped.id}
        await operations.drop(session, dropped.id)
    async with db.write() as session:
        assert [job.id for job in await operations.dead_letters(session)] == [crashed.id]
        await operations.replay(session, crashed.id, NOW + 1)
    async with db.write() as session:
        assert await operations.dead_letters(session) == []
        job = await session.get_one(Job, crashed.id)
        assert (job.state, job.failure, job.lease_owner) == (JobState.QUEUED, None, None)
        assert (await session.get_one(Video, job.video_id)).status == VideoStatus.UPLOADED
        done, dead = await jobs.tasks_of(session, crashed.id)
        assert (done.state, dead.state, dead.deaths, dead.attempts) == (TaskState.DONE, TaskState.READY, 0, 3)
        assert [each.id for each in await jobs.claim_jobs(session, "d", NOW + 1, 60, 9)] == [crashed.id]
        with pytest.raises(RowMissing):
            await operations.replay(session, crashed.id, NOW + 2)


async def test_wishes_are_those_of_the_jobs_that_one_holds(db: Database) -> None:
    first, second = await queued_jobs(db, 2)
    async with db.write() as session:
        await jobs.claim_jobs(session, "mine", NOW, 60, 1)
        await operations.reprioritise(session, first, "paid", 4.0)
        await operations.reprioritise(session, second, "verified", None)
        await jobs.set_paused(session, first, True)
    async with db.read() as session:
        (wish,) = await operations.wishes(session, "mine")
        assert (wish.job_id, wish.paused, wish.tier, wish.weight) == (first, True, "paid", 4.0)
        assert (await session.get_one(Job, second)).tier == "verified"
    async with db.write() as session:
        with pytest.raises(IllegalTransition):
            await operations.reprioritise(session, "nobody", "paid", None)


async def test_nodes_are_reported_drained_gone_and_forgotten(db: Database) -> None:
    here = [NodeReport(node_id=f"{n}" * 8, address=f"10.0.0.{n}", state="alive", workers=2, running=1) for n in (1, 2)]
    async with db.write() as session:
        await nodes.report_nodes(session, "east", here, NOW)
        await nodes.report_nodes(session, "west", [], NOW)
        await nodes.ask_to_drain(session, "10.0.0.2", NOW + 60)
    async with db.write() as session:
        assert await nodes.drains(session, "east") == {"22222222": NOW + 60}
        assert await nodes.drains(session, "west") == {}
        await nodes.report_nodes(session, "east", here[1:], NOW + 1)
    async with db.write() as session:
        found = {node.id: node.state for node in await nodes.list_nodes(session)}
        assert found == {"11111111": GONE, "22222222": "alive"}
        assert await nodes.drains(session, "east") == {"22222222": NOW + 60}, "a report leaves what was asked"
        with pytest.raises(RowMissing):
            await nodes.ask_to_drain(session, "1111", None)
        await nodes.report_nodes(session, "east", here[1:], NOW + 1 + GONE_KEPT_S)
        assert [node.id for node in await nodes.list_nodes(session)] == ["22222222"]


async def test_a_walk_over_settled_videos_misses_none(db: Database) -> None:
    ids = sorted([await uploaded_video(db) for _ in range(5)])
    async with db.read() as session:
        place, seen = (0.0, ""), []
        while page := await settled_videos(session, VideoStatus.UPLOADED, place, NOW + 1, 2):
            seen += [video.id for video in page]
            place = (page[-1].updated_at, page[-1].id)
        assert seen == ids
        assert await settled_videos(session, VideoStatus.UPLOADED, (0.0, ""), NOW, 9) == []
