"""How far a reader of the event table has come that must not lose an event: delivered at least once, in order."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from cluster.metadata import events
from cluster.metadata.schema import DeliveryCursor, Event


async def open_cursor(session: AsyncSession, name: str) -> DeliveryCursor:
    """A reader's cursor. A new reader begins with what happens from now on."""
    cursor = await session.get(DeliveryCursor, name, populate_existing=True)
    if cursor is None:
        cursor = DeliveryCursor(name=name, event_id=await events.last_id(session), attempts=0, due_at=0.0)
        session.add(cursor)
        await session.flush()
    return cursor


async def next_event(session: AsyncSession, cursor: DeliveryCursor) -> Event | None:
    """The first event that the reader is not done with."""
    found = await events.read_after(session, cursor.event_id, 1, user_id=None)
    return found[0] if found else None


async def mark_done(session: AsyncSession, name: str, event_id: int) -> None:
    """The reader is done with this event and all before it."""
    cursor = await open_cursor(session, name)
    cursor.event_id, cursor.attempts, cursor.due_at = max(cursor.event_id, event_id), 0, 0.0


async def mark_failed(session: AsyncSession, name: str, due_at: float) -> None:
    """The event after the cursor could not be delivered; it is tried again at `due_at`."""
    cursor = await open_cursor(session, name)
    cursor.attempts, cursor.due_at = cursor.attempts + 1, due_at
