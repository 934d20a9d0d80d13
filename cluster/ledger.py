"""What a dispatcher writes of its jobs, in its own terms: instructions and outcomes become row changes.

Each writer here is a function of a session, so that the dispatcher can put all decisions of a batch into one
transaction. Every one is fenced by the claim's token; a stale claim raises `FencedOut` and nothing of the transaction
is kept.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy.ext.asyncio import AsyncSession

from cluster import layout
from cluster.claims import INFO, PLAN, ClaimedJob
from cluster.errors import FencedOut
from cluster.metadata import events, jobs, videos
from cluster.metadata.lifecycle import VideoStatus, VideoTrigger
from cluster.metadata.schema import Video
from cluster.tasks import Done
from encoders.errors import Failure, Fault
from encoders.media import MediaInfo
from encoders.plan import Plan
from encoders.recognition.known import KnownContent
from scheduler import instructions
from scheduler.jobs import JobState, TaskSpec, TaskState

Write = Callable[[AsyncSession], Awaitable[None]]

FAILURE = TypeAdapter(Failure)
SPEC = TypeAdapter(TaskSpec)
KNOWN = TypeAdapter(KnownContent | None)

TRIGGERS = {
    "too_long": VideoTrigger.TOO_LONG,
    "copyright": VideoTrigger.COPYRIGHT_FOUND,
    "malware": VideoTrigger.MALWARE_FOUND,
}
"""What a job's failure code makes of its video; any other INPUT failure is a bad format, any other failure a
failure."""


def plan(claimed: ClaimedJob, made: Plan, info: MediaInfo, tasks: Iterable[TaskSpec]) -> Write:
    """The source was inspected: its plan, its tasks, and what is now known of the video."""

    async def write(session: AsyncSession) -> None:
        rows = [
            jobs.NewTask(
                task_id=task.task_id,
                kind=task.kind,
                position=task.position + 1,
                state=TaskState.BLOCKED if task.needs else TaskState.READY,
                needs=task.needs,
                spec=SPEC.dump_python(task, mode="json"),
            )
            for task in tasks
        ]
        await jobs.save_plan(
            session,
            claimed.job_id,
            claimed.token,
            INFO.dump_python(info, mode="json"),
            PLAN.dump_python(made, mode="json"),
            rows,
        )
        video = await session.get_one(Video, claimed.video_id)
        video.duration_ms = round(info.duration_s * 1000)
        video.source_sha256 = info.sha256
        if info.video:
            wide, tall = info.video.display_size
            video.width, video.height = round(wide), round(tall)
            video.fps = str(made.grid.fps) if made.grid else None

    return write


def result(claimed: ClaimedJob, start: instructions.StartTask, done: Done) -> Write:
    """What an attempt brought, for people: the work itself is in the store."""

    async def write(session: AsyncSession) -> None:
        await jobs.save_task(
            session,
            claimed.job_id,
            claimed.token,
            start.task_id,
            result={
                "reused": done.reused,
                "wall_s": done.wall_s,
                "timings_s": dict(done.timings_s),
                "warnings": list(done.warnings),
            },
            worker=start.worker_id,
            backend=start.backend,
            engine_s=done.engine_s,
        )

    return write


def progress(claimed: ClaimedJob, renditions: dict[str, float]) -> Write:
    """How much of each rendition is done, 0 to 1."""

    async def write(session: AsyncSession) -> None:
        await jobs.set_progress(session, claimed.job_id, claimed.token, renditions)

    return write


def task(claimed: ClaimedJob, save: instructions.SaveTask) -> Write:
    """Where a task stands."""

    async def write(session: AsyncSession) -> None:
        fields: dict[str, Any] = {"state": save.state, "attempts": save.attempt, "deaths": save.deaths}
        if save.failure is not None:
            fields["failure"] = FAILURE.dump_python(save.failure, mode="json")
        if save.state is TaskState.RUNNING:
            fields["started_at"] = time.time()
        if save.state in (TaskState.DONE, TaskState.DEAD, TaskState.CANCELLED):
            fields["finished_at"] = time.time()
        await jobs.save_task(session, claimed.job_id, claimed.token, save.task_id, **fields)

    return write


def job(claimed: ClaimedJob, save: instructions.SaveJob) -> Write:
    """Where a job stands; its video is PROCESSING from the first attempt on."""

    async def write(session: AsyncSession) -> None:
        fields: dict[str, Any] = {"state": save.state, "encoder": save.encoder}
        if claimed.plan is not None:
            fields["plan"] = PLAN.dump_python(claimed.plan, mode="json")
        await jobs.save_job(session, claimed.job_id, claimed.token, **fields)
        if save.state is JobState.RUNNING:
            video = await session.get_one(Video, claimed.video_id)
            if video.status == VideoStatus.UPLOADED:
                await videos.set_video_status(session, claimed.video_id, VideoTrigger.PROCESSING_STARTED, time.time())

    return write


def notes(claimed: ClaimedJob) -> Write:
    """What its plan says of how the asset came about; nothing while it has none."""

    async def write(session: AsyncSession) -> None:
        if claimed.plan is not None:
            plan = PLAN.dump_python(claimed.plan, mode="json")
            await jobs.save_job(session, claimed.job_id, claimed.token, plan=plan)

    return write


def finish(claimed: ClaimedJob, end: instructions.FinishJob, done: Done | None) -> Write:
    """A job is over: its assets, its video and the event, in one transaction."""

    async def write(session: AsyncSession) -> None:
        now = time.time()
        failure = FAILURE.dump_python(end.failure, mode="json") if end.failure else None
        if not await jobs.finish_job(session, claimed.job_id, claimed.token, end.state, failure, now):
            raise FencedOut(f"claim {claimed.token} of job {claimed.job_id} is stale")
        if end.state is JobState.COMPLETED and claimed.plan is not None and done is not None:
            prefix = layout.asset_prefix(claimed.video_id, claimed.plan)
            settled = VideoTrigger.FINISHED
            known = KNOWN.dump_python(done.known_content, mode="json")
            video = await videos.settle_video(
                session, claimed.video_id, settled, now, asset_prefix=prefix, known_content=known
            )
            if video is not None:
                await videos.add_assets(session, claimed.video_id, claimed.job_id, _rows(done))
                if done.known_content is not None and done.known_content.matches:
                    body = {"video_id": video.id, **known}
                    events.append(session, now, "video.known_content", video.user_id, video_id=video.id, body=body)
            return
        code, detail, trigger = _verdict(end)
        await videos.settle_video(session, claimed.video_id, trigger, now, status_code=code, status_detail=detail)

    return write


def _rows(done: Done) -> list[videos.NewAsset]:
    return [
        videos.NewAsset(
            kind=each.kind,
            key=each.key,
            content_type=each.content_type,
            bytes=each.size_bytes,
            width=each.width,
            height=each.height,
            bandwidth_bps=each.bandwidth_bps,
        )
        for each in done.assets
    ]


def _verdict(end: instructions.FinishJob) -> tuple[str, str, VideoTrigger]:
    """(code, detail, trigger) of a job that did not complete."""
    if end.state is JobState.CANCELLED:
        return "cancelled", "The job was cancelled.", VideoTrigger.FAILED
    failure = end.failure or Failure(code="internal", fault=Fault.INFRASTRUCTURE, detail="The job failed.")
    if failure.code in TRIGGERS:
        return failure.code, failure.detail, TRIGGERS[failure.code]
    trigger = VideoTrigger.BAD_FORMAT if failure.fault is Fault.INPUT else VideoTrigger.FAILED
    return failure.code, failure.detail, trigger
