"""Slots that only pretend to work, in a process other than the dispatcher's, as real workers are.

They answer over a Unix socket, keep what they run when a dispatcher dies, and tell the next one of it: so a real
dispatcher process can be killed at a scale for which no machine has the cores. Tasks take times drawn from the task's
own name; nothing is encoded.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import pickle
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from benchmarks.steady_pool import SteadyPool
from cluster.tasks import AssetFile, Done, Outcome, RunningTask, TaskRequest, WorkerDescription
from encoders.errors import Failure, Fault
from encoders.media import Colour, MediaInfo, VideoTrack
from encoders.plan import plan_asset
from encoders.profiles.load import load_profile
from scheduler.jobs import TaskKind

HEADER_BYTES = 4
SPREAD = 0.25
"""Sigma of the lognormal times of segments."""
SLOTS_PER_NODE = 50


def source_of(job_id: str, minutes: float) -> MediaInfo:
    """What the inspection of a job's source finds: a 1080p video without sound of about so many minutes."""
    frames = max(1, round(25 * 60 * minutes * random.Random(job_id).uniform(0.8, 1.2)))
    video = VideoTrack(
        stream=0,
        codec="h264",
        profile=None,
        width=1920,
        height=1080,
        pixel_format="yuv420p",
        bit_depth=8,
        sar=Fraction(1),
        rotation=0,
        mirrored=False,
        colour=Colour(),
        interlaced=False,
        time_base=Fraction(1, 25),
        first_pts=0,
        end_pts=frames,
        frame_rate=Fraction(25),
        average_rate=Fraction(25),
        frames=frames,
        keyframe_pts=(0,),
    )
    return MediaInfo(container="mov,mp4", size_bytes=1, sha256="0" * 64, video=video, audio=())


@dataclass(slots=True, kw_only=True)
class _Run:
    request: TaskRequest
    began_at: float
    outcome: asyncio.Future[Outcome]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """How many slots work from a moment (monotonic seconds) on."""

    at: float
    busy: int
    task_id: str
    attempt: int


class SimulatedWorkers:
    """The slots. They live in the event loop of their owner and are reached by `SimulatedPool`.

    Attributes:
        changes: every begin and end of a task, in order.
        begun, ended: per task, how often it was begun, and how often it ran to its end.
    """

    def __init__(self, *, slots: int, segment_s: float, minutes: float) -> None:
        self.slots = slots
        self.segment_s = segment_s
        self.minutes = minutes
        self.changes: list[Change] = []
        self.begun: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self.busy = 0
        self._runs: dict[str, _Run] = {}
        self._work: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def listen(self, path: Path) -> None:
        """Answer on a Unix socket until `close`."""
        self._server = await asyncio.start_unix_server(self._serve, path)

    async def close(self) -> None:
        """Nobody is answered any more, and nothing runs."""
        assert self._server is not None
        self._server.close()
        for work in list(self._work):
            work.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)

    def running(self) -> frozenset[str]:
        """Ids of the tasks that run now."""
        return frozenset(run.request.task_id for run in self._runs.values() if not run.outcome.done())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                number, method, arguments = await _receive(reader)
                self._keep(self._answer(writer, number, method, arguments))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()  # the dispatcher died; what it started goes on

    async def _answer(self, writer: asyncio.StreamWriter, number: int, method: str, arguments: tuple[Any, ...]) -> None:
        value = await getattr(self, f"_{method}")(*arguments)
        if not writer.is_closing():
            _send(writer, (number, value))

    def _keep(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    async def _describe(self) -> list[WorkerDescription]:
        return [self._description(f"w{number}", f"n{number // SLOTS_PER_NODE}") for number in range(self.slots)]

    def _description(self, worker_id: str, node_id: str) -> WorkerDescription:
        run = self._runs.get(worker_id)
        running: tuple[RunningTask, ...] = ()
        if run is not None:
            request = run.request
            running = (
                RunningTask(
                    job_id=request.job_id,
                    task_id=request.task_id,
                    attempt=request.attempt,
                    backend=request.backend,
                    elapsed_s=time.monotonic() - run.began_at,
                ),
            )
        return WorkerDescription(
            worker_id=worker_id, node_id=node_id, device_id=f"cpu:{node_id}", pid=0, backends=("cpu",), running=running
        )

    async def _run(self, worker_id: str, request: TaskRequest) -> Outcome:
        before = self._runs.get(worker_id)
        if before is not None:
            await asyncio.shield(before.outcome)
        now = time.monotonic()
        run = _Run(request=request, began_at=now, outcome=asyncio.get_running_loop().create_future())
        self._runs[worker_id] = run
        self.begun[request.task_id] += 1
        self._change(+1, request)
        self._keep(self._work_on(run))
        return await asyncio.shield(run.outcome)

    async def _work_on(self, run: _Run) -> None:
        request = run.request
        seconds = self._seconds(request)
        await asyncio.sleep(seconds)
        if not run.outcome.done():
            self.ended[request.task_id] += 1
            self._change(-1, request)
            run.outcome.set_result(self._done(request, seconds))

    async def _resume(self, worker_id: str, task_id: str, attempt: int) -> Outcome | None:
        run = self._runs.get(worker_id)
        if run is None or (run.request.task_id, run.request.attempt) != (task_id, attempt):
            return None
        return await asyncio.shield(run.outcome)

    async def _stop(self, worker_id: str, task_id: str, attempt: int) -> None:
        run = self._runs.get(worker_id)
        if run is None or (run.request.task_id, run.request.attempt) != (task_id, attempt) or run.outcome.done():
            return
        self._change(-1, run.request)
        run.outcome.set_result(Failure(code="stopped", fault=Fault.INFRASTRUCTURE, detail="told to stop"))

    def _change(self, step: int, request: TaskRequest) -> None:
        self.busy += step
        change = Change(at=time.monotonic(), busy=self.busy, task_id=request.task_id, attempt=request.attempt)
        self.changes.append(change)

    def _seconds(self, request: TaskRequest) -> float:
        chance = random.Random(request.task_id)
        if request.kind is TaskKind.SEGMENT:
            return self.segment_s * chance.lognormvariate(0.0, SPREAD)
        return 0.2 * self.segment_s

    def _done(self, request: TaskRequest, seconds: float) -> Done:
        done = Done(engine_s=seconds, wall_s=seconds)
        if request.kind is TaskKind.INSPECT:
            info = source_of(request.job_id, self.minutes)
            # Cut as for a farm of usual size: a source is not laid out anew for every simulated slot.
            plan = plan_asset(info, load_profile(request.profile), 16, "simulated")
            return replace(done, info=info, plan=plan)
        if request.kind is TaskKind.PACKAGE:
            key = f"assets/{request.video_id}/simulated/master.m3u8"
            return replace(done, assets=(AssetFile(kind="HLS", key=key, content_type="x", size_bytes=1),))
        return done


class SimulatedPool(SteadyPool):
    """The dispatcher's side of `SimulatedWorkers`; a `cluster.pool.Pool`.

    Args:
        path: socket of the workers.
        joined, lost: see `cluster.pool.OpenPool`.
    """

    def __init__(
        self, path: Path, joined: Callable[[WorkerDescription], None], lost: Callable[[str, str], None]
    ) -> None:
        super().__init__(joined, lost)
        self._path = path
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._listener: asyncio.Task[None] | None = None

    async def adopt(self) -> None:
        """Meet the workers, and what they run of a dispatcher before."""
        reader, self._writer = await asyncio.open_unix_connection(self._path)
        self._listener = asyncio.create_task(self._listen(reader))
        descriptions = await self._ask("describe")
        self.slots = len(descriptions)
        for description in descriptions:
            self._joined(description)

    async def run(self, worker_id: str, request: TaskRequest) -> Outcome | None:
        """One attempt."""
        outcome: Outcome = await self._ask("run", worker_id, request)
        return outcome

    async def resume(self, worker_id: str, task_id: str, attempt: int) -> Outcome | None:
        """The outcome of an attempt that a dispatcher before started."""
        outcome: Outcome | None = await self._ask("resume", worker_id, task_id, attempt)
        return outcome

    async def stop(self, worker_id: str, task_id: str, attempt: int) -> None:
        """End an attempt."""
        await self._ask("stop", worker_id, task_id, attempt)

    def close(self) -> None:
        """Leave the workers alone."""
        if self._listener is not None:
            self._listener.cancel()
        if self._writer is not None:
            self._writer.close()

    async def _ask(self, method: str, *arguments: Any) -> Any:
        assert self._writer is not None
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        _send(self._writer, (number, method, arguments))
        return await answer

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        while True:
            number, value = await _receive(reader)
            self._waiting.pop(number).set_result(value)


def _send(writer: asyncio.StreamWriter, message: Any) -> None:
    body = pickle.dumps(message)
    writer.write(len(body).to_bytes(HEADER_BYTES, "big") + body)


async def _receive(reader: asyncio.StreamReader) -> Any:
    size = int.from_bytes(await reader.readexactly(HEADER_BYTES), "big")
    # Both ends are processes of one benchmark, by a socket in a folder of its own.
    return pickle.loads(await reader.readexactly(size))


def level_before(changes: Sequence[Change], at: float, span_s: float) -> int:
    """The median number of busy slots, weighted by time, in the `span_s` before a moment."""
    spans: Counter[int] = Counter()
    for one, following in itertools.pairwise(changes):
        begin, end = max(one.at, at - span_s), min(following.at, at)
        if end > begin:
            spans[one.busy] += round((end - begin) * 1e6)
    half = spans.total() / 2
    seen = 0
    for busy in sorted(spans):
        seen += spans[busy]
        if seen >= half:
            return busy
    return 0


def back_at(changes: Sequence[Change], after: float, level: int) -> float:
    """When at least `level` slots work again: the first such moment after a slot was given new work after `after`."""
    known = {(change.task_id, change.attempt) for change in changes if change.at <= after}
    fresh = False
    for change in changes:
        if change.at <= after:
            continue
        fresh = fresh or (change.task_id, change.attempt) not in known
        if fresh and change.busy >= level:
            return change.at
    return math.inf
