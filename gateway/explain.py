"""Why a job is where it is: what the dispatcher last said of it, or else what the queue in the database shows."""

from __future__ import annotations

from typing import Any

from cluster.metadata import jobs
from cluster.metadata.schema import Job
from gateway.auth import Principal
from gateway.ports import Ports
from gateway.schemas import ExplainResponse
from scheduler.jobs import JobState
from scheduler.reports import Rule

ENDED = {
    JobState.COMPLETED: "It is done.",
    JobState.FAILED: "It failed; see the job's failure.",
    JobState.CANCELLED: "It was cancelled.",
}


async def explain_job(ports: Ports, who: Principal, job_id: str) -> ExplainResponse:
    """One of the caller's jobs, explained.

    Raises:
        RowMissing: the user has no such job.
    """
    async with ports.database.read() as session:
        job = await jobs.job_of(session, who.subject, job_id)
        ahead = await jobs.jobs_ahead(session, job)
        depths = await jobs.queue_depths(session)
    state = JobState(job.state)
    if state in ENDED:
        return _answer(job, position=None, reason=ENDED[state], estimate_s=0.0)
    told = await ports.bell.explanation(job_id)
    if told is not None:
        return from_dispatcher(job, told, ports.clock())
    return from_queue(job, ahead, depths)


def from_dispatcher(job: Job, told: dict[str, Any], now: float) -> ExplainResponse:
    """The scheduler's own words (`scheduler.reports.Explanation`, times in epoch seconds)."""
    end = told.get("end")
    return _answer(
        job,
        position=int(told["jobs_ahead"]) + 1 if told["rule"] != Rule.RUNNING else None,
        reason=str(told["sentence"]),
        estimate_s=round(max(0.0, float(end["at"]) - now), 1) if end else None,
        details={key: value for key, value in told.items() if key != "job_id"},
    )


def from_queue(job: Job, ahead: int, depths: dict[tuple[str, str], int]) -> ExplainResponse:
    """What can be told while no dispatcher has the job."""
    running = sum(count for (_, state), count in depths.items() if state == JobState.RUNNING)
    if job.paused:
        return _answer(job, position=None, reason="It is paused.", estimate_s=None)
    if job.state == JobState.RUNNING:
        return _answer(job, position=None, reason="A dispatcher has claimed it.", estimate_s=None)
    first = f"{ahead} earlier {'job' if ahead == 1 else 'jobs'} of its tier" if ahead else "No earlier job of its tier"
    reason = f"It waits for a dispatcher. {first} and {running} running."
    return _answer(job, position=ahead + 1, reason=reason, estimate_s=None)


def _answer(
    job: Job, *, position: int | None, reason: str, estimate_s: float | None, details: dict[str, Any] | None = None
) -> ExplainResponse:
    return ExplainResponse(
        job_id=job.id,
        state=JobState(job.state),
        position=position,
        reason=reason,
        estimate_s=estimate_s,
        details=details or {},
    )
