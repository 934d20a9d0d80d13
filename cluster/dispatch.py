"""`python -m cluster.dispatch`: one dispatcher process. Leads or stands by; dies rather than act on a lost lease."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import structlog
from prometheus_client import start_http_server
from redis.asyncio import Redis
from redis.exceptions import RedisError

from cluster.caretaker import Caretaker
from cluster.dispatcher import Dispatcher
from cluster.doorbell import JOBS, Doorbell
from cluster.errors import ClusterUnavailable, DatabaseUnavailable
from cluster.logs import configure_logging
from cluster.metadata import jobs, leases
from cluster.metadata.clock import lease_now
from cluster.metadata.database import Database
from cluster.metadata.migrate import migrate_when_there
from cluster.metrics import DispatcherMetrics
from cluster.pool import OpenPool
from cluster.ray_node import ray_environment
from cluster.ray_pool import NAMESPACE, WorkerPool
from cluster.settings import ClusterSettings
from cluster.storage.open import open_store
from scheduler.engine import Scheduler
from scheduler.settings import SchedulerSettings

log = structlog.get_logger()

LOST_LEADERSHIP = 3
"""Exit status of a dispatcher whose lease went to another: its supervisor starts it anew, as a standby."""
EXPLAIN_PREFIX = "reelmill:explain:"
EXPLAIN_TTL_S = 30
"""An explanation that is older than this says nothing about now."""


class LostLeadership(RuntimeError):
    """Another dispatcher leads; this process must not write any more."""


def connect_ray(settings: ClusterSettings) -> None:
    """Join the Ray cluster of the settings.

    Raises:
        ClusterUnavailable: it does not answer, or refuses the token.
    """
    os.environ.update({**ray_environment(settings.root), **_given_ray_environment()})
    import ray  # reads its environment when it is imported

    try:
        ray.init(
            address=settings.ray_address or "auto",
            namespace=NAMESPACE,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=False,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ClusterUnavailable(f"Ray at {settings.ray_address or 'auto'} cannot be joined: {error}") from error


def _given_ray_environment() -> dict[str, str]:
    """What the operator set about Ray's authentication wins over the embedded defaults."""
    return {name: value for name, value in os.environ.items() if name.startswith("RAY_AUTH")}


def _identity() -> str:
    """Who asks for leadership: a name that is kept over restarts takes its own lease over at once."""
    return os.environ.get("REELMILL_DISPATCHER_NAME") or f"{socket.gethostname()}-{os.getpid()}"


async def lead(settings: ClusterSettings, database: Database, name: str, owner: str) -> int:
    """Wait for leadership; returns its fencing token."""
    told = False
    while True:
        try:
            async with database.write() as session:
                token = await leases.acquire(session, name, owner, await lease_now(session), settings.leader_lease_s)
            if token is not None:
                log.info("leading", name=name, owner=owner, token=token)
                return token
            if not told:
                log.info("standing_by", name=name, owner=owner)
                told = True
        except DatabaseUnavailable as error:
            log.warning("database_unavailable", error=error.detail)
        await asyncio.sleep(settings.leader_lease_s / 12)


async def keep_leading(settings: ClusterSettings, database: Database, name: str, owner: str, token: int) -> None:
    """Renew leadership until it is lost; then raise, so that nothing of this process goes on.

    While the database is away nobody can take over either, so work goes on; every write is fenced by its job's token.
    """
    renewed = time.monotonic()
    while True:
        await asyncio.sleep(settings.leader_lease_s / 4)
        try:
            async with database.write() as session:
                now = await lease_now(session)
                kept = await leases.renew(session, name, owner, token, now, settings.leader_lease_s)
            if not kept:
                raise LostLeadership(f"{name} is led by another dispatcher")
            renewed = time.monotonic()
        except DatabaseUnavailable as error:
            log.warning("database_unavailable", error=error.detail, since_s=round(time.monotonic() - renewed, 1))


async def serve(
    settings: ClusterSettings,
    join: Callable[[ClusterSettings], None] = connect_ray,
    open_pool: OpenPool | None = None,
) -> None:
    """Lead, work, and hand everything back when told to stop.

    A standby has joined the cluster before it leads: what it takes to take over is then done already.

    Args:
        join: connects to the workers' cluster; blocks.
        open_pool: the workers' side, Ray's unless given.
    """
    await migrate_when_there(settings.effective_database_url)
    database = Database(settings.effective_database_url)
    name = f"dispatcher/{settings.affinity}"
    owner = _identity()
    await asyncio.to_thread(join, settings)
    token = await lead(settings, database, name, owner)
    claimant = f"{name}/{owner}#{token}"
    async with database.write() as session:
        freed = await jobs.free_claims(session, f"{name}/", keep=claimant)
    log.info("claims_freed", count=freed)
    metrics = DispatcherMetrics()
    if settings.dispatcher_metrics_port:
        start_http_server(settings.dispatcher_metrics_port, addr=settings.metrics_host, registry=metrics.registry)
    redis = Redis.from_url(settings.redis_url, decode_responses=True) if settings.redis_url else None
    bell = Doorbell(redis, [JOBS]) if redis is not None else None

    async def publish(explanations: dict[str, Any]) -> None:
        if redis is not None:
            await _publish(redis, explanations)

    async def wait(timeout_s: float) -> None:
        if bell is None:
            await asyncio.sleep(timeout_s)
        else:
            await bell.wait(timeout_s)

    opened: OpenPool = open_pool or partial(WorkerPool, settings, owner=claimant)
    dispatcher = Dispatcher(settings, database, Scheduler(SchedulerSettings()), claimant, metrics, publish, opened)
    store = open_store(settings.effective_store_url, settings.public_url)
    caretaker = Caretaker(database, store, settings.source_retention_s)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    try:
        async with asyncio.TaskGroup() as group:
            work = [
                group.create_task(dispatcher.run(wait)),
                group.create_task(keep_leading(settings, database, name, owner, token)),
                group.create_task(caretaker.run()),
            ]
            await stopping.wait()
            for task in work:
                task.cancel()
    finally:
        with contextlib.suppress(DatabaseUnavailable):
            await dispatcher.close(keep_workers=not stopping.is_set())
            async with database.write() as session:
                await leases.release(session, name, owner, token)
        if bell is not None and redis is not None:
            await bell.close()
            await redis.aclose()
        await database.close()


async def _publish(redis: Redis, explanations: dict[str, Any]) -> None:
    """Let gateways see why jobs wait. Without Redis they say what the database shows."""
    try:
        async with redis.pipeline(transaction=False) as pipeline:
            for job_id, value in explanations.items():
                pipeline.set(f"{EXPLAIN_PREFIX}{job_id}", json.dumps(value), ex=EXPLAIN_TTL_S)
            await pipeline.execute()
    except (RedisError, OSError) as error:
        log.debug("explanations_not_published", error=str(error))


def main() -> None:
    """Entry point."""
    settings = ClusterSettings()
    configure_logging(settings.log_json)
    try:
        asyncio.run(serve(settings))
    except* LostLeadership as group:
        log.error("lost_leadership", error=str(group.exceptions[0]))
        sys.exit(LOST_LEADERSHIP)


if __name__ == "__main__":
    main()
