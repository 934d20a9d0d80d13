"""A confined child that is kept for segments of one source: opened once, gone with the first error."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fakes.gpu import PROOF, Gpu
from fakes.plugged import plug_module
from media_clips import PROFILE, even_times, probed, write_clip
from pydantic import TypeAdapter

from encoders.backends.base import BackendName
from encoders.backends.nvenc import NvencBackend
from encoders.backends.nverrors import DeviceFault
from encoders.backends.probe import PROOF_VARIABLE
from encoders.backends.proof import GpuProbe
from encoders.confine import Confiner, Limits, Stopped
from encoders.errors import MediaCrashed
from encoders.held import HeldChild
from encoders.media import MediaInfo
from encoders.plan import Plan, plan_asset
from encoders.segment import SegmentResult

LIMITS = Limits(memory_bytes=2 << 30, wall_s=60)
Source = tuple[Path, MediaInfo]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    path = tmp_path_factory.mktemp("source") / "clip.mp4"
    write_clip(path, even_times(90), options={"g": "15", "bf": "2"}, tags={"colorspace": 1})
    return path, probed(path)


class Bench:
    """A worker's side of a child on a fake GPU."""

    def __init__(self, folder: Path, confiner: Confiner, source: Source, segments: int, idle_s: float) -> None:
        self.folder, self.source = folder, source
        self.child = HeldChild(confiner, folder, segments=segments, idle_s=idle_s)
        self.plan: Plan = plan_asset(source[1], PROFILE, 1, NvencBackend(PROOF).encoder_id(PROFILE.video.preset))
        self.stop = threading.Event()

    def encode(self, index: int, plan: Plan | None = None) -> SegmentResult:
        plan = plan or self.plan
        out = self.folder / f"out-{index}"
        out.mkdir(exist_ok=True)
        return self.child.encode(
            *self.source, plan, plan.segments[index], out, BackendName.NVENC, 1, limits=LIMITS, stop=self.stop
        )


Start = Callable[..., Bench]
KINDS = {"sound": Gpu(), "faulty": Gpu(fails={"Encode": [0] * 70 + [20]}), "gone": Gpu(vanishes_before="CreateDecoder")}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Confiner]]:
    """A fork server whose children have the GPU, of each kind; started when it is first used."""
    folder = tmp_path_factory.mktemp("gpus")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setenv(PROOF_VARIABLE, TypeAdapter(GpuProbe).dump_json(PROOF).decode())
        made = {
            kind: Confiner(preload=("encoders.held", plug_module(folder, gpu, f"plugged_{kind}")))
            for kind, gpu in KINDS.items()
        }
        yield made
        for confiner in made.values():
            confiner.close()


@pytest.fixture
def start(tmp_path: Path, source: Source, servers: dict[str, Confiner]) -> Iterator[Start]:
    opened: list[HeldChild] = []

    def begin(kind: str = "sound", *, segments: int = 16, idle_s: float = 60.0) -> Bench:
        bench = Bench(tmp_path, servers[kind], source, segments, idle_s)
        opened.append(bench.child)
        return bench

    yield begin
    for child in opened:
        child.close()


def children(bench: Bench) -> list[int]:
    """Processes of the server that are alive."""
    pid = bench.child._confiner.server_pid
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(pid) for pid in text.split()]


def test_one_process_encodes_all_segments_and_each_is_what_a_fresh_one_makes(start: Start) -> None:
    kept, fresh = start(), start(segments=1)
    pids = set()
    for index in range(3):
        kept.encode(index)
        pids.update(children(kept))
    assert len(pids) == 1

    for index in range(3):
        made = {path.relative_to(kept.folder): path.read_bytes() for path in kept.folder.glob(f"out-{index}/*/*")}
        assert len(made) >= 4
        fresh.encode(index)
        assert not fresh.child.alive, "one segment was all it may do"
        again = {path.relative_to(kept.folder): path.read_bytes() for path in kept.folder.glob(f"out-{index}/*/*")}
        assert made == again


def test_an_error_ends_the_child_and_the_next_order_has_a_new_one(start: Start) -> None:
    bench = start("faulty")
    bench.encode(0)
    first = children(bench)
    with pytest.raises(DeviceFault, match="code : 20"):
        bench.encode(1)
    assert not bench.child.alive
    assert bench.encode(1).frames == bench.plan.segments[1].frames
    assert children(bench) != first


def test_a_device_that_ends_the_process_is_a_crash_and_nothing_hangs(start: Start) -> None:
    bench = start("gone")
    with pytest.raises(MediaCrashed, match="exit status 1"):
        bench.encode(0)


def test_another_asset_gets_another_child(start: Start) -> None:
    bench = start()
    bench.encode(0)
    first = children(bench)
    other = plan_asset(bench.source[1], PROFILE, 2, bench.plan.encoder + " -> again")
    assert other.asset_key != bench.plan.asset_key
    bench.encode(0, other)
    assert not set(first) & set(children(bench))


def test_an_idle_child_gives_the_device_back(start: Start) -> None:
    bench = start(idle_s=0.05)
    bench.encode(0)
    give_up_at = time.monotonic() + 20
    while bench.child.alive and time.monotonic() < give_up_at:
        time.sleep(0.02)
    assert children(bench) == []
    assert list((bench.folder / "held").glob("*")) == []
    assert bench.encode(1).frames == bench.plan.segments[1].frames


def test_a_stopped_order_kills_the_child(start: Start) -> None:
    bench = start()
    bench.stop.set()
    with pytest.raises(Stopped):
        bench.encode(0)
    assert not bench.child.alive
    assert list((bench.folder / "out-0").iterdir()) == []
