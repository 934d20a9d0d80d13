"""What the dispatcher's loop tells people: metrics, explanations for the gateways, and lines of the log."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import structlog

from cluster.active_jobs import ActiveJob
from cluster.explanations import as_json
from cluster.metrics import DispatcherMetrics
from cluster.tasks import Done
from encoders.errors import Failure
from scheduler import instructions
from scheduler.engine import Scheduler
from scheduler.reports import Explanation

log = structlog.get_logger()

EXPLAIN_LIMIT = 500
EXPLAIN_S = 0.1
"""Most jobs explained each time, and most of the loop's time that it may take."""
TELL_EVERY_S = 1.0
"""How often metrics and the explanations that the gateway reads are renewed."""

Publish = Callable[[dict[str, Any]], Coroutine[Any, Any, None]]
"""Publishes explanations (job id -> JSON-able value) for the gateways."""


class Teller:
    """Tells of one dispatcher.

    Args:
        jobs: those that it holds.
    """

    def __init__(
        self, engine: Scheduler, metrics: DispatcherMetrics, jobs: Mapping[str, ActiveJob], publish: Publish
    ) -> None:
        self._engine = engine
        self._metrics = metrics
        self._jobs = jobs
        self._publish = publish
        self._told_at = 0.0
        self._unexplained: list[str] = []
        self._publishing: asyncio.Task[None] | None = None

    def tell(self) -> None:
        """Metrics and explanations, at most once a second: nobody reads them faster, and gathering them costs.

        Publishing goes on beside the loop, which waits for nobody who listens.
        """
        if time.monotonic() - self._told_at < TELL_EVERY_S:
            return
        self._told_at = time.monotonic()
        self._metrics.observe(self._engine.stats())
        if self._publishing is not None:
            if not self._publishing.done():
                return
            self._publishing.result()
        explained = {job_id: as_json(each) for job_id, each in self._explain_some().items()}
        self._publishing = asyncio.create_task(self._publish(explained)) if explained else None

    def _explain_some(self) -> dict[str, Explanation]:
        """Explanations of as many jobs as a part of the loop's time allows; the others' turn comes next."""
        until = time.monotonic() + EXPLAIN_S
        explained: dict[str, Explanation] = {}
        for _ in range(min(len(self._jobs), EXPLAIN_LIMIT)):
            if not self._unexplained:
                self._unexplained = list(self._jobs)[::-1]
            job_id = self._unexplained.pop()
            found = self._engine.explain(job_id, time.monotonic())
            if found is not None:
                explained[job_id] = found
            if time.monotonic() > until:
                break
        return explained

    def done(self, start: instructions.StartTask, done: Done) -> None:
        """An attempt brought its result."""
        self._metrics.task_finished("done", start.backend)
        log.info(
            "task_done",
            task=start.task_id,
            attempt=start.attempt,
            worker=start.worker_id,
            reused=done.reused,
            wall_s=round(done.wall_s, 3),
            engine_s=round(done.engine_s, 3),
            **{f"{name}_s": round(value, 3) for name, value in done.timings_s.items()},
        )

    def failed(self, start: instructions.StartTask, failure: Failure) -> None:
        """An attempt failed."""
        self._metrics.task_finished(failure.code, start.backend)
        log.warning(
            "task_failed",
            task=start.task_id,
            attempt=start.attempt,
            worker=start.worker_id,
            code=failure.code,
            fault=failure.fault,
            detail=failure.detail,
            evidence=dict(failure.evidence),
        )

    def fell_back(self, each: instructions.FellBack) -> None:
        """A job goes on with less than it began with."""
        self._metrics.fell_back(each.given_up, each.to, each.reason)
        log.warning("fell_back", job_id=each.job_id, given_up=each.given_up, to=each.to, code=each.reason)

    def finished(self, each: instructions.FinishJob, video_id: str) -> None:
        """A job is over."""
        failure = each.failure
        log.info(
            "job_finished",
            job_id=each.job_id,
            video_id=video_id,
            state=each.state,
            code=failure.code if failure else None,
            detail=failure.detail if failure else None,
        )
        self._metrics.job_finished(each.state, failure)

    def alert(self, each: instructions.Alert) -> None:
        """A person should know."""
        log.error("alert", alert=each.name, detail=each.detail)
        self._metrics.alert(each.name)

    def wanted(self, each: instructions.AskForWorkers) -> None:
        """More workers would be of use."""
        self._metrics.wanted_workers(each.count)
