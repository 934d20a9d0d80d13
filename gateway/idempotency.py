"""Requests that must happen once: the header `Idempotency-Key`, kept with its answer in the database.

The key is reserved before the work and freed when the work fails, so that it can be tried again. A process that is
killed in between leaves a reservation without an answer; it counts as free again after a minute, since no request
takes that long.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Header
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.metadata import idempotency
from cluster.metadata.schema import IdempotencyKey
from gateway.auth import Principal
from gateway.errors import IdempotencyKeyReused, RequestInProgress
from gateway.ports import Ports

ABANDONED_S = 60.0

IdempotencyHeader = Annotated[
    str | None,
    Header(alias="Idempotency-Key", min_length=1, max_length=200, description="Makes a repeated request answer alike."),
]


async def once(
    ports: Ports,
    who: Principal,
    key: str | None,
    route: str,
    request: BaseModel,
    work: Callable[[], Awaitable[BaseModel]],
) -> BaseModel | dict[str, object]:
    """The answer of `work`, which is called once for each key; later calls get the kept answer.

    Raises:
        IdempotencyKeyReused: the key came with another request before.
        RequestInProgress: the first call is still at work.
    """
    if key is None:
        return await work()
    digest = hashlib.sha256(request.model_dump_json().encode()).hexdigest()
    held = await _reserve(ports, who, key, route, digest)
    if held is not None:
        if (held.route, held.request_hash) != (route, digest):
            raise IdempotencyKeyReused("this Idempotency-Key came with another request")
        if held.response is None:
            raise RequestInProgress("the first request with this Idempotency-Key is still at work")
        return dict(held.response)
    try:
        answer = await work()
    except BaseException:
        await ports.database.run(lambda s: idempotency.forget_request(s, who.subject, key))
        raise
    kept = answer.model_dump(mode="json")
    await ports.database.run(lambda s: idempotency.keep_answer(s, who.subject, key, 200, kept))
    return answer


async def _reserve(ports: Ports, who: Principal, key: str, route: str, digest: str) -> IdempotencyKey | None:
    now = ports.clock()

    async def write(session: AsyncSession) -> IdempotencyKey | None:
        held = await idempotency.begin_request(session, who.subject, key, route, digest, now)
        if held is None or held.status is not None or held.created_at > now - ABANDONED_S:
            return held
        await idempotency.forget_request(session, who.subject, key)
        return await idempotency.begin_request(session, who.subject, key, route, digest, now)

    return await ports.database.run(write)
