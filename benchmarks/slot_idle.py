"""How long a slot of a real farm stands idle between two tasks while work waits: from one record's landing to the next
request's arrival.

A farm with the embedded defaults encodes many short videos of few pixels. The worker tells how long it had a task, by
its own clock; the dispatcher's log tells when it sent each. What lies between two starts on a worker beyond the first
task's own time is idle: the answer's way, the decision, its transaction, and the next request's way.
"""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

from benchmarks.farm_log import Attempt, FarmLog, read_farm_log
from benchmarks.farms import embedded_farm
from gateway.client import Client
from gateway.sample import write_sample

CLIP_S = 24
CLIP_SIZE = (160, 90)
UPLOADS_AT_ONCE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotIdle:
    """Pauses between tasks of one slot while another task could have been started, seconds, from short to long."""

    slots: int
    tasks: int
    pauses_s: tuple[float, ...]

    def percentile_s(self, share: float) -> float:
        """The pause that so large a share of all does not exceed."""
        return self.pauses_s[int(share * (len(self.pauses_s) - 1))]


def measure_slot_idle(slots: int, videos: int) -> SlotIdle:
    """Run a farm until so many videos are ready."""
    with tempfile.TemporaryDirectory(prefix="reelmill-idle-", ignore_cleanup_errors=True) as folder:
        clip = Path(folder) / "clip.mp4"
        write_sample(clip, seconds=CLIP_S, width=CLIP_SIZE[0], height=CLIP_SIZE[1], rate=Fraction(25))
        with (
            embedded_farm(Path(folder) / "farm", worker_slots=slots, log_json=True) as running,
            Client(running.url, running.token) as client,
            ThreadPoolExecutor(UPLOADS_AT_ONCE) as pool,
        ):
            uploads = list(pool.map(lambda _: client.upload(clip), range(videos)))
            for upload in uploads:
                status = client.wait(upload.video_id).status
                if not status.playable:
                    raise RuntimeError(f"video {upload.video_id} is {status}: the figure would say nothing")
            log = read_farm_log(running.farm.cluster.root / "logs" / "dispatcher.log")
    return SlotIdle(slots=slots, tasks=len(log.attempts), pauses_s=tuple(sorted(pauses(log))))


def pauses(log: FarmLog) -> list[float]:
    """Idle times between attempts that follow each other on a worker, where the later one's task was ready in time."""
    found: list[float] = []
    by_worker: dict[str, list[Attempt]] = {}
    for attempt in log.attempts:
        by_worker.setdefault(attempt.worker, []).append(attempt)
    for attempts in by_worker.values():
        for before, after in pairwise(attempts):
            waited = before.ended_at is not None and log.ready_at(after) < before.ended_at
            if waited and before.wall_s:
                found.append(max(0.0, after.started_at - before.started_at - before.wall_s))
    return found
