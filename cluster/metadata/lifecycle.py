"""States of videos and uploads as tables: (status, trigger) -> status.

Rule: a status changes through these tables and nowhere else. A pair that is not here raises `IllegalTransition` with
status and trigger, and nothing changes. From a rejection or failure the owner may retry while the source is kept; the
bytes are not sent again. Jobs and tasks have their tables in `scheduler/transitions.py`.
"""

from __future__ import annotations

from enum import StrEnum

from cluster.errors import IllegalTransition


class VideoStatus(StrEnum):
    """Where a video is on its way."""

    DRAFT = "DRAFT"
    """A row, and no bytes yet."""
    UPLOADING = "UPLOADING"
    UPLOADED = "UPLOADED"
    """The source is whole in storage and a job is queued for it."""
    PROCESSING = "PROCESSING"
    READY = "READY"
    """Every asset is stored and verified; the owner sees it, the public does not."""
    PUBLISHED = "PUBLISHED"
    DELETED = "DELETED"
    REJECTED_TOO_LONG = "REJECTED_TOO_LONG"
    REJECTED_FORMAT = "REJECTED_FORMAT"
    REJECTED_MALWARE = "REJECTED_MALWARE"
    REJECTED_COPYRIGHT = "REJECTED_COPYRIGHT"
    PROCESSING_FAILED = "PROCESSING_FAILED"

    @property
    def rejected(self) -> bool:
        """Whether the farm will not process the source as it is, or could not."""
        return self in _REJECTIONS

    @property
    def playable(self) -> bool:
        """Whether there are assets to play."""
        return self in (VideoStatus.READY, VideoStatus.PUBLISHED)

    @property
    def settled(self) -> bool:
        """Whether nothing happens any more until somebody asks for it."""
        return self.playable or self.rejected or self is VideoStatus.DELETED


class VideoTrigger(StrEnum):
    """What happened to a video."""

    UPLOAD_STARTED = "upload_started"
    UPLOAD_ABANDONED = "upload_abandoned"
    """Its upload was aborted or expired."""
    UPLOAD_COMPLETED = "upload_completed"
    PROCESSING_STARTED = "processing_started"
    """A dispatcher claimed the job; again when another one took it over."""
    FINISHED = "finished"
    TOO_LONG = "too_long"
    BAD_FORMAT = "bad_format"
    MALWARE_FOUND = "malware_found"
    COPYRIGHT_FOUND = "copyright_found"
    FAILED = "failed"
    """Processing failed for good, or the job was cancelled (`status_code` says which)."""
    PUBLISHED = "published"
    UNPUBLISHED = "unpublished"
    RETRIED = "retried"
    DELETED = "deleted"


class UploadStatus(StrEnum):
    """Where an upload session is."""

    INITIATED = "INITIATED"
    IN_PROGRESS = "IN_PROGRESS"
    """At least one part's URL was signed."""
    COMPLETED = "COMPLETED"
    ABORTED = "ABORTED"
    EXPIRED = "EXPIRED"

    @property
    def open(self) -> bool:
        """Whether parts may still be sent."""
        return self in (UploadStatus.INITIATED, UploadStatus.IN_PROGRESS)


class UploadTrigger(StrEnum):
    """What happened to an upload session."""

    PART_SIGNED = "part_signed"
    COMPLETED = "completed"
    ABORTED = "aborted"
    EXPIRED = "expired"


_REJECTIONS = frozenset(
    {
        VideoStatus.REJECTED_TOO_LONG,
        VideoStatus.REJECTED_FORMAT,
        VideoStatus.REJECTED_MALWARE,
        VideoStatus.REJECTED_COPYRIGHT,
        VideoStatus.PROCESSING_FAILED,
    }
)

_ENDINGS = {
    VideoTrigger.TOO_LONG: VideoStatus.REJECTED_TOO_LONG,
    VideoTrigger.BAD_FORMAT: VideoStatus.REJECTED_FORMAT,
    VideoTrigger.MALWARE_FOUND: VideoStatus.REJECTED_MALWARE,
    VideoTrigger.COPYRIGHT_FOUND: VideoStatus.REJECTED_COPYRIGHT,
    VideoTrigger.FAILED: VideoStatus.PROCESSING_FAILED,
}

VIDEO_TRANSITIONS: dict[tuple[VideoStatus, VideoTrigger], VideoStatus] = {
    (VideoStatus.DRAFT, VideoTrigger.UPLOAD_STARTED): VideoStatus.UPLOADING,
    (VideoStatus.DRAFT, VideoTrigger.UPLOAD_ABANDONED): VideoStatus.DRAFT,
    (VideoStatus.UPLOADING, VideoTrigger.UPLOAD_STARTED): VideoStatus.UPLOADING,
    (VideoStatus.UPLOADING, VideoTrigger.UPLOAD_ABANDONED): VideoStatus.DRAFT,
    (VideoStatus.UPLOADING, VideoTrigger.UPLOAD_COMPLETED): VideoStatus.UPLOADED,
    (VideoStatus.UPLOADED, VideoTrigger.PROCESSING_STARTED): VideoStatus.PROCESSING,
    (VideoStatus.PROCESSING, VideoTrigger.PROCESSING_STARTED): VideoStatus.PROCESSING,
    (VideoStatus.PROCESSING, VideoTrigger.FINISHED): VideoStatus.READY,
    (VideoStatus.READY, VideoTrigger.PUBLISHED): VideoStatus.PUBLISHED,
    (VideoStatus.PUBLISHED, VideoTrigger.UNPUBLISHED): VideoStatus.READY,
    **{
        (status, trigger): end
        for status in (VideoStatus.UPLOADED, VideoStatus.PROCESSING)
        for trigger, end in _ENDINGS.items()
    },
    **{(status, VideoTrigger.RETRIED): VideoStatus.UPLOADED for status in _REJECTIONS},
    **{
        (status, VideoTrigger.DELETED): VideoStatus.DELETED
        for status in VideoStatus
        if status is not VideoStatus.DELETED
    },
}

UPLOAD_TRANSITIONS: dict[tuple[UploadStatus, UploadTrigger], UploadStatus] = {
    (UploadStatus.INITIATED, UploadTrigger.PART_SIGNED): UploadStatus.IN_PROGRESS,
    (UploadStatus.INITIATED, UploadTrigger.ABORTED): UploadStatus.ABORTED,
    (UploadStatus.INITIATED, UploadTrigger.EXPIRED): UploadStatus.EXPIRED,
    (UploadStatus.IN_PROGRESS, UploadTrigger.PART_SIGNED): UploadStatus.IN_PROGRESS,
    (UploadStatus.IN_PROGRESS, UploadTrigger.COMPLETED): UploadStatus.COMPLETED,
    (UploadStatus.IN_PROGRESS, UploadTrigger.ABORTED): UploadStatus.ABORTED,
    (UploadStatus.IN_PROGRESS, UploadTrigger.EXPIRED): UploadStatus.EXPIRED,
}


def next_video_status(status: VideoStatus, trigger: VideoTrigger) -> VideoStatus:
    """The status after the trigger.

    Raises:
        IllegalTransition: the table has no such pair.
    """
    try:
        return VIDEO_TRANSITIONS[(status, trigger)]
    except KeyError:
        raise IllegalTransition(f"a video that is {status} cannot take '{trigger}'") from None


def next_upload_status(status: UploadStatus, trigger: UploadTrigger) -> UploadStatus:
    """The status after the trigger.

    Raises:
        IllegalTransition: the table has no such pair.
    """
    try:
        return UPLOAD_TRANSITIONS[(status, trigger)]
    except KeyError:
        raise IllegalTransition(f"an upload that is {status} cannot take '{trigger}'") from None
