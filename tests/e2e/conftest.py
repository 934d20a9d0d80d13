"""One farm for all end-to-end tests: starting Ray takes longer than most of them."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest

from cluster.metadata.lifecycle import VideoStatus
from gateway.farm_folder import FarmFolder
from gateway.sample import write_sample
from tests.e2e.alone import Alone
from tests.e2e.running_farm import RunningFarm, wait_until


@pytest.fixture(scope="session")
def farm(tmp_path_factory: pytest.TempPathFactory, long_clip: Path) -> Iterator[RunningFarm]:
    """A farm on embedded defaults with two slots. At its end it is interrupted amid a job and must leave no process."""
    folder = tmp_path_factory.mktemp("farm")
    root = folder / "data"
    alone = Alone(
        folder / "up",
        "up",
        "--port",
        "0",
        REELMILL_DATA_DIR=str(root),
        REELMILL_WORKER_SLOTS="2",
        REELMILL_RAY_DASHBOARD="false",
    )
    try:
        alone.wait_for(lambda said: "TOKEN" in said)
        running = RunningFarm(FarmFolder(root).state()["url"], root)
        yield running
        with running.client() as client:
            upload = client.upload(long_clip)
            wait_until(lambda: client.status(upload.video_id).status is VideoStatus.PROCESSING)
    finally:
        alone.interrupt()
        ended = alone.wait()
    assert ended.left == []
    assert ended.code == 0, ended.stderr


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds with sound."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    write_sample(path, seconds=4, width=320, height=180, rate=Fraction(25))
    return path


@pytest.fixture(scope="session")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A minute and a half: several segments, and long enough to be disturbed."""
    path = tmp_path_factory.mktemp("clip") / "long.mp4"
    write_sample(path, seconds=96, width=320, height=180, rate=Fraction(25))
    return path
