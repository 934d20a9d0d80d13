"""Requests that must happen once (header `Idempotency-Key`): the first answer is kept and given again.

Source: IETF draft-ietf-httpapi-idempotency-key-header.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.metadata.schema import IdempotencyKey

ABANDONED_AFTER_S = 60.0
"""A request without an answer for so long was cut off (its gateway died): the same request may take its key over."""


async def begin_request(
    session: AsyncSession, user_id: str, key: str, route: str, request_hash: str, now: float
) -> IdempotencyKey | None:
    """Reserve a key. Of two at once one gets it.

    Returns:
        None when the caller goes on, and then calls `keep_answer` or `forget_request`. Otherwise the row that is there:
        compare `route` and `request_hash` (another request under the same key is an error), then give `status` and
        `response` again, or say that the first one still runs (`status` is None).
    """
    insert = postgresql_insert if session.get_bind().dialect.name == "postgresql" else sqlite_insert
    row = {"user_id": user_id, "key": key, "route": route, "request_hash": request_hash, "created_at": now}
    made = await session.scalar(
        insert(IdempotencyKey).values(row).on_conflict_do_nothing().returning(IdempotencyKey.key)
    )
    if made is not None:
        return None
    there = await session.get(IdempotencyKey, (user_id, key), populate_existing=True, with_for_update=True)
    if there is None:
        return None
    abandoned = there.status is None and there.created_at < now - ABANDONED_AFTER_S
    if abandoned and (there.route, there.request_hash) == (route, request_hash):
        there.created_at = now
        await session.flush()
        return None
    return there


async def keep_answer(session: AsyncSession, user_id: str, key: str, status: int, response: dict[str, Any]) -> None:
    """Keep the answer to a request, in the transaction that did what it asked."""
    row = await session.get(IdempotencyKey, (user_id, key))
    if row is not None:
        row.status, row.response = status, response
        await session.flush()


async def forget_request(session: AsyncSession, user_id: str, key: str) -> None:
    """Free a key whose request failed, so that it can be tried again."""
    await session.execute(
        delete(IdempotencyKey).where(
            IdempotencyKey.user_id == user_id, IdempotencyKey.key == key, IdempotencyKey.status.is_(None)
        )
    )


async def prune_requests(session: AsyncSession, before: float) -> None:
    """Forget keys made before `before` (epoch seconds)."""
    await session.execute(delete(IdempotencyKey).where(IdempotencyKey.created_at < before))
