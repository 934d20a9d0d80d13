"""Slots as benchmarks want them: they never fail, hang, change or are drained; heirs say how they work."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cluster.pool import NodeView
from cluster.tasks import Outcome, WorkerDescription


class SteadyPool:
    """What is the same for all pretended slots; with `adopt` and `run` a `cluster.pool.Pool`.

    Args:
        joined, lost: see `cluster.pool.OpenPool`.
    """

    def __init__(self, joined: Callable[[WorkerDescription], None], lost: Callable[[str, str], None]) -> None:
        self._joined = joined
        self._lost = lost
        self.slots = 0
        self.backends = frozenset({"cpu"})

    async def refresh(self) -> None:
        """These workers never change."""

    async def resume(self, worker_id: str, task_id: str, attempt: int) -> Outcome | None:
        """Nothing was begun before."""

    async def stop(self, worker_id: str, task_id: str, attempt: int) -> None:
        """What was started has ended."""

    async def check(self, worker_id: str) -> tuple[bool, str]:
        """Pretended devices are always healthy."""
        return True, worker_id

    def replace(self, worker_id: str, reason: str) -> None:
        """A pretended worker that hangs is a bug of the simulation."""
        raise AssertionError(f"{worker_id}: {reason}")

    def nodes(self) -> Sequence[NodeView]:
        """No node that an operator could drain."""
        return ()

    def set_draining(self, node_id: str, draining: bool) -> None:
        """There are no nodes."""

    def retire(self, worker_id: str) -> None:
        """Nothing is ever drained."""

    def close(self) -> None:
        """Nothing to end."""
