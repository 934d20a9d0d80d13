"""Every pair of the tables, and every pair that is not in them."""

from __future__ import annotations

import pytest

from cluster.errors import IllegalTransition
from cluster.metadata.lifecycle import (
    UPLOAD_TRANSITIONS,
    VIDEO_TRANSITIONS,
    UploadStatus,
    UploadTrigger,
    VideoStatus,
    VideoTrigger,
    next_upload_status,
    next_video_status,
)

REJECTIONS = {status for status in VideoStatus if status.name.startswith("REJECTED")} | {VideoStatus.PROCESSING_FAILED}

EXPECTED = {
    "DRAFT": {"upload_started": "UPLOADING", "upload_abandoned": "DRAFT"},
    "UPLOADING": {"upload_started": "UPLOADING", "upload_abandoned": "DRAFT", "upload_completed": "UPLOADED"},
    "UPLOADED": {"processing_started": "PROCESSING"},
    "PROCESSING": {"processing_started": "PROCESSING", "finished": "READY"},
    "READY": {"published": "PUBLISHED"},
    "PUBLISHED": {"unpublished": "READY"},
    "DELETED": {},
}
ENDINGS = {
    "too_long": "REJECTED_TOO_LONG",
    "bad_format": "REJECTED_FORMAT",
    "malware_found": "REJECTED_MALWARE",
    "copyright_found": "REJECTED_COPYRIGHT",
    "failed": "PROCESSING_FAILED",
}


def expected(status: VideoStatus, trigger: VideoTrigger) -> str | None:
    if trigger is VideoTrigger.DELETED:
        return None if status is VideoStatus.DELETED else "DELETED"
    if trigger is VideoTrigger.RETRIED:
        return "UPLOADED" if status in REJECTIONS else None
    if trigger in ENDINGS:
        return ENDINGS[trigger] if status in ("UPLOADED", "PROCESSING") else None
    return EXPECTED.get(status, {}).get(trigger)


@pytest.mark.parametrize("status", VideoStatus)
@pytest.mark.parametrize("trigger", VideoTrigger)
def test_videos(status: VideoStatus, trigger: VideoTrigger) -> None:
    after = expected(status, trigger)
    if after is None:
        with pytest.raises(IllegalTransition, match=rf"{status}.*{trigger}"):
            next_video_status(status, trigger)
    else:
        assert next_video_status(status, trigger) == after


@pytest.mark.parametrize("status", UploadStatus)
@pytest.mark.parametrize("trigger", UploadTrigger)
def test_uploads(status: UploadStatus, trigger: UploadTrigger) -> None:
    ends = {"aborted": "ABORTED", "expired": "EXPIRED"}
    after = None
    if status.open:
        after = ends.get(trigger) or ("IN_PROGRESS" if trigger is UploadTrigger.PART_SIGNED else None)
    if (status, trigger) == (UploadStatus.IN_PROGRESS, UploadTrigger.COMPLETED):
        after = "COMPLETED"
    if after is None:
        with pytest.raises(IllegalTransition, match=rf"{status}.*{trigger}"):
            next_upload_status(status, trigger)
    else:
        assert next_upload_status(status, trigger) == after


def test_every_status_can_be_reached() -> None:
    assert set(VIDEO_TRANSITIONS.values()) == set(VideoStatus)
    assert set(UPLOAD_TRANSITIONS.values()) == set(UploadStatus) - {UploadStatus.INITIATED}


def test_what_statuses_mean() -> None:
    assert {status for status in VideoStatus if status.rejected} == REJECTIONS
    assert {status for status in VideoStatus if status.playable} == {VideoStatus.READY, VideoStatus.PUBLISHED}
    moving = {VideoStatus.DRAFT, VideoStatus.UPLOADING, VideoStatus.UPLOADED, VideoStatus.PROCESSING}
    assert {status for status in VideoStatus if not status.settled} == moving
