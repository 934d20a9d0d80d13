"""What a dispatcher writes of its jobs, in its own terms: instructions and outcomes become row changes.

All that a batch of decisions changes is gathered first, by row, and written in one transaction by a handful of
statements: a task that ended and was decided about is one row changed once, whatever number of decisions says so. What
does not change is not written again. Every job's claim is fenced by its token.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy.ext.asyncio import AsyncSession

from cluster import layout
from cluster.claims import INFO, PLAN, ClaimedJob
from cluster.errors import FencedOut
from cluster.metadata import events, jobs, videos, writes
from cluster.metadata.lifecycle import VideoStatus, VideoTrigger
from cluster.metadata.schema import Video
from cluster.metadata.writes import TaskChange
from cluster.tasks import Done
from encoders.errors import Failure, Fault
from encoders.media import MediaInfo
from encoders.plan import Plan
from encoders.recognition.known import KnownContent
from scheduler import instructions
from scheduler.jobs import JobState, TaskSpec, TaskState

Step = Callable[[AsyncSession], Awaitable[None]]
"""A write that a job needs once or twice in its life."""

FAILURE = TypeAdapter(Failure)
SPEC = TypeAdapter(TaskSpec)
KNOWN = TypeAdapter(KnownContent | None)

TRIGGERS = {
    "too_long": VideoTrigger.TOO_LONG,
    "copyright": VideoTrigger.COPYRIGHT_FOUND,
    "malware": VideoTrigger.MALWARE_FOUND,
    # The format is right; an owner who has no better copy may retry with a profile that takes more damage.
    "too_damaged": VideoTrigger.FAILED,
}
"""What a job's failure code makes of its video; any other INPUT failure is a bad format, any other failure a
failure."""


class Batch:
    """The row changes of one transaction."""

    def __init__(self) -> None:
        self._claims: dict[str, int] = {}
        self._tasks: dict[str, TaskChange] = {}
        self._jobs: dict[str, dict[str, Any]] = {}
        self._before: list[tuple[str, Step]] = []
        self._after: list[tuple[str, Step]] = []

    def __bool__(self) -> bool:
        return bool(self._claims)

    async def write(self, session: AsyncSession) -> set[str]:
        """Write it all, but for jobs whose claims are stale: nothing of those is written.

        Returns:
            their ids.
        """
        lost = await writes.hold(session, self._claims)
        for job_id, step in self._before:
            if job_id not in lost:
                await step(session)
        tasks = [change for change in self._tasks.values() if change.job_id not in lost]
        await writes.save_tasks(session, self._claims, tasks)
        jobs_kept = {job_id: columns for job_id, columns in self._jobs.items() if job_id not in lost}
        await writes.save_jobs(session, self._claims, jobs_kept)
        for job_id, step in self._after:
            if job_id not in lost:
                await step(session)
        return lost

    # -- what is decided of tasks

    def task(self, claimed: ClaimedJob, save: instructions.SaveTask) -> None:
        """Where a task stands."""
        columns: dict[str, Any] = {"state": save.state, "attempts": save.attempt, "deaths": save.deaths}
        if save.failure is not None:
            columns["failure"] = FAILURE.dump_python(save.failure, mode="json")
        if save.state is TaskState.RUNNING:
            columns["started_at"] = time.time()
        if save.state in (TaskState.DONE, TaskState.DEAD, TaskState.CANCELLED):
            columns["finished_at"] = time.time()
        self._change_task(claimed, save.task_id, columns)

    def result(self, claimed: ClaimedJob, start: instructions.StartTask, done: Done) -> None:
        """What an attempt brought, for people: the work itself is in the store."""
        result = {
            "reused": done.reused,
            "wall_s": done.wall_s,
            "timings_s": dict(done.timings_s),
            "warnings": list(done.warnings),
        }
        columns = {"result": result, "worker": start.worker_id, "backend": start.backend, "engine_s": done.engine_s}
        self._change_task(claimed, start.task_id, columns)

    def _change_task(self, claimed: ClaimedJob, task_id: str, columns: Mapping[str, Any]) -> None:
        self._claims[claimed.job_id] = claimed.token
        before = self._tasks.get(task_id)
        merged = columns if before is None else {**before.columns, **columns}
        self._tasks[task_id] = TaskChange(job_id=claimed.job_id, task_id=task_id, columns=merged)

    # -- what is decided of jobs

    def job(self, claimed: ClaimedJob, save: instructions.SaveJob) -> None:
        """Where a job stands; its video is PROCESSING from the first attempt on."""
        self._change_job(claimed, state=save.state, encoder=save.encoder)
        if save.state is JobState.RUNNING:
            self._after.append((claimed.job_id, partial(_begin_video, claimed.video_id, time.time())))

    def progress(self, claimed: ClaimedJob, renditions: dict[str, float]) -> None:
        """How much of each rendition is done, 0 to 1."""
        self._change_job(claimed, progress=renditions)

    def plan(self, claimed: ClaimedJob) -> None:
        """Another plan than the one that was written: for another encoder, or with a note."""
        if claimed.plan is not None:
            self._change_job(claimed, plan=PLAN.dump_python(claimed.plan, mode="json"))

    def inspected(self, claimed: ClaimedJob, plan: Plan, info: MediaInfo, tasks: Iterable[TaskSpec]) -> None:
        """The source was inspected: its plan, its tasks, and what is now known of the video."""
        self._claims[claimed.job_id] = claimed.token
        self._before.append((claimed.job_id, partial(_save_plan, claimed, plan, info, tuple(tasks))))

    def finish(self, claimed: ClaimedJob, end: instructions.FinishJob, done: Done | None) -> None:
        """A job is over: its assets, its video and the event, in this transaction."""
        self._claims[claimed.job_id] = claimed.token
        self._after.append((claimed.job_id, partial(_finish, claimed, end, done)))

    def _change_job(self, claimed: ClaimedJob, **columns: Any) -> None:
        self._claims[claimed.job_id] = claimed.token
        self._jobs.setdefault(claimed.job_id, {}).update(columns)


async def _save_plan(
    claimed: ClaimedJob, plan: Plan, info: MediaInfo, tasks: Sequence[TaskSpec], session: AsyncSession
) -> None:
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
        PLAN.dump_python(plan, mode="json"),
        rows,
    )
    video = await session.get_one(Video, claimed.video_id)
    video.duration_ms = round(info.duration_s * 1000)
    video.source_sha256 = info.sha256
    if info.video:
        wide, tall = info.video.display_size
        video.width, video.height = round(wide), round(tall)
        video.fps = str(plan.grid.fps) if plan.grid else None


async def _begin_video(video_id: str, at: float, session: AsyncSession) -> None:
    video = await session.get_one(Video, video_id)
    if video.status == VideoStatus.UPLOADED:
        await videos.set_video_status(session, video_id, VideoTrigger.PROCESSING_STARTED, at)


async def _finish(claimed: ClaimedJob, end: instructions.FinishJob, done: Done | None, session: AsyncSession) -> None:
    now = time.time()
    failure = FAILURE.dump_python(end.failure, mode="json") if end.failure else None
    if not await jobs.finish_job(session, claimed.job_id, claimed.token, end.state, failure, now):
        raise FencedOut(f"claim {claimed.token} of job {claimed.job_id} is stale")
    if end.state is JobState.COMPLETED and claimed.plan is not None and done is not None:
        prefix = layout.asset_prefix(claimed.video_id, claimed.plan)
        known = KNOWN.dump_python(done.known_content, mode="json")
        video = await videos.settle_video(
            session, claimed.video_id, VideoTrigger.FINISHED, now, asset_prefix=prefix, known_content=known
        )
        if video is not None:
            await videos.add_assets(session, claimed.video_id, claimed.job_id, _rows(done))
            if done.known_content is not None and done.known_content.matches:
                body = {"video_id": video.id, **known}
                events.append(session, now, "video.known_content", video.user_id, video_id=video.id, body=body)
        return
    code, detail, trigger = verdict_on(end)
    await videos.settle_video(session, claimed.video_id, trigger, now, status_code=code, status_detail=detail)


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


def verdict_on(end: instructions.FinishJob) -> tuple[str, str, VideoTrigger]:
    """(code, detail, trigger) of a job that did not complete."""
    if end.state is JobState.CANCELLED:
        return "cancelled", "The job was cancelled.", VideoTrigger.FAILED
    failure = end.failure or Failure(code="internal", fault=Fault.INFRASTRUCTURE, detail="The job failed.")
    if failure.code in TRIGGERS:
        return failure.code, failure.detail, TRIGGERS[failure.code]
    trigger = VideoTrigger.BAD_FORMAT if failure.fault is Fault.INPUT else VideoTrigger.FAILED
    return failure.code, failure.detail, trigger
