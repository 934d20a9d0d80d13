"""What finished and given-up videos leave in the store goes; what may still be asked for stays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cluster.caretaker import PAGE, REST_S, Caretaker
from cluster.errors import StoreUnavailable
from cluster.metadata.database import Database
from cluster.metadata.lifecycle import VideoStatus
from cluster.metadata.migrate import migrate
from cluster.metadata.schema import Video
from cluster.storage.local import LocalStore

NOW = 1_800_000_000.0
RETENTION_S = 3 * REST_S


class Place:
    """A database, a store, and a clock that tests turn."""

    def __init__(self, database: Database, store: LocalStore) -> None:
        self.database = database
        self.store = store
        self.now = NOW
        self.caretaker = self.restarted()

    def restarted(self) -> Caretaker:
        return Caretaker(self.database, self.store, RETENTION_S, lambda: self.now)

    async def video(self, video_id: str, status: VideoStatus, age_s: float) -> None:
        row: dict[str, Any] = {"title": "t", "visibility": "private", "filename": "f", "content_type": "video/mp4"}
        at = NOW - age_s
        async with self.database.write() as session:
            session.add(
                Video(
                    id=video_id,
                    user_id="ann",
                    size_bytes=1,
                    profile="default",
                    status=str(status),
                    source_key=f"sources/{video_id}/source",
                    created_at=at,
                    updated_at=at,
                    **row,
                )
            )
        for key in (f"work/{video_id}/k/segment-00000.json", f"assets/{video_id}/k/144p/00001.m4s"):
            self.store.put_bytes(key, b"x", "text/plain")

    def kept(self, video_id: str) -> set[str]:
        return {folder for folder in ("work", "assets") if self.store.list(f"{folder}/{video_id}/")}


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    url = f"sqlite+aiosqlite:///{tmp_path / 'farm.db'}"
    await asyncio.to_thread(migrate, url)
    database = Database(url)
    yield Place(database, LocalStore(tmp_path / "objects", "", b"s" * 32))
    await database.close()


async def test_records_of_finished_assets_go_and_the_assets_stay(place: Place) -> None:
    await place.video("ready", VideoStatus.READY, 2 * REST_S)
    await place.video("published", VideoStatus.PUBLISHED, 2 * REST_S)
    await place.video("fresh", VideoStatus.READY, REST_S / 2)
    await place.video("running", VideoStatus.PROCESSING, 9 * REST_S)
    assert await place.caretaker.round() == 2
    assert [place.kept(name) for name in ("ready", "published")] == [{"assets"}, {"assets"}]
    assert [place.kept(name) for name in ("fresh", "running")] == [{"work", "assets"}] * 2
    place.now += REST_S
    assert await place.caretaker.round() == 1
    assert place.kept("fresh") == {"assets"}


async def test_what_a_failed_job_made_is_kept_for_a_retry_and_goes_with_its_source(place: Place) -> None:
    await place.video("kept", VideoStatus.PROCESSING_FAILED, RETENTION_S - 1)
    await place.video("over", VideoStatus.PROCESSING_FAILED, RETENTION_S + 1)
    await place.video("rejected", VideoStatus.REJECTED_FORMAT, RETENTION_S + 1)
    await place.caretaker.round()
    assert [place.kept(name) for name in ("kept", "over", "rejected")] == [{"work", "assets"}, set(), set()]


async def test_a_backlog_is_worked_off_page_by_page_also_of_equal_times(place: Place) -> None:
    for number in range(PAGE + 3):
        await place.video(f"v{number:04d}", VideoStatus.READY, 2 * REST_S)
    assert [await place.caretaker.round() for _ in range(3)] == [PAGE, 3, 0]
    assert await place.restarted().round() == 0


async def test_a_store_that_is_away_costs_a_round_and_nothing_else(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    await place.video("ready", VideoStatus.READY, 2 * REST_S)

    def refuse(prefix: str) -> int:
        raise StoreUnavailable("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(place.store, "delete_prefix", refuse)
        assert await place.caretaker.round() == 0
    assert await place.caretaker.round() == 1
