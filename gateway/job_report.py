"""How long each step of a job took, read from the metadata: for the demo and for `reelmill transcode`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import select

from cluster.metadata import jobs
from cluster.metadata.database import Database
from cluster.metadata.schema import Job, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTime:
    """All tasks of one kind.

    Attributes:
        wall_s: from the first one's start to the last one's end.
        engine_s: what they worked together; more than `wall_s` when they ran beside each other.
    """

    step: str
    tasks: int
    wall_s: float
    engine_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class JobReport:
    """A finished job.

    Attributes:
        queued_s: from the upload's completion to the first task's start.
        total_s: from the upload's completion to the job's end.
        backend: that encoded the segments.
    """

    state: str
    backend: str
    queued_s: float
    total_s: float
    steps: tuple[StepTime, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


async def read_report(database: Database, job_id: str) -> JobReport:
    """The report of a job that has ended.

    Raises:
        DatabaseUnavailable: nothing is known.
    """
    async with database.read() as session:
        job = (await session.scalars(select(Job).where(Job.id == job_id))).one()
        tasks = await jobs.tasks_of(session, job_id)
    steps = step_times(tasks)
    starts = [task.started_at for task in tasks if task.started_at is not None]
    return JobReport(
        state=job.state,
        backend=job.encoder or "",
        queued_s=max(0.0, min(starts) - job.created_at) if starts else 0.0,
        total_s=(job.finished_at or job.created_at) - job.created_at,
        steps=tuple(steps),
    )


def step_times(tasks: Iterable[Task]) -> list[StepTime]:
    """Steps in the order in which their first task began; tasks that never ran are left out."""
    kinds: dict[str, list[tuple[float, float, float]]] = {}
    for task in tasks:
        if task.started_at is not None and task.finished_at is not None:
            kinds.setdefault(task.kind, []).append((task.started_at, task.finished_at, task.engine_s or 0.0))
    steps = [
        (
            min(start for start, _, _ in spans),
            StepTime(
                step=kind,
                tasks=len(spans),
                wall_s=max(end for _, end, _ in spans) - min(start for start, _, _ in spans),
                engine_s=sum(engine_s for _, _, engine_s in spans),
            ),
        )
        for kind, spans in kinds.items()
    ]
    return [step for _, step in sorted(steps, key=lambda item: item[0])]
