"""One slot, without Ray: a small clip through all four kinds of task, and what happens when things go wrong."""

from __future__ import annotations

import json
import struct
import threading
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import pytest

from cluster import inspection, layout
from cluster.staging import Staging
from cluster.storage.base import ObjectInfo
from cluster.storage.local import LocalStore
from cluster.tasks import Done, Outcome, TaskRequest
from cluster.worker import Worker
from encoders.boxes import find_box
from encoders.confine import Confiner
from encoders.errors import Failure, Fault
from encoders.trim import Trim
from gateway.sample import write_sample
from scheduler.jobs import TaskKind

KEY = "sources/v/source"
PRELOAD = ("encoders.probe", "encoders.segment", "encoders.audio", "encoders.package")


@pytest.fixture(scope="module")
def confiner() -> Iterator[Confiner]:
    with Confiner(PRELOAD) as made:
        yield made


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    write_sample(path, seconds=6, width=320, height=180)
    return path


class Bench:
    """A worker on a store of its own, and a way to ask it."""

    def __init__(self, folder: Path, confiner: Confiner) -> None:
        self.store = LocalStore(folder / "objects", "http://127.0.0.1", b"s" * 32)
        self.log = folder / "encodes.jsonl"
        staging = Staging(folder / "staging", 10**9)
        self.worker = Worker(self.store, staging, confiner, folder / "scratch", self.log, 4_000_000_000)
        self.folder = folder

    def ask(self, kind: TaskKind, request: TaskRequest | None = None, **fields: object) -> Outcome:
        first = TaskRequest(
            job_id="j",
            task_id=f"j/{kind}",
            attempt=1,
            kind=kind,
            video_id="v",
            source_key=KEY,
            profile="default",
            backend="cpu",
            threads=1,
            slots=2,
            timeout_s=120.0,
        )
        asked = replace(request or first, kind=kind, task_id=f"j/{kind}/{fields.get('part', '')}", **fields)  # type: ignore[arg-type]
        return self.worker.run(asked, threading.Event())

    def finished(self) -> list[str]:
        """Records of what was encoded, in order."""
        return [json.loads(line)["record"] for line in self.log.read_text().splitlines()] if self.log.exists() else []


@pytest.fixture
def bench(tmp_path: Path, confiner: Confiner) -> Bench:
    return Bench(tmp_path, confiner)


def done(outcome: Outcome) -> Done:
    assert isinstance(outcome, Done), outcome
    return outcome


@pytest.mark.slow
def test_a_clip_becomes_an_asset_and_nothing_is_encoded_twice(bench: Bench, clip: Path) -> None:
    bench.store.put_file(KEY, clip, "video/mp4")
    inspected = done(bench.ask(TaskKind.INSPECT))
    plan, info = inspected.plan, inspected.info
    assert plan is not None
    assert info is not None
    assert info.duration_s == 6
    parts = [(TaskKind.AUDIO, each.name) for each in plan.audio]
    parts += [(TaskKind.SEGMENT, each.index) for each in plan.segments]  # type: ignore[misc]
    for kind, part in parts:
        assert not done(bench.ask(kind, part=part, plan=plan, info=info)).reused
    finished = bench.finished()
    assert len(finished) == len(set(finished)) == len(parts)
    for kind, part in parts:
        assert done(bench.ask(kind, part=part, plan=plan, info=info)).reused
    assert bench.finished() == finished

    packaged = done(bench.ask(TaskKind.PACKAGE, plan=plan, info=info))
    kinds = {each.kind for each in packaged.assets}
    assert {"HLS", "DASH", "THUMB", "PREVIEW", "STORYBOARD", "STORYBOARD_VTT", "ASSET_JSON"} <= kinds
    master = next(each for each in packaged.assets if each.kind == "HLS")
    for line in bench.store.get_bytes(master.key).decode().splitlines():
        if line and not line.startswith("#"):
            assert bench.store.head(layout.asset_prefix("v", plan) + line) is not None
    name = plan.renditions[-1].name
    pieces = range(1, plan.grid.media_segments + 1) if plan.grid else []
    joined = bench.folder / "joined.mp4"
    joined.write_bytes(
        bench.store.get_bytes(layout.init_key("v", plan, name))
        + b"".join(bench.store.get_bytes(layout.media_key("v", plan, name, number)) for number in pieces)
    )
    with av.open(str(joined)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 180
    assert list((bench.folder / "scratch").iterdir()) == []


def test_a_source_that_takes_too_much_to_look_at_is_refused(
    bench: Bench, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # FFmpeg puts each entry of such an index in order among all before: minutes for 8 MB of them.
    entries = struct.pack(">III", (1 << 31) - 1, 1000, 0) * 65_535
    index = struct.pack(">IIIIIHH", 0, 1, 1000, 0, 0, 0, 65_535) + entries
    box = struct.pack(">I4s", 8 + len(index), b"sidx") + index
    data = clip.read_bytes()
    end = find_box(data, "moov").end
    path = tmp_path / "x.mp4"
    path.write_bytes(data[:end] + box * 10 + data[end:])
    bench.store.put_file(KEY, path, "video/mp4")
    monkeypatch.setattr(inspection, "INSPECTION_CPU_S", 1)
    monkeypatch.setattr(inspection, "BYTES_PER_CPU_S", 10**9)
    refused = bench.ask(TaskKind.INSPECT)
    assert isinstance(refused, Failure)
    assert (refused.code, refused.fault) == ("resource_exceeded", Fault.INPUT)
    assert "processor time" in refused.detail


@pytest.mark.slow
def test_a_lost_sound_record_is_made_good_by_packaging(bench: Bench, clip: Path) -> None:
    bench.store.put_file(KEY, clip, "video/mp4")
    inspected = done(bench.ask(TaskKind.INSPECT))
    assert inspected.plan is not None
    for each in inspected.plan.segments:
        done(bench.ask(TaskKind.SEGMENT, part=each.index, plan=inspected.plan, info=inspected.info))
    packaged = done(bench.ask(TaskKind.PACKAGE, plan=inspected.plan, info=inspected.info))
    assert {each.kind for each in packaged.assets} >= {"HLS", "DASH"}


@pytest.mark.slow
def test_a_trim_keeps_the_span_and_nothing_else(bench: Bench, clip: Path) -> None:
    bench.store.put_file(KEY, clip, "video/mp4")
    inspected = done(bench.ask(TaskKind.INSPECT, trim=Trim(start_s=1.5, end_s=4.0)))
    plan, info = inspected.plan, inspected.info
    assert plan is not None
    assert plan.grid is not None
    assert (plan.grid.frames, plan.duration_s) == (75, Fraction(5, 2))
    for each in plan.segments:
        done(bench.ask(TaskKind.SEGMENT, part=each.index, plan=plan, info=info))
    packaged = done(bench.ask(TaskKind.PACKAGE, plan=plan, info=info))
    mp4 = next(each for each in packaged.assets if each.kind.startswith("MP4"))
    path = bench.folder / "cut.mp4"
    bench.store.get_file(mp4.key, path)
    with av.open(str(path)) as cut, av.open(str(clip)) as whole:
        first = next(cut.decode(video=0)).to_ndarray(format="gray")
        wanted = [frame.to_ndarray(format="gray") for frame in whole.decode(video=0)][45]
        assert abs(first.astype(int) - wanted.astype(int)).mean() < 6
        assert cut.duration is not None
        assert abs(cut.duration / 1e6 - 2.5) < 0.05


def test_what_is_no_video_is_an_input_failure(bench: Bench, tmp_path: Path) -> None:
    bogus = tmp_path / "bogus.mp4"
    bogus.write_bytes(b"#!/bin/sh\nexit 0\n" * 50)
    bench.store.put_file(KEY, bogus, "video/mp4")
    outcome = bench.ask(TaskKind.INSPECT)
    assert isinstance(outcome, Failure)
    assert outcome.fault is Fault.INPUT


def test_a_missing_source_is_nobodys_input(bench: Bench) -> None:
    outcome = bench.ask(TaskKind.INSPECT)
    assert isinstance(outcome, Failure)
    assert (outcome.code, outcome.fault) == ("object_missing", Fault.INFRASTRUCTURE)


def test_limits_of_the_profile_are_named(bench: Bench, tmp_path: Path) -> None:
    long = tmp_path / "long.mp4"
    write_sample(long, seconds=32, width=256, height=144, rate=Fraction(5))
    bench.store.put_file(KEY, long, "video/mp4")
    outcome = bench.ask(TaskKind.INSPECT, profile="nextplay")
    assert isinstance(outcome, Failure)
    assert outcome.code == "too_long"
    assert "30" in outcome.detail


def test_an_attempt_that_takes_too_long_is_stopped_and_blames_the_device(bench: Bench, clip: Path) -> None:
    bench.store.put_file(KEY, clip, "video/mp4")
    inspected = done(bench.ask(TaskKind.INSPECT))
    outcome = bench.ask(TaskKind.SEGMENT, part=0, plan=inspected.plan, info=inspected.info, timeout_s=0.05)
    assert isinstance(outcome, Failure)
    assert (outcome.code, outcome.fault) == ("task_timeout", Fault.DEVICE)
    assert bench.finished() == []


def test_a_stopped_attempt_leaves_no_record(bench: Bench, clip: Path) -> None:
    bench.store.put_file(KEY, clip, "video/mp4")
    inspected = done(bench.ask(TaskKind.INSPECT))
    stop = threading.Event()
    stop.set()
    request = TaskRequest(
        job_id="j",
        task_id="j/segment/00000",
        attempt=1,
        kind=TaskKind.SEGMENT,
        video_id="v",
        source_key=KEY,
        profile="default",
        backend="cpu",
        threads=1,
        slots=2,
        timeout_s=60.0,
        part=0,
        plan=inspected.plan,
        info=inspected.info,
    )
    outcome = bench.worker.run(request, stop)
    assert isinstance(outcome, Failure)
    assert outcome.code == "stopped"
    assert bench.finished() == []


def test_the_canary_says_that_the_cpu_encodes(bench: Bench) -> None:
    healthy, seen = bench.worker.check("cpu")
    assert healthy, seen
    assert "48 frames" in seen


@pytest.mark.slow
def test_a_segment_that_changes_on_its_way_to_the_store_gets_no_record_and_is_made_again(
    bench: Bench, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.store.put_file(KEY, clip, "video/mp4")
    inspected = done(bench.ask(TaskKind.INSPECT))
    put_file, changed = bench.store.put_file, bench.folder / "changed.m4s"

    def corrupt(key: str, path: Path, *args: str) -> ObjectInfo:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        changed.write_bytes(data)
        return put_file(key, changed if key.endswith(".m4s") else path, *args)

    with monkeypatch.context() as patch:
        patch.setattr(bench.store, "put_file", corrupt)
        outcome = bench.ask(TaskKind.SEGMENT, part=0, plan=inspected.plan, info=inspected.info)
    assert isinstance(outcome, Failure)
    assert (outcome.code, outcome.fault) == ("verification_failed", Fault.DEVICE)
    assert bench.finished() == []
    assert not done(bench.ask(TaskKind.SEGMENT, part=0, plan=inspected.plan, info=inspected.info)).reused
