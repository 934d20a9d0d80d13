"""Rows as wire models: the one place where a column becomes a field that clients see."""

from __future__ import annotations

from pydantic import TypeAdapter

from cluster.metadata.lifecycle import UploadStatus, VideoStatus
from cluster.metadata.schema import Job, Upload, Video
from cluster.storage.base import Part, SignedUrl
from encoders.recognition.known import KnownContent
from gateway import publish, schemas
from gateway.publish import MediaLinks
from gateway.schemas import moment, moment_or_none
from gateway.videos import VideoView
from scheduler.jobs import JobState, Tier

_KNOWN = TypeAdapter(KnownContent | None)
CANCELLED = schemas.Rejection(
    code="cancelled", detail="The job was cancelled.", hint="Retry the video to run it again."
)


def progress(status: VideoStatus, job: Job | None) -> schemas.Progress:
    """How far a video is: its renditions' mean, which is 100 once it can be played."""
    fractions = dict(job.progress) if job else {}
    if status.playable:
        fractions = dict.fromkeys(fractions, 1.0)
        return _progress(fractions, 1.0)
    mean = sum(fractions.values()) / len(fractions) if fractions else 0.0
    # Packaging and its check come after the last segment: only READY is 100.
    return _progress(fractions, min(mean, 0.99))


def _progress(fractions: dict[str, float], whole: float) -> schemas.Progress:
    def percent(fraction: float) -> float:
        return round(100 * min(max(fraction, 0.0), 1.0), 1)

    return schemas.Progress(
        percent=percent(whole),
        renditions=[
            schemas.RenditionProgress(name=name, percent=percent(fraction))
            for name, fraction in sorted(fractions.items(), key=lambda item: (len(item[0]), item[0]))
        ],
    )


def rejection(video: Video) -> schemas.Rejection | None:
    """Why a video was not processed; None when it was, or may still be."""
    if not VideoStatus(video.status).rejected:
        return None
    return schemas.Rejection(
        code=video.status_code or "processing_failed", detail=video.status_detail, hint=video.status_hint
    )


def known_content(video: Video) -> KnownContent | None:
    """Registered works found in a video; None when it was not compared with any, or is no longer what it was then."""
    return _KNOWN.validate_python(video.known_content) if VideoStatus(video.status).playable else None


def summary(view: VideoView, links: MediaLinks, now: float) -> schemas.VideoSummary:
    """A video as lists show it."""
    video = view.video
    status = VideoStatus(video.status)
    return schemas.VideoSummary(
        video_id=video.id,
        title=video.title,
        category=video.category,
        visibility=schemas.Visibility(video.visibility),
        status=status,
        profile=video.profile,
        progress=progress(status, view.job),
        rejection=rejection(video),
        known_content=known_content(video),
        job_id=view.job.id if view.job else None,
        duration_ms=video.duration_ms,
        width=video.width,
        height=video.height,
        fps=video.fps,
        file_size_bytes=video.size_bytes,
        thumbnail_url=publish.thumbnail_url(links, video, view.thumbnail_key, now),
        created_at=moment(video.created_at),
        updated_at=moment(video.updated_at),
        published_at=moment_or_none(video.published_at),
    )


def status(view: VideoView, links: MediaLinks, now: float) -> schemas.StatusResponse:
    """Where a video is on its way."""
    found = VideoStatus(view.video.status)
    return schemas.StatusResponse(
        video_id=view.video.id,
        title=view.video.title,
        status=found,
        progress=progress(found, view.job),
        rejection=rejection(view.video),
        known_content=known_content(view.video),
        job_id=view.job.id if view.job else None,
        thumbnail_url=publish.thumbnail_url(links, view.video, view.thumbnail_key, now),
    )


def upload(row: Upload, state: UploadStatus, parts: list[Part]) -> schemas.UploadResponse:
    """An upload session with the parts that storage holds."""
    return schemas.UploadResponse(
        upload_id=row.id,
        video_id=row.video_id,
        status=state,
        file_size_bytes=row.size_bytes,
        part_size_bytes=row.part_size_bytes,
        part_count=row.part_count,
        parts=[
            schemas.ReceivedPart(part_number=part.number, etag=f'"{part.etag}"', size_bytes=part.size_bytes)
            for part in parts
        ],
        expires_at=moment(row.expires_at),
        completed_at=moment_or_none(row.completed_at),
    )


def signed_part(number: int, signed: SignedUrl) -> schemas.SignedPart:
    """Where a part goes."""
    return schemas.SignedPart(
        part_number=number,
        presigned_url=signed.url,
        headers=dict(signed.headers),
        expires_at=moment(signed.expires_at),
    )


def job(row: Job) -> schemas.JobResponse:
    """A job as its owner sees it; evidence of a failure stays in the farm."""
    state = JobState(row.state)
    failure = CANCELLED if state is JobState.CANCELLED else None
    if row.failure:
        failure = schemas.Rejection(code=str(row.failure["code"]), detail=str(row.failure["detail"]), hint=None)
    found = VideoStatus.READY if state is JobState.COMPLETED else VideoStatus.PROCESSING
    return schemas.JobResponse(
        job_id=row.id,
        video_id=row.video_id,
        state=state,
        tier=Tier(row.tier),
        profile=row.profile,
        progress=progress(found, row),
        failure=failure,
        attempt=row.attempt,
        cancel_requested=row.cancel_requested,
        created_at=moment(row.created_at),
        started_at=moment_or_none(row.started_at),
        finished_at=moment_or_none(row.finished_at),
    )
