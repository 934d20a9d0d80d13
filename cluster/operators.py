"""What operators want, brought to the dispatcher: differences between what is written and what the engine knows.

Operators write rows (`metadata.operations`, `metadata.nodes`) and ring; a dispatcher looks at each ring and at each
poll. So commands work without HTTP, while dispatchers restart, and whichever of them holds the job.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Protocol

from cluster.metadata import nodes, operations
from cluster.metadata.database import Database
from cluster.metadata.nodes import NodeReport
from cluster.pool import NodeView, Pool
from scheduler import events
from scheduler.jobs import Tier

REPORT_EVERY_S = 10.0
"""How often nodes are reported though nothing about them has changed."""


class Treated(Protocol):
    """How the engine was told to treat a job."""

    paused: bool
    tier: str
    weight: float


async def changed_wishes(database: Database, owner: str, jobs: Mapping[str, Treated], at: float) -> list[events.Event]:
    """Events for jobs that an operator wants treated otherwise than they are; `jobs` are brought up to date.

    Raises:
        DatabaseUnavailable: nothing was read.
    """
    async with database.read() as session:
        wanted = await operations.wishes(session, owner)
    found: list[events.Event] = []
    for wish in wanted:
        job = jobs.get(wish.job_id)
        if job is None:
            continue
        if wish.paused != job.paused:
            kind = events.JobPaused if wish.paused else events.JobResumed
            found.append(kind(at=at, job_id=wish.job_id))
        if (wish.tier, wish.weight) != (job.tier, job.weight):
            found.append(events.JobReprioritised(at=at, job_id=wish.job_id, tier=Tier(wish.tier), weight=wish.weight))
        job.paused, job.tier, job.weight = wish.paused, wish.tier, wish.weight
    return found


class NodeDesk:
    """Keeps the nodes' rows, the pool and the engine of one dispatcher in step.

    Args:
        affinity: name of the cluster.
    """

    def __init__(self, database: Database, pool: Pool, affinity: str) -> None:
        self.database = database
        self.pool = pool
        self.affinity = affinity
        self._told: dict[str, float] = {}
        self._reported: tuple[list[NodeReport], float] = ([], 0.0)

    async def look(self, at: float) -> list[events.Event]:
        """Start, go on with, or end draining; what the engine must know of it.

        Args:
            at: now, on the engine's clock.

        Raises:
            DatabaseUnavailable: draining goes on as it was.
        """
        async with self.database.read() as session:
            drains = await nodes.drains(session, self.affinity)
        found: list[events.Event] = []
        reports = []
        for view in self.pool.nodes():
            drain_by = drains.get(view.node_id)
            self.pool.set_draining(view.node_id, drain_by is not None)
            if drain_by is not None:
                found += self._drain(view, at + (drain_by - time.time()))
            # Workers told to drain take nothing any more, so they make room for new ones when the node works again.
            idle = [worker_id for worker_id in view.idle if worker_id in self._told]
            for worker_id in idle:
                self._told.pop(worker_id)
                self.pool.retire(worker_id)
            reports.append(_report(view, drain_by is not None, len(view.workers) - len(idle)))
        await self._report(reports)
        return found

    def _drain(self, view: NodeView, deadline_at: float) -> list[events.Event]:
        fresh = [worker_id for worker_id in view.workers if worker_id not in self._told]
        self._told |= dict.fromkeys(fresh, deadline_at)
        return [events.WorkerDraining(at=time.monotonic(), worker_id=each, deadline_at=deadline_at) for each in fresh]

    async def _report(self, reports: list[NodeReport]) -> None:
        before, at = self._reported
        now = time.time()
        if reports == before and now - at < REPORT_EVERY_S:
            return
        async with self.database.write() as session:
            await nodes.report_nodes(session, self.affinity, reports, now)
        self._reported = (reports, now)


def _report(view: NodeView, draining: bool, workers: int) -> NodeReport:
    state = "alive" if not draining else "draining" if workers else "drained"
    return NodeReport(node_id=view.node_id, address=view.address, state=state, workers=workers, running=view.running)
