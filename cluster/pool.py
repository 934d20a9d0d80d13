"""What the dispatcher asks of its workers' side, whatever runs them: a port.

Ray's side of it is `ray_pool`; benchmarks and tests have others, without media.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from cluster.tasks import Outcome, TaskRequest, WorkerDescription


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeView:
    """A node that is alive, and its workers that have joined.

    Attributes:
        idle: those on which no attempt is.
        running: attempts on all of them.
    """

    node_id: str
    address: str
    workers: tuple[str, ...]
    idle: tuple[str, ...]
    running: int


class Pool(Protocol):
    """What the dispatcher asks of its workers' side."""

    @property
    def slots(self) -> int:
        """Workers that have joined or are about to."""
        ...

    @property
    def backends(self) -> frozenset[str]:
        """What they offer together."""
        ...

    async def refresh(self) -> None:
        """Start workers that are missing, report those that are gone."""
        ...

    async def adopt(self) -> None:
        """Take over the workers of a dispatcher before, with what they run: `joined` tells of each."""
        ...

    async def resume(self, worker_id: str, task_id: str, attempt: int) -> Outcome | None:
        """The outcome of an attempt that a dispatcher before started; None when the worker is gone."""
        ...

    async def run(self, worker_id: str, request: TaskRequest) -> Outcome | None:
        """One attempt; None when the worker is gone, which `lost` has told then."""
        ...

    async def stop(self, worker_id: str, task_id: str, attempt: int) -> None:
        """End an attempt."""
        ...

    async def check(self, worker_id: str) -> tuple[bool, str]:
        """Whether the worker's device still encodes as it should, and what was seen."""
        ...

    def replace(self, worker_id: str, reason: str) -> None:
        """End a worker and start another."""
        ...

    def nodes(self) -> Sequence[NodeView]:
        """The nodes that the last `refresh` saw alive."""
        ...

    def set_draining(self, node_id: str, draining: bool) -> None:
        """Whether no more workers are started on a node."""
        ...

    def retire(self, worker_id: str) -> None:
        """End a worker of a node that is being drained; `lost` tells it as "drained"."""
        ...

    def close(self) -> None:
        """End all workers."""
        ...


OpenPool = Callable[[Callable[[WorkerDescription], None], Callable[[str, str], None]], Pool]
"""Makes the workers' side from the callbacks (joined, lost)."""
