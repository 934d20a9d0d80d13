"""`kill -9` of a worker, the dispatcher, the gateway and Valkey amid a job: READY, and nothing is encoded twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.metadata.lifecycle import VideoStatus
from gateway.farm import workers_below
from tests.e2e.running_farm import RunningFarm, kill, wait_until

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def test_a_job_survives_the_death_of_every_process(farm: RunningFarm, long_clip: Path) -> None:
    with farm.client() as client:
        upload = client.upload(long_clip)

        def finished() -> int:
            return len(farm.encodes(upload.job_id))

        wait_until(lambda: finished() >= 1)
        kill(workers_below(farm.pids()["ray"])[0])
        before = finished()
        wait_until(lambda: finished() > before)
        assert client.status(upload.video_id).status is VideoStatus.PROCESSING, "the clip is too short for this test"
        for name in ("dispatcher", "gateway", "valkey"):
            old = farm.pids()[name]
            kill(old)
            wait_until(lambda old=old, name=name: farm.pids()[name] != old)
        assert client.status(upload.video_id).status is VideoStatus.PROCESSING, "the clip is too short for this test"
        status = client.wait(upload.video_id)
        assert status.status is VideoStatus.READY, status.rejection
    made = farm.encodes(upload.job_id)
    assert len(made) == len(set(made)), "a finished segment was encoded again"
    assert len(made) >= 3
