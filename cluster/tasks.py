"""What crosses Ray between the dispatcher and a worker: requests and outcomes, as values.

A request carries everything that the work needs but the media; an outcome is a result or a `Failure`, never an
exception.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from encoders.errors import Failure
from encoders.media import MediaInfo
from encoders.plan import Plan
from encoders.recognition.known import KnownContent
from encoders.trim import Trim
from scheduler.jobs import TaskKind


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRequest:
    """One attempt of one task.

    Attributes:
        source_key: of the upload in object storage.
        slots: encode slots that the farm has now; how finely an inspected source is cut.
        part: which segment (its index) or which sound rendition (its name); None for `inspect` and `package`.
        trim: the span of the source that is kept; for `inspect`, whose plan holds it from then on.
        plan, info: None for `inspect`, which makes them.
        timeout_s: after this the attempt is stopped and fails.
        confined: whether this is a poison task's last try: nothing else runs in the worker's process.
    """

    job_id: str
    task_id: str
    attempt: int
    kind: TaskKind
    video_id: str
    source_key: str
    profile: str
    backend: str
    threads: int
    slots: int
    timeout_s: float
    part: int | str | None = None
    trim: Trim | None = None
    plan: Plan | None = None
    info: MediaInfo | None = None
    confined: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetFile:
    """One file of a finished asset that has a row of its own in the database."""

    kind: str
    key: str
    content_type: str
    size_bytes: int
    width: int | None = None
    height: int | None = None
    bandwidth_bps: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A finished attempt.

    Attributes:
        engine_s: CPU seconds (or engine seconds) that the work took, for fairness and prediction.
        wall_s: from the request's arrival to the record's landing.
        reused: whether an earlier attempt had finished the work already, so nothing was encoded now.
        info, plan: of an inspected source.
        assets: of a packaged asset.
        known_content: registered works that a packaged asset holds; None when nobody looked.
        warnings: what was odd, for people.
    """

    engine_s: float
    wall_s: float
    reused: bool = False
    info: MediaInfo | None = None
    plan: Plan | None = None
    assets: tuple[AssetFile, ...] = ()
    warnings: tuple[str, ...] = ()
    timings_s: dict[str, float] = field(default_factory=dict)
    known_content: KnownContent | None = None


Outcome = Done | Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningTask:
    """An attempt on a worker, as the worker tells it to a dispatcher that did not start it.

    Attributes:
        elapsed_s: since it began.
    """

    job_id: str
    task_id: str
    attempt: int
    backend: str
    elapsed_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerDescription:
    """What a worker says of itself when it has started, and to each dispatcher that takes it over.

    Attributes:
        device_id: GPU UUID, or "cpu:<node>".
        backends: that its host has proven, best first.
        device_sessions: encode sessions of its whole device, shared by the device's workers; 0 = no limit.
        device_memory_bytes: memory of its whole device, or of its node, shared likewise; 0 = no limit.
        running: attempts that it runs, or whose outcomes it holds because nobody may have heard of them.
        build: identity of the code and settings that it was started with.
    """

    worker_id: str
    node_id: str
    device_id: str
    pid: int
    backends: tuple[str, ...]
    device_sessions: int = 0
    device_memory_bytes: int = 0
    running: tuple[RunningTask, ...] = ()
    build: str = ""
