"""GPUs that fail under a real dispatcher: real workers and confined children on fake devices, a database, a store."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from fractions import Fraction
from pathlib import Path

import pytest
from fakes.gpu import PROOF, Gpu
from fakes.plugged import plug_module
from media_clips import decoded, even_times, read_number, write_clip
from pretend_farm import PretendPool, Stage, doorbell
from pydantic import TypeAdapter

from cluster import layout
from cluster.claims import PLAN
from cluster.dispatcher import Dispatcher
from cluster.metadata.database import Database
from cluster.metadata.lifecycle import VideoStatus
from cluster.metadata.migrate import migrate
from cluster.metrics import DispatcherMetrics
from cluster.settings import ClusterSettings
from cluster.staging import Staging
from cluster.storage.local import LocalStore
from cluster.tasks import Outcome, TaskRequest, WorkerDescription
from cluster.worker import Worker
from encoders.backends.probe import PROOF_VARIABLE
from encoders.backends.proof import GpuProbe
from encoders.confine import PRELOAD, Confiner
from encoders.plan import Plan
from encoders.segment import SegmentResult
from scheduler.engine import Scheduler
from scheduler.jobs import JobState, TaskKind
from scheduler.settings import SchedulerSettings

pytestmark = pytest.mark.slow
FRAMES, RATE = 100, Fraction(10)
"""Ten seconds: two or three segments of the default profile."""
GPUS = {
    "sound": Gpu(),
    # It passes the canary (48 frames) and dies in the middle of every segment (40 frames in two renditions); there is
    # no driver here, so it is not proven again afterwards.
    "dies": Gpu(fails={"Encode": [0] * 60 + [20]}),
    "full": Gpu(fails={"CreateEncoder": [21, 21]}),
}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Confiner]]:
    folder = tmp_path_factory.mktemp("gpus")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setenv(PROOF_VARIABLE, TypeAdapter(GpuProbe).dump_json(PROOF).decode())
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        made = {name: Confiner((*PRELOAD, plug_module(folder, gpu, f"farm_{name}"))) for name, gpu in GPUS.items()}
        yield made
        for confiner in made.values():
            confiner.close()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "clip.mp4"
    options = {"g": "20", "bf": "2", "x264-params": "scenecut=0"}
    return write_clip(path, even_times(FRAMES, RATE), rate=RATE, options=options, tags={"colorspace": 1})


class RealPool(PretendPool):
    """Slots that work: each a `Worker` in a thread, as Ray's actors would hold it."""

    def __init__(self, joined: Callable[[WorkerDescription], None], lost: Callable[[str, str], None]) -> None:
        super().__init__(joined, lost)
        self.workers: dict[str, tuple[Worker, WorkerDescription]] = {}
        self.checked: list[tuple[str, bool, str]] = []

    async def refresh(self) -> None:
        if not self.slots:
            self.slots = len(self.workers)
            self.backends = frozenset(name for _, each in self.workers.values() for name in each.backends)
            for _, description in self.workers.values():
                self.joined(description)

    async def run(self, worker_id: str, request: TaskRequest) -> Outcome | None:
        self.asked.append(request)
        return await asyncio.to_thread(self.workers[worker_id][0].run, request, threading.Event())

    async def check(self, worker_id: str) -> tuple[bool, str]:
        worker, description = self.workers[worker_id]
        found = await asyncio.to_thread(worker.check, description.backends[0])
        self.checked.append((description.device_id, *found))
        return found


class Farm:
    """A dispatcher, its database, a store with one source, and workers by name of their GPU."""

    def __init__(self, folder: Path, servers: dict[str, Confiner], source: Path, database: Database) -> None:
        self.folder, self.servers, self.source = folder, servers, source
        self.settings = ClusterSettings(data_dir=folder, job_lease_s=60.0)
        self.stage = Stage(database, self.settings)
        self.store = LocalStore(folder / "objects", "http://127.0.0.1", b"s" * 32)
        self.metrics = DispatcherMetrics()

    async def run(
        self, *names: str, gpu: str = "prefer", until: Callable[[RealPool], bool] = lambda _: False
    ) -> tuple[RealPool, str]:
        """Run one job with workers on these GPUs ("cpu" for none) to its end, or until something has been seen.

        Returns:
            The pool, and the job's state.
        """

        async def explain(_: dict[str, object]) -> None:
            return None

        engine = Scheduler(SchedulerSettings(twins=False))
        dispatcher = Dispatcher(self.settings, self.stage.database, engine, "a", self.metrics, explain, RealPool)
        pool = dispatcher.pool
        assert isinstance(pool, RealPool)
        staging = Staging(self.folder / "staging", 10**9)
        for number, name in enumerate(names):
            confiner = self.servers["sound" if name == "cpu" else name]
            log = self.folder / "encodes.jsonl"
            worker = Worker(self.store, staging, confiner, self.folder / f"scratch-{number}", log, 4_000_000_000)
            device = "cpu:n" if name == "cpu" else f"GPU-{name}-{number}"
            backends = ("cpu",) if name == "cpu" else ("nvenc", "cpu")
            sessions = 0 if name == "cpu" else 12
            pool.workers[name] = (
                worker,
                WorkerDescription(
                    worker_id=name, node_id="n", device_id=device, pid=0, backends=backends, device_sessions=sessions
                ),
            )
        job_id = await self.stage.submit("1", gpu=gpu)
        self.store.put_file("sources/1", self.source, "video/mp4")
        work = asyncio.create_task(dispatcher.run(doorbell))
        try:
            async with asyncio.timeout(120):
                over = (JobState.COMPLETED, JobState.FAILED)
                while (await self.stage.rows(job_id))[0].state not in over and not until(pool):
                    await asyncio.sleep(0.05)
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            for worker, _ in pool.workers.values():
                worker.gpu.close()
        job, video = await self.stage.rows(job_id)
        self.plan: Plan = PLAN.validate_python(job.plan)
        if job.state == JobState.COMPLETED:
            assert video.status == VideoStatus.READY
            self.check_asset()
        return pool, job.state

    def check_asset(self) -> None:
        """Every rendition is whole and one encoder's; the independent verifier agrees where there is one."""
        plan = self.plan
        records = [
            TypeAdapter(SegmentResult).validate_json(
                self.store.get_bytes(layout.segment_record("v1", plan, each.index))
            )
            for each in plan.segments
        ]
        assert len(records) >= 2
        for rendition in plan.renditions:
            parts = [part for record in records for part in record.renditions if part.name == rendition.name]
            assert len({part.parameter_sets_sha256 for part in parts}) == 1, "one encoder for the whole rendition"
            assert plan.grid is not None
            numbers = range(1, plan.grid.media_segments + 1)
            keys = [layout.media_key("v1", plan, rendition.name, number) for number in numbers]
            stream = self.store.get_bytes(layout.init_key("v1", plan, rendition.name))
            shown = decoded(stream + b"".join(map(self.store.get_bytes, keys)))
            assert [read_number(luma) for _, luma in shown] == list(range(FRAMES))
        folder = self.store.path_of(layout.asset_prefix("v1", plan) + "master.m3u8").parent
        if verifier := os.environ.get("REELMILL_VERIFIER"):
            command = [sys.executable, "-m", "assay", str(self.source), "--hls", str(folder / "master.m3u8")]
            command += ["--dash", str(folder / "manifest.mpd"), "--brief"]
            done = subprocess.run(command, cwd=verifier, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr

    def warnings(self) -> list[str]:
        """Of asset.json."""
        report = json.loads(self.store.get_bytes(layout.asset_prefix("v1", self.plan) + "asset.json"))
        return list(report["warnings"])

    def fall_backs(self) -> dict[tuple[str, str, str], float]:
        """The metric: (given up, to, reason) -> count."""
        return {
            (sample.labels["given_up"], sample.labels["to"], sample.labels["reason"]): sample.value
            for family in self.metrics.registry.collect()
            for sample in family.samples
            if sample.name == "reelmill_fall_backs_total"
        }


@pytest.fixture
async def farm(tmp_path: Path, servers: dict[str, Confiner], clip: Path) -> AsyncIterator[Farm]:
    settings = ClusterSettings(data_dir=tmp_path)
    await asyncio.to_thread(migrate, settings.effective_database_url)
    database = Database(settings.effective_database_url)
    yield Farm(tmp_path, servers, clip, database)
    await database.close()


def backends_of(pool: RealPool) -> list[str]:
    return [request.backend for request in pool.asked if request.kind is TaskKind.SEGMENT]


async def test_a_device_that_dies_is_fenced_and_its_segment_redone_on_another(farm: Farm) -> None:
    pool, state = await farm.run("dies", "sound")
    assert state == JobState.COMPLETED
    assert set(backends_of(pool)) == {"nvenc"}
    assert farm.plan.encoder.startswith("nvenc-2.2.4-580.1-sm8.9")
    assert len(backends_of(pool)) > len(farm.plan.segments), "something was done twice"
    (fenced,) = [(device, seen) for device, healthy, seen in pool.checked if not healthy]
    assert fenced[0] == "GPU-dies-0"
    assert "no longer proves nvenc" in fenced[1]
    assert farm.fall_backs() == {}
    assert farm.warnings() == []


async def test_the_only_device_dies_and_the_cpu_makes_the_whole_rendition(farm: Farm) -> None:
    pool, state = await farm.run("dies", "cpu")
    assert state == JobState.COMPLETED
    count = len(farm.plan.segments)
    assert backends_of(pool)[-count:] == ["cpu"] * count, "none of the first encoder's segments is kept"
    assert farm.plan.encoder.endswith(" -> x264")
    ((given_up, to, reason),) = farm.fall_backs()
    assert (given_up, to, reason) == ("nvenc", "cpu", "gpu_device_fault")
    assert farm.warnings() == ["encoded with cpu where nvenc was begun: gpu_device_fault"]


async def test_a_job_that_requires_a_gpu_waits_for_one_and_never_falls_back(farm: Farm) -> None:
    asked_after_the_fence: list[int] = []

    def looked_at_often(pool: RealPool) -> bool:
        fenced = any(not healthy for _, healthy, _ in pool.checked)
        asked_after_the_fence.extend([len(pool.asked)] if fenced else [])
        return len(asked_after_the_fence) > 20

    pool, state = await farm.run("dies", "cpu", gpu="require", until=looked_at_often)
    assert state == JobState.RUNNING
    assert set(backends_of(pool)) == {"nvenc"}
    assert len(set(asked_after_the_fence)) == 1, "a device that failed its proof gets nothing, and nobody else does"
    assert farm.fall_backs() == {}


async def test_sessions_that_are_taken_are_waited_for(farm: Farm) -> None:
    pool, state = await farm.run("full")
    assert state == JobState.COMPLETED
    assert backends_of(pool) == ["nvenc"] * len(farm.plan.segments)
    assert all(healthy for _, healthy, _ in pool.checked), "a device that is full is not ill"
