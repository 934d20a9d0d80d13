"""A small good clip, submitted again and again beside everything else: is it ever delayed, does it ever fail?

A delay is counted in segments: how many tasks of others a slot began while a task of the canary could have begun. One
is what a farm cannot avoid that decides at the borders of segments; more means that another's file holds it up.
Inspections of refused files take milliseconds: they count as the segments that fit into their time.
"""

from __future__ import annotations

import statistics
import threading
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.stream import VideoStream

from benchmarks.farm_log import Attempt, FarmLog
from cluster.processes import descendants, process_table
from encoders.errors import FarmError
from gateway.client import Client

WIDTH, HEIGHT, FPS, SECONDS = 160, 90, 25, 8
"""Two media segments of the default profile, so that both slots of a small host get one; encoded within a second."""
PAUSE_S = 1.0
"""Between the end of a job and the next one: the canary is to be beside the others, not instead of them."""
ACTOR = "ray::SlotHolder"


def write_clip(path: Path) -> Path:
    """The clip: waves that drift."""
    with av.open(str(path), "w", format="mp4") as output:
        stream = output.add_stream("libx264", rate=FPS, options={"preset": "ultrafast", "g": str(FPS)})
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
        for number in range(FPS * SECONDS):
            waves = 128 + 90 * np.sin((x + 2 * y + 6 * number) / 30)
            frame = av.VideoFrame.from_ndarray(np.stack([waves.astype(np.uint8)] * 3, axis=-1), format="rgb24")
            frame = frame.reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return path


@dataclass(slots=True)
class Delay:
    """The worst of all tasks.

    Attributes:
        segments: tasks of others that one slot began while a task of the canary could have begun there.
        seconds: the longest time from "could begin" to "begins".
    """

    segments: int = 0
    seconds: float = 0.0
    tasks: int = 0


class Canary:
    """Submits the clip until told to stop, from a thread of its own. A context manager."""

    def __init__(self, url: str, token: str, clip: Path) -> None:
        self.jobs: list[str] = []
        self.failures: list[str] = []
        self.first_ready = threading.Event()
        self._clip = clip
        self._client = Client(url, token)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._submit, name="canary", daemon=True)

    def __enter__(self) -> Canary:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()
        self._client.close()

    def _submit(self) -> None:
        while not self._stop.is_set():
            try:
                upload = self._client.upload(self._clip)
                self.jobs.append(upload.job_id)
                status = self._client.wait(upload.video_id)
            except FarmError as error:
                self.failures.append(f"{error.code}: {error.detail}")
            else:
                if status.status != "READY":
                    self.failures.append(f"video {upload.video_id} is {status.status}")
            self.first_ready.set()
            self._stop.wait(PAUSE_S)


def measure_delay(log: FarmLog, jobs: Collection[str]) -> Delay:
    """The canary's worst delay, by the dispatcher's log."""
    worst, segment_s = Delay(), typical_segment_s(log, jobs)
    others = [each for each in log.attempts if each.job not in jobs]
    for attempt in log.attempts:
        if attempt.job in jobs:
            ready_at = log.ready_at(attempt)
            worst.tasks += 1
            worst.seconds = max(worst.seconds, attempt.started_at - ready_at)
            worst.segments = max(worst.segments, overtaken(attempt, ready_at, others, segment_s))
    return worst


def overtaken(attempt: Attempt, ready_at: float, others: Collection[Attempt], segment_s: float) -> int:
    """How many segments' worth of others' tasks any one slot began before an attempt that could have begun there."""
    begun: defaultdict[str, list[Attempt]] = defaultdict(list)
    for each in others:
        if ready_at < each.started_at < attempt.started_at:
            begun[each.worker].append(each)
    return max((_in_segments(each, segment_s) for each in begun.values()), default=0)


def _in_segments(attempts: Collection[Attempt], segment_s: float) -> int:
    inspecting_s = sum(each.worker_s for each in attempts if each.kind == "inspect")
    return sum(each.kind != "inspect" for each in attempts) + (int(inspecting_s / segment_s) if segment_s else 0)


def typical_segment_s(log: FarmLog, jobs: Collection[str]) -> float:
    """Median time that a segment holds a slot: of others' files, since the canary's `jobs` are many and tiny."""
    segments = [each for each in log.attempts if each.kind == "segment"]
    of_others = [each for each in segments if each.job not in jobs]
    return statistics.median([each.worker_s for each in of_others or segments] or [0.0])


def restarts_of(log: FarmLog, farm_pid: int) -> list[str]:
    """Workers that were lost, or whose process is not the one that joined: one sentence each, by log and by kernel."""
    below = descendants(farm_pid, process_table())
    alive = {info.pid for info in below if info.command.startswith(ACTOR) and not info.zombie}
    found = [f"worker {worker} was lost: {reason}" for worker, reason in log.lost.items()]
    found += [f"worker {worker}: process {pid} is gone" for worker, pid in log.joined.items() if pid not in alive]
    return found
