"""A worker's known content: a clip through all its tasks, then packaged again beside registered works."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from pretend_films import picture

from cluster import layout, packaging
from cluster.catalogue import BINARY
from cluster.staging import Staging
from cluster.storage.local import LocalStore
from cluster.tasks import Done, TaskRequest
from cluster.worker import Worker
from encoders.confine import Confiner
from encoders.errors import Failure, Fault
from encoders.profiles.load import load_profile
from encoders.recognition.catalogue import write_catalogue
from encoders.recognition.fingerprint import Fingerprint
from encoders.recognition.known import KnownContentAction, KnownContentSettings
from encoders.recognition.listener import SAMPLES_PER_S
from encoders.recognition.sound import WORDS_PER_S
from scheduler.jobs import TaskKind

SECONDS, FPS = 6, 12


def write_clip(path: Path) -> None:
    """Six seconds of soft pictures with a cut every second, and as many chords."""
    with av.open(path, "w") as out:
        video = out.add_stream("libx264", rate=FPS, options={"preset": "ultrafast", "crf": "20"})
        audio = out.add_stream("aac", rate=48_000, layout="mono")
        video.width, video.height, video.pix_fmt = 192, 108, "yuv420p"
        for number in range(SECONDS * FPS):
            grey = picture(number // FPS, moved=number % FPS)
            frame = av.VideoFrame.from_ndarray(np.concatenate([grey, np.full((54, 192), 128, np.uint8)]), "yuv420p")
            for packet in video.encode(frame):
                out.mux(packet)
        for packet in video.encode(None):
            out.mux(packet)
        at = np.arange(SECONDS * 48_000)
        notes = np.random.default_rng(3).uniform(150, 1500, (SECONDS * 4, 3))[at // 12_000]
        signal = (np.sin(2 * np.pi * np.cumsum(notes, axis=0) / 48_000).sum(1) / 5).astype(np.float32)
        for start in range(0, len(signal), 1024):
            sound = av.AudioFrame.from_ndarray(signal[None, start : start + 1024], "fltp", "mono")
            sound.sample_rate, sound.pts, sound.time_base = 48_000, start, Fraction(1, 48_000)
            for packet in audio.encode(sound):
                out.mux(packet)
        for packet in audio.encode(None):
            out.mux(packet)


class Bench:
    """A clip whose segments and sound are done, and a worker to package it."""

    def __init__(self, folder: Path, confiner: Confiner) -> None:
        self.folder = folder
        self.store = LocalStore(folder / "objects", "http://127.0.0.1", b"s" * 32)
        staging = Staging(folder / "staging", 10**9)
        self.worker = Worker(self.store, staging, confiner, folder / "scratch", folder / "log", 4_000_000_000)
        write_clip(folder / "clip.mp4")
        self.store.put_file("sources/v/source", folder / "clip.mp4", "video/mp4")
        common = {"job_id": "j", "video_id": "v", "source_key": "sources/v/source", "profile": "default"}
        self.request = TaskRequest(
            **common,
            task_id="j/x",
            attempt=1,
            kind=TaskKind.INSPECT,
            backend="cpu",
            threads=1,
            slots=2,
            timeout_s=120,
        )
        inspected = self.ask(TaskKind.INSPECT)
        assert isinstance(inspected, Done)
        assert inspected.plan is not None
        self.request = replace(self.request, plan=inspected.plan, info=inspected.info)
        for part in (*inspected.plan.segments, *inspected.plan.audio):
            kind, name = (TaskKind.SEGMENT, part.index) if hasattr(part, "index") else (TaskKind.AUDIO, part.name)
            assert isinstance(self.ask(kind, part=name), Done)

    def ask(self, kind: TaskKind, **fields: object) -> Done | Failure:
        return self.worker.run(replace(self.request, kind=kind, **fields), threading.Event())  # type: ignore[arg-type]

    def register(self, video_id: str) -> None:
        """Make the clip itself, as if from another video, the only work."""
        data = self.store.get_bytes(layout.fingerprint_key("v"))
        path = self.folder / "catalogue"
        write_catalogue(path, [("w1", "The clip", video_id, Fingerprint.from_bytes(data))])
        key = layout.catalogue_key(video_id)
        self.store.put_file(key, path, BINARY)
        pointer = json.dumps({"catalogue": key}).encode()
        self.store.put_bytes(layout.CATALOGUE_POINTER, pointer, "application/json")

    def report(self) -> dict[str, object]:
        assert self.request.plan is not None
        return dict(json.loads(self.store.get_bytes(layout.asset_prefix("v", self.request.plan) + "asset.json")))


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    preload = ("encoders.probe", "encoders.segment", "encoders.audio", "encoders.package")
    with Confiner(preload) as confiner:
        yield Bench(tmp_path_factory.mktemp("bench"), confiner)


def test_that_a_copy_is_flagged_and_its_own_work_is_not(bench: Bench) -> None:
    first = bench.ask(TaskKind.PACKAGE)
    assert isinstance(first, Done), first
    assert first.known_content is not None
    assert (first.known_content.works, first.known_content.matches) == (0, ())
    fingerprint = Fingerprint.from_bytes(bench.store.get_bytes(layout.fingerprint_key("v")))
    assert fingerprint.pictures["sample"].tolist() == list(range(SECONDS * SAMPLES_PER_S))
    assert abs(len(fingerprint.sound) - float((SECONDS - 2.6) * WORDS_PER_S)) < 4

    bench.register("v")
    own = bench.ask(TaskKind.PACKAGE)
    assert isinstance(own, Done)
    assert own.known_content is not None
    assert own.known_content.matches == ()

    bench.register("another")
    copy = bench.ask(TaskKind.PACKAGE)
    assert isinstance(copy, Done)
    assert copy.known_content is not None
    found = {match.kind: match for match in copy.known_content.matches}
    assert set(found) == {"picture", "sound"}
    (span,) = found["picture"].spans
    assert (span.start_s, span.end_s, span.work_start_s, span.score) == (0.0, 6.0, 0.0, 1.0)
    reported = bench.report()["known_content"]
    assert isinstance(reported, dict)
    assert {match["title"] for match in reported["matches"]} == {"The clip"}


@pytest.mark.parametrize("action", [KnownContentAction.REJECT, KnownContentAction.OFF])
def test_that_the_profile_decides(bench: Bench, monkeypatch: pytest.MonkeyPatch, action: KnownContentAction) -> None:
    assert isinstance(bench.ask(TaskKind.PACKAGE), Done)
    bench.register("another")
    profile = replace(load_profile("default"), known_content=KnownContentSettings(action=action))
    monkeypatch.setattr(packaging, "load_profile", lambda name: profile)
    outcome = bench.ask(TaskKind.PACKAGE)
    if action is KnownContentAction.OFF:
        assert isinstance(outcome, Done)
        assert outcome.known_content is None
    else:
        assert isinstance(outcome, Failure)
        assert (outcome.code, outcome.fault) == ("copyright", Fault.INPUT)
        assert '"The clip" at 00:00-00:06' in outcome.detail
