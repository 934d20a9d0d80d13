"""Is the process alive, can it serve, and what has it counted."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import text

from encoders.errors import FarmError
from gateway import schemas
from gateway.ports import Ports, ports_of

router = APIRouter(tags=["health"])

CHECK_TIMEOUT_S = 3.0
PROBE_KEY = "probe/ready"
"""A key that need not exist: any answer about it shows that the store answers."""


@router.get("/healthz", summary="Is the process alive?")
async def healthz() -> schemas.Health:
    """Answers as long as the process can answer at all; asks nobody else."""
    return schemas.Health()


@router.get("/readyz", summary="Can requests be served?", responses={503: {"model": schemas.Readiness}})
async def readyz(request: Request, response: Response) -> schemas.Readiness:
    """Asks every dependency. Redis is only reported: without it the gateway goes on by polling."""
    ports = ports_of(request)
    database, storage, redis = await asyncio.gather(
        _state(_ask_database(ports)), _state(_ask_storage(ports)), _state(_ask_redis(ports))
    )
    ready = database == storage == "ok"
    if not ready:
        response.status_code = 503
    return schemas.Readiness(ready=ready, checks={"database": database, "storage": storage, "redis": redis})


@router.get("/metrics", summary="Metrics for Prometheus", response_class=Response, include_in_schema=False)
async def metrics(request: Request) -> Response:
    """This process's counters, in Prometheus' text format."""
    return Response(generate_latest(ports_of(request).metrics.registry), media_type=CONTENT_TYPE_LATEST)


async def _state(asked: Coroutine[None, None, str]) -> str:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            return await asked
    except TimeoutError:
        return "no answer"
    except FarmError as error:
        return error.code


async def _ask_database(ports: Ports) -> str:
    async with ports.database.read() as session:
        await session.execute(text("SELECT 1"))
    return "ok"


async def _ask_storage(ports: Ports) -> str:
    await asyncio.to_thread(ports.store.head, PROBE_KEY)
    return "ok"


async def _ask_redis(ports: Ports) -> str:
    return await ports.bell.state()
