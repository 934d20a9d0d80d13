"""A farm's database, asked from outside by short connections of its own: what a storm and its aftermath look at."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select, create_engine, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from cluster.errors import DatabaseUnavailable
from cluster.metadata.schema import Job, Lease, Node
from scheduler.jobs import JobState

LIVE = (JobState.QUEUED, JobState.RUNNING)


def ask(url: str, statement: Select[*tuple[Any, ...]]) -> list[Any]:
    """Rows of a query.

    Args:
        url: of the farm's database, as its settings name it.

    Raises:
        DatabaseUnavailable: it does not answer.
    """
    parsed = make_url(url)
    engine = create_engine(parsed.set(drivername=parsed.drivername.replace("+aiosqlite", "")), poolclass=NullPool)
    try:
        with engine.connect() as connection:
            return list(connection.execute(statement))
    except OperationalError as error:
        raise DatabaseUnavailable(f"database: {error.orig}") from error


def leader(url: str) -> str:
    """Name of the dispatcher that leads; empty when none ever has."""
    rows = ask(url, select(Lease.owner).where(Lease.name == "dispatcher/"))
    return str(rows[0].owner) if rows else ""


def live_jobs(url: str) -> list[Any]:
    """Id, state and lease_owner of jobs that are held or not over."""
    return ask(
        url, select(Job.id, Job.state, Job.lease_owner).where(Job.lease_owner.is_not(None) | Job.state.in_(LIVE))
    )


def working_nodes(url: str) -> list[Any]:
    """Id, address and workers of the nodes that may work."""
    return ask(url, select(Node.id, Node.address, Node.workers).where(Node.state == "alive"))
