"""Machines of a cluster: its dispatcher writes what it sees of them, an operator writes what he wants of them.

Rule: only `ask_to_drain` writes `drain_by`; a dispatcher's report leaves it as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import delete, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.errors import RowMissing
from cluster.metadata.schema import Node

GONE = "gone"
GONE_KEPT_S = 86_400.0
"""How long a node that is gone is still shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeReport:
    """A node as its dispatcher sees it."""

    node_id: str
    address: str
    state: str
    workers: int
    running: int


async def report_nodes(session: AsyncSession, affinity: str, reports: Iterable[NodeReport], now: float) -> None:
    """Write how a cluster's nodes are; those of it that are not named are gone."""
    rows = {row.id: row for row in await session.scalars(select(Node).where(Node.affinity == affinity))}
    for report in reports:
        row = rows.pop(report.node_id, None)
        if row is None:
            row = Node(id=report.node_id, affinity=affinity)
            session.add(row)
        row.address, row.state = report.address, report.state
        row.workers, row.running, row.seen_at = report.workers, report.running, now
    for row in rows.values():
        row.state, row.workers, row.running = GONE, 0, 0
    await session.flush()
    await session.execute(delete(Node).where(Node.state == GONE, Node.seen_at < now - GONE_KEPT_S))


async def drains(session: AsyncSession, affinity: str) -> Mapping[str, float]:
    """Nodes of a cluster that shall be emptied, and until when."""
    query = select(Node.id, Node.drain_by).where(Node.affinity == affinity, Node.drain_by.is_not(None))
    return {row.id: row.drain_by for row in await session.execute(query)}


async def list_nodes(session: AsyncSession) -> Sequence[Node]:
    """All nodes of all clusters."""
    return (await session.scalars(select(Node).order_by(Node.affinity, Node.address, Node.id))).all()


async def ask_to_drain(session: AsyncSession, name: str, drain_by: float | None) -> Node:
    """Ask for a node to be emptied by a time (epoch seconds), or (None) let it work again.

    Args:
        name: the node's address, or the beginning of its id.

    Raises:
        RowMissing: no node that is there has this name, or several have.
    """
    query = select(Node).where(Node.state != GONE, or_(Node.address == name, Node.id.startswith(name, autoescape=True)))
    found = (await session.scalars(query.with_for_update())).all()
    if len(found) != 1 or not name:
        many = f"{len(found)} nodes are" if found else "no node is"
        raise RowMissing(f"{many} called {name!r}: see `reelmill nodes`")
    found[0].drain_by = drain_by
    await session.flush()
    return found[0]
