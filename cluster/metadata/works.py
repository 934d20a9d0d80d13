"""Registered works as rows; what they are recognised by is in the store (`cluster.works`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.errors import RowMissing
from cluster.metadata.schema import Work


@dataclass(frozen=True, slots=True, kw_only=True)
class NewWork:
    """A work to register; `work_id` is the name of its fingerprint, which is stored before."""

    work_id: str
    title: str
    video_id: str
    duration_ms: int | None
    pictures: int
    words: int
    created_by: str


async def add_work(session: AsyncSession, new: NewWork, now: float) -> Work:
    """Register a work; one that was registered from the same video before keeps its id and gets the title."""
    found = await session.scalar(select(Work).where(Work.video_id == new.video_id).with_for_update())
    if found is not None:
        found.title = new.title
        await session.flush()
        return found
    work = Work(
        id=new.work_id,
        title=new.title,
        video_id=new.video_id,
        duration_ms=new.duration_ms,
        pictures=new.pictures,
        words=new.words,
        created_by=new.created_by,
        created_at=now,
    )
    session.add(work)
    await session.flush()
    return work


async def list_works(session: AsyncSession) -> Sequence[Work]:
    """All works, the newest first."""
    return (await session.scalars(select(Work).order_by(Work.created_at.desc(), Work.id))).all()


async def remove_work(session: AsyncSession, work_id: str) -> Work:
    """Take a work off the list; videos in which it was found stay as they are.

    Raises:
        RowMissing: there is none of that id.
    """
    work = await session.get(Work, work_id, with_for_update=True)
    if work is None:
        raise RowMissing(f"no work {work_id}")
    await session.delete(work)
    await session.flush()
    return work
