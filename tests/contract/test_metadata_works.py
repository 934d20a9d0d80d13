"""Registered works as rows, and what was found in a video, on SQLite and PostgreSQL."""

from __future__ import annotations

import pytest

from cluster.errors import RowMissing
from cluster.metadata import works
from cluster.metadata.database import Database
from cluster.metadata.lifecycle import VideoTrigger
from cluster.metadata.schema import Video, Work
from cluster.metadata.videos import settle_video
from cluster.metadata.works import NewWork
from tests.contract.rows import NOW, queued_jobs


def new_work(video_id: str, title: str = "A film") -> NewWork:
    return NewWork(
        work_id=f"work-of-{video_id}",
        title=title,
        video_id=video_id,
        duration_ms=5_000_000_000,
        pictures=40,
        words=160,
        created_by="ann",
    )


async def test_works_are_added_listed_and_removed(db: Database) -> None:
    async with db.write() as session:
        await works.add_work(session, new_work("v1"), NOW)
        await works.add_work(session, new_work("v2", "Another"), NOW + 1)
    async with db.write() as session:
        listed = await works.list_works(session)
        assert [(work.id, work.title, work.duration_ms) for work in listed] == [
            ("work-of-v2", "Another", 5_000_000_000),
            ("work-of-v1", "A film", 5_000_000_000),
        ]
        assert (await works.remove_work(session, "work-of-v1")).video_id == "v1"
    async with db.write() as session:
        assert [work.id for work in await works.list_works(session)] == ["work-of-v2"]
        with pytest.raises(RowMissing):
            await works.remove_work(session, "work-of-v1")


async def test_a_video_is_registered_once(db: Database) -> None:
    async with db.write() as session:
        await works.add_work(session, new_work("v1"), NOW)
        again = NewWork(
            work_id="other", title="Its new title", video_id="v1", duration_ms=1, pictures=1, words=1, created_by="bob"
        )
        assert (await works.add_work(session, again, NOW + 5)).id == "work-of-v1"
    async with db.read() as session:
        work = await session.get_one(Work, "work-of-v1")
        assert (work.title, work.pictures, work.created_at) == ("Its new title", 40, NOW)
        assert len(await works.list_works(session)) == 1


async def test_what_was_found_is_kept_with_the_video(db: Database) -> None:
    await queued_jobs(db, 1)
    found = {"works": 3, "matches": [{"work_id": "w", "title": "Ä film"}]}
    async with db.write() as session:
        (video,) = (await session.scalars(Video.__table__.select())).all()  # its id alone
        assert (await session.get_one(Video, video)).known_content is None
        await settle_video(session, video, VideoTrigger.PROCESSING_STARTED, NOW)
        await settle_video(session, video, VideoTrigger.FINISHED, NOW, known_content=found)
    async with db.read() as session:
        assert (await session.get_one(Video, video)).known_content == found
