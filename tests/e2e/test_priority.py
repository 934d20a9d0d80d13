"""A better tier overtakes at the next segment boundary."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.metadata.lifecycle import VideoStatus
from tests.e2e.running_farm import RunningFarm, wait_until

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def test_a_paid_job_submitted_second_finishes_first(farm: RunningFarm, long_clip: Path) -> None:
    with farm.client("fred", "free") as free, farm.client("paula", "paid") as paid:
        first = free.upload(long_clip)
        wait_until(lambda: len(farm.encodes(first.job_id)) >= 1)
        second = paid.upload(long_clip)
        assert paid.wait(second.video_id).status is VideoStatus.READY
        assert free.wait(first.video_id).status is VideoStatus.READY
        slow, fast = free.job(first.job_id), paid.job(second.job_id)
    assert slow.created_at < fast.created_at
    assert slow.finished_at is not None
    assert fast.finished_at is not None
    assert fast.finished_at < slow.finished_at
