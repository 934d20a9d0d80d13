"""What becomes of a video whose job did not complete: by whose fault, and by codes that have a state of their own."""

from __future__ import annotations

import pytest

from cluster.ledger import verdict_on
from cluster.metadata.lifecycle import VIDEO_TRANSITIONS, VideoStatus
from encoders.errors import Failure, Fault
from scheduler.instructions import FinishJob
from scheduler.jobs import JobState


@pytest.mark.parametrize(
    ("code", "fault", "status"),
    [
        ("damaged", Fault.INPUT, VideoStatus.REJECTED_FORMAT),
        ("too_damaged", Fault.INPUT, VideoStatus.PROCESSING_FAILED),
        ("too_long", Fault.INPUT, VideoStatus.REJECTED_TOO_LONG),
        ("copyright", Fault.INPUT, VideoStatus.REJECTED_COPYRIGHT),
        ("worker_lost", Fault.INFRASTRUCTURE, VideoStatus.PROCESSING_FAILED),
        ("gpu_lost", Fault.DEVICE, VideoStatus.PROCESSING_FAILED),
    ],
)
def test_a_failure_becomes_the_state_that_its_owner_reads(code: str, fault: Fault, status: VideoStatus) -> None:
    failure = Failure(code=code, fault=fault, detail="why, and what to do")
    found, detail, trigger = verdict_on(FinishJob(job_id="j", state=JobState.FAILED, failure=failure))
    assert (found, detail) == (code, "why, and what to do")
    assert VIDEO_TRANSITIONS[VideoStatus.PROCESSING, trigger] is status


def test_a_cancelled_job_says_so() -> None:
    code, _, trigger = verdict_on(FinishJob(job_id="j", state=JobState.CANCELLED, failure=None))
    assert code == "cancelled"
    assert VIDEO_TRANSITIONS[VideoStatus.PROCESSING, trigger] is VideoStatus.PROCESSING_FAILED
