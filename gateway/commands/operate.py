"""What an operator does: dead letters, pauses, order, nodes. All of it goes to the database, so it needs no gateway.

Dispatchers see a change at their next look, within a second; a ring at the doorbell, where Redis is given, is faster.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click
from rich.markup import escape
from rich.table import Table

from gateway.client_http import FarmUnreachable
from gateway.commands.exits import out
from gateway.commands.tools import Duration

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

T = TypeVar("T")


def in_database(work: Callable[[AsyncSession], Awaitable[T]]) -> T:
    """Do it in one transaction on the farm's database (REELMILL_DATABASE_URL, or that of the data folder), and ring.

    Raises:
        FarmUnreachable: no farm has ever run on the data folder, and no database is named.
        DatabaseUnavailable, DatabaseOutdated: nothing was changed.
    """
    from redis.asyncio import Redis

    from cluster.doorbell import JOBS, ring
    from cluster.logs import configure_logging
    from cluster.metadata.database import Database
    from cluster.settings import ClusterSettings

    configure_logging(as_json=False, level=logging.WARNING)
    settings = ClusterSettings()
    if not settings.database_url and not (settings.root / "farm.db").exists():
        raise FarmUnreachable(f"no farm has run on {settings.root}: set REELMILL_DATA_DIR or REELMILL_DATABASE_URL")

    async def run() -> T:
        database = Database(settings.effective_database_url)
        try:
            answer = await database.run(work)
        finally:
            await database.close()
        if settings.redis_url:
            redis = Redis.from_url(settings.redis_url)
            await ring(redis, JOBS)
            await redis.aclose()
        return answer

    return asyncio.run(run())


@click.group()
def dead() -> None:
    """Dead letters: jobs that the farm gave up on although their sources may be fine."""


@dead.command("list")
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
def list_dead(as_json: bool) -> None:
    """List dead letters, newest first."""
    from cluster.metadata import operations

    found = in_database(operations.dead_letters)
    if as_json:
        click.echo(json.dumps([_letter(job) for job in found]))
        return
    table = Table("job", "user", "tier", "ended", "code", "what happened", box=None)
    for job in found:
        failure = job.failure or {}
        ended = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(job.finished_at or 0))
        detail = escape(str(failure.get("detail", ""))[:120])
        table.add_row(job.id, escape(job.user_id), job.tier, ended, str(failure.get("code", "")), detail)
    out.print(table)
    if found:
        out.print("see one with `reelmill dead show JOB`; run it again with `reelmill dead replay JOB`", style="dim")


@dead.command("show")
@click.argument("job")
def show_dead(job: str) -> None:
    """Print all that is known of a dead letter, as JSON: parameters, tries, devices, the end of its stderr."""
    from cluster.metadata import operations

    letter, tasks = in_database(lambda session: operations.dead_letter(session, job))
    shown = _letter(letter) | {
        "profile": letter.profile,
        "options": letter.options,
        "gpu": letter.gpu,
        "encoder": letter.encoder,
        "claims": letter.attempt,
        "source": {name: value for name, value in (letter.info or {}).items() if name != "keyframes"},
        "tasks": [
            {
                "task": task.id,
                "state": task.state,
                "attempts": task.attempts,
                "deaths": task.deaths,
                "parameters": task.spec,
                "failure": task.failure,
            }
            for task in tasks
        ],
    }
    click.echo(json.dumps(shown, indent=2))


@dead.command("replay")
@click.argument("job")
def replay_dead(job: str) -> None:
    """Put a dead letter back into the queue; what it had finished is not done again."""
    from cluster.metadata import operations

    letter = in_database(lambda session: operations.replay(session, job, time.time()))
    out.print(f"{letter.id} is queued again")


@dead.command("drop")
@click.argument("job")
def drop_dead(job: str) -> None:
    """Take a job off the list; its owner may still retry the video."""
    from cluster.metadata import operations

    letter = in_database(lambda session: operations.drop(session, job))
    out.print(f"{letter.id} is off the list")


def _letter(job: Any) -> dict[str, Any]:
    return {
        "job": job.id,
        "video": job.video_id,
        "user": job.user_id,
        "tier": job.tier,
        "created_at": job.created_at,
        "finished_at": job.finished_at,
        "failure": job.failure,
    }


@click.command()
@click.argument("job")
def pause(job: str) -> None:
    """Let a JOB start nothing new; what runs of it, finishes."""
    from cluster.metadata import jobs

    in_database(lambda session: jobs.set_paused(session, job, True))
    out.print("paused; `reelmill resume` lets it go on")


@click.command()
@click.argument("job")
def resume(job: str) -> None:
    """Let a paused JOB go on."""
    from cluster.metadata import jobs

    in_database(lambda session: jobs.set_paused(session, job, False))
    out.print("resumed")


@click.command()
@click.argument("job")
@click.option("--tier", type=click.Choice(["paid", "verified", "free"]), help="Have it served as a job of this tier.")
@click.option("--weight", type=click.FloatRange(0.01, 100), help="Its share among its owner's jobs; 1 is usual.")
def boost(job: str, tier: str | None, weight: float | None) -> None:
    """Move a queued or running JOB to another tier, another weight, or both; to tier `paid` when nothing is said."""
    from cluster.metadata import operations

    tier = tier or (None if weight is not None else "paid")
    in_database(lambda session: operations.reprioritise(session, job, tier, weight))
    out.print("moved")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
def nodes(as_json: bool) -> None:
    """List the farm's nodes: what they do, and which are being drained."""
    from cluster.metadata.nodes import list_nodes

    found = in_database(list_nodes)
    if as_json:
        names = ("id", "affinity", "address", "state", "workers", "running", "drain_by", "seen_at")
        click.echo(json.dumps([{name: getattr(node, name) for name in names} for node in found]))
        return
    table = Table("node", "address", "cluster", "state", "workers", "running", "seen", box=None)
    for node in found:
        seen = f"{max(0.0, time.time() - node.seen_at):.0f} s ago"
        table.add_row(node.id[:12], node.address, node.affinity, node.state, str(node.workers), str(node.running), seen)
    out.print(table)


@click.command()
@click.argument("node")
@click.option("--within", type=Duration(), default="120s", show_default=True, help="What would not end by then moves.")
@click.option("--undo", is_flag=True, help="Let the node work again.")
def drain(node: str, within: float, undo: bool) -> None:
    """Empty a NODE (its address, or the beginning of its id): nothing new starts there, and late work moves elsewhere.

    A machine that is told of its end, as spot machines are two minutes before, calls this for itself.
    """
    from cluster.metadata.nodes import ask_to_drain

    drain_by = None if undo else time.time() + within
    row = in_database(lambda session: ask_to_drain(session, node, drain_by))
    out.print(f"{row.id[:12]} {'works again' if undo else 'is being drained; see `reelmill nodes`'}")
