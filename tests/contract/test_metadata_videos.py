"""Videos, uploads, idempotency keys and leadership on SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio

import pytest

from cluster.errors import CursorInvalid, IllegalTransition, RowMissing
from cluster.metadata import events, leases
from cluster.metadata.database import Database
from cluster.metadata.deletion import delete_video
from cluster.metadata.idempotency import (
    ABANDONED_AFTER_S,
    begin_request,
    forget_request,
    keep_answer,
    prune_requests,
)
from cluster.metadata.jobs import NewJob, claim_jobs, enqueue_job
from cluster.metadata.lifecycle import UploadStatus, UploadTrigger, VideoStatus, VideoTrigger
from cluster.metadata.schema import Job, Video
from cluster.metadata.uploads import (
    complete_upload,
    count_open_uploads,
    create_upload,
    end_upload,
    expired_uploads,
    open_storage_uploads,
    parts_of,
    record_parts_received,
    record_parts_signed,
    upload_of,
    upload_of_video,
)
from cluster.metadata.videos import (
    NewAsset,
    add_assets,
    assets_of,
    list_videos,
    published_assets,
    published_video,
    set_video_status,
    settle_video,
    sources_to_drop,
    video_of,
)
from cluster.storage.base import Part
from tests.contract.rows import NOW, new_upload, uploaded_video

SIZES = {1: 10, 2: 10, 3: 5}
PARTS = [Part(number=n, size_bytes=size, etag=f"{n:032x}") for n, size in SIZES.items()]


async def events_of(db: Database, video_id: str) -> list[str]:
    async with db.read() as session:
        return [row.type for row in await events.read_after(session, 0, 100, user_id=None, video_id=video_id)]


async def finish(db: Database, video_id: str, trigger: VideoTrigger, **fields: object) -> None:
    async with db.write() as session:
        await set_video_status(session, video_id, VideoTrigger.PROCESSING_STARTED, NOW + 2)
        await set_video_status(session, video_id, trigger, NOW + 3, **fields)


async def test_upload_from_start_to_end(db: Database) -> None:
    new = new_upload()
    async with db.write() as session:
        video, upload = await create_upload(session, new, NOW)
        assert (video.status, upload.status) == ("DRAFT", "INITIATED")
    async with db.write() as session:
        await record_parts_signed(session, "ann", new.upload_id, {2: 10, 1: 10}, NOW + 1)
        await record_parts_signed(session, "ann", new.upload_id, {3: 5}, NOW + 2)
    async with db.read() as session:
        assert (await upload_of(session, "ann", new.upload_id)).status == UploadStatus.IN_PROGRESS
        assert (await video_of(session, "ann", new.video_id)).status == VideoStatus.UPLOADING
        assert await count_open_uploads(session, "ann") == 1
    async with db.write() as session:
        await record_parts_received(session, new.upload_id, PARTS[:1], NOW + 3)
        await record_parts_received(
            session, new.upload_id, [*PARTS[:1], Part(number=9, size_bytes=1, etag="x")], NOW + 4
        )
        rows = await parts_of(session, new.upload_id)
        assert [(row.part_number, row.size_bytes, row.etag, row.received_at) for row in rows] == [
            (1, 10, PARTS[0].etag, NOW + 3),
            (2, 10, None, None),
            (3, 5, None, None),
        ]
    async with db.write() as session:
        closed, first = await complete_upload(session, "ann", new.upload_id, PARTS, NOW + 5)
        assert (closed.status, closed.completed_at, first) == ("COMPLETED", NOW + 5, True)
    async with db.write() as session:
        _, first = await complete_upload(session, "ann", new.upload_id, PARTS, NOW + 6)
        assert not first
    async with db.read() as session:
        video = await video_of(session, "ann", new.video_id)
        assert (video.status, video.updated_at) == (VideoStatus.UPLOADED, NOW + 5)
        assert [row.etag for row in await parts_of(session, new.upload_id)] == [part.etag for part in PARTS]
        assert await count_open_uploads(session, "ann") == 0
        found = await upload_of_video(session, "ann", new.video_id)
        assert found is not None
        assert found.id == new.upload_id
    assert await events_of(db, new.video_id) == ["video.draft", "video.uploading", "video.uploaded"]


async def test_completion_and_job_are_one(db: Database) -> None:
    """Two completions at once, each with a job: one video UPLOADED, one job."""
    new = new_upload()
    async with db.write() as session:
        await create_upload(session, new, NOW)
        await record_parts_signed(session, "ann", new.upload_id, SIZES, NOW)

    async def complete() -> bool:
        async with db.write() as session:
            _, first = await complete_upload(session, "ann", new.upload_id, PARTS, NOW)
            if first:
                job = NewJob(video_id=new.video_id, user_id="ann", tier="free", profile="default")
                await enqueue_job(session, job, NOW)
            return first

    assert sorted(await asyncio.gather(*(complete() for _ in range(4)))) == [False, False, False, True]
    async with db.write() as session:
        assert len(await claim_jobs(session, "d", NOW, 20, 10)) == 1


async def test_ended_upload_takes_nothing(db: Database) -> None:
    new = new_upload()
    async with db.write() as session:
        _, upload = await create_upload(session, new, NOW)
        await record_parts_signed(session, "ann", new.upload_id, SIZES, NOW)
        await end_upload(session, upload, UploadTrigger.ABORTED, NOW + 1)
    async with db.read() as session:
        assert (await video_of(session, "ann", new.video_id)).status == VideoStatus.DRAFT
    for attempt in (
        lambda s: record_parts_signed(s, "ann", new.upload_id, {1: 10}, NOW),
        lambda s: complete_upload(s, "ann", new.upload_id, PARTS, NOW),
        lambda s: end_upload(s, upload, UploadTrigger.EXPIRED, NOW),
    ):
        with pytest.raises(IllegalTransition, match="ABORTED"):
            async with db.write() as session:
                await attempt(session)


async def test_expired_uploads_are_found(db: Database) -> None:
    late, later, done = (new_upload(expires_at=NOW + n) for n in (10, 5, 1))
    async with db.write() as session:
        for new in (late, later, done):
            await create_upload(session, new, NOW)
        await end_upload(session, await upload_of(session, "ann", done.upload_id), UploadTrigger.EXPIRED, NOW)
        assert [row.id for row in await expired_uploads(session, NOW + 20)] == [later.upload_id, late.upload_id]
        assert [row.id for row in await expired_uploads(session, NOW + 6)] == [later.upload_id]
        known = [late.storage_upload_id, done.storage_upload_id, "never heard of"]
        assert await open_storage_uploads(session, known) == {late.storage_upload_id}


def test_upload_checks_itself() -> None:
    with pytest.raises(ValueError, match="parts"):
        new_upload(part_count=2)
    with pytest.raises(ValueError, match="at least 1"):
        new_upload(size_bytes=0, part_count=0)


async def test_users_are_apart(db: Database) -> None:
    new = new_upload("ann")
    async with db.write() as session:
        await create_upload(session, new, NOW)
    for attempt in (
        lambda s: video_of(s, "eve", new.video_id),
        lambda s: assets_of(s, "eve", new.video_id),
        lambda s: upload_of(s, "eve", new.upload_id),
        lambda s: record_parts_signed(s, "eve", new.upload_id, {1: 10}, NOW),
        lambda s: complete_upload(s, "eve", new.upload_id, PARTS, NOW),
        lambda s: delete_video(s, "eve", new.video_id, NOW),
        lambda s: published_video(s, new.video_id),
        lambda s: published_assets(s, new.video_id),
    ):
        with pytest.raises(RowMissing):
            async with db.write() as session:
                await attempt(session)
    async with db.read() as session:
        assert await list_videos(session, "eve", None, 10) == ([], None)
        assert await upload_of_video(session, "eve", new.video_id) is None


async def test_videos_by_page(db: Database) -> None:
    made = [await uploaded_video(db, now=NOW + n // 2) for n in range(5)]
    await uploaded_video(db, "bob")
    async with db.read() as session:
        pages, cursor = [], None
        while True:
            page, cursor = await list_videos(session, "ann", cursor, 2)
            pages.append([video.id for video in page])
            if cursor is None:
                break
        assert [len(page) for page in pages] == [2, 2, 1]
        assert sorted(one for page in pages for one in page) == sorted(made)
        assert pages[0][0] == made[4]
        assert pages[2][0] in made[:2]
        for wrong in ("!", "AAAA", "bm90IGEgY3Vyc29y", "é"):
            with pytest.raises(CursorInvalid):
                await list_videos(session, "ann", wrong, 2)


async def test_ready_then_published(db: Database) -> None:
    video_id = await uploaded_video(db)
    async with db.write() as session:
        job = await enqueue_job(session, NewJob(video_id=video_id, user_id="ann", tier="free", profile="p"), NOW)
        await set_video_status(session, video_id, VideoTrigger.PROCESSING_STARTED, NOW + 1, duration_ms=4000)
        await set_video_status(session, video_id, VideoTrigger.PROCESSING_STARTED, NOW + 1)
        old = NewAsset(kind="hls", key="a/old.m3u8", content_type="x", bytes=1)
        await add_assets(session, video_id, job.id, [old])
        new = NewAsset(kind="hls", key="a/master.m3u8", content_type="x", bytes=2, bandwidth_bps=3_000_000_000)
        await add_assets(
            session, video_id, job.id, [new, NewAsset(kind="dash", key="a/m.mpd", content_type="y", bytes=3)]
        )
        await set_video_status(session, video_id, VideoTrigger.FINISHED, NOW + 2, asset_prefix="a/", fps="30000/1001")
    async with db.write() as session:
        with pytest.raises(RowMissing):
            await published_video(session, video_id)
        await set_video_status(session, video_id, VideoTrigger.PUBLISHED, NOW + 3)
    async with db.read() as session:
        video = await published_video(session, video_id)
        assert (video.duration_ms, video.asset_prefix, video.fps, video.published_at) == (
            4000,
            "a/",
            "30000/1001",
            NOW + 3,
        )
        assets = await published_assets(session, video_id)
        assert [(one.key, one.bandwidth_bps) for one in assets] == [("a/m.mpd", None), ("a/master.m3u8", 3_000_000_000)]
        assert [one.key for one in await assets_of(session, "ann", video_id)] == ["a/m.mpd", "a/master.m3u8"]
    assert (await events_of(db, video_id))[-3:] == ["video.processing", "video.ready", "video.published"]


async def test_rejection_and_retry(db: Database) -> None:
    video_id = await uploaded_video(db)
    why = {"status_code": "too_long", "status_detail": "41 s, at most 30 s.", "status_hint": "Trim it."}
    await finish(db, video_id, VideoTrigger.TOO_LONG, **why)
    async with db.read() as session:
        video = await video_of(session, "ann", video_id)
        assert (video.status, video.status_code) == (VideoStatus.REJECTED_TOO_LONG, "too_long")
        (event,) = (await events.read_after(session, 0, 99, user_id="ann", video_id=video_id))[-1:]
        assert (event.type, event.body["code"], event.body["hint"]) == (
            "video.rejected_too_long",
            "too_long",
            "Trim it.",
        )
        assert [one.id for one in await sources_to_drop(session, NOW + 4, 9)] == [video_id]
        assert await sources_to_drop(session, NOW + 3, 9) == []
    async with db.write() as session:
        again = await set_video_status(session, video_id, VideoTrigger.RETRIED, NOW + 9)
        assert (again.status, again.status_code, again.status_detail) == (VideoStatus.UPLOADED, None, None)


async def test_illegal_change_changes_nothing(db: Database) -> None:
    video_id = await uploaded_video(db)
    with pytest.raises(IllegalTransition, match=r"UPLOADED.*published"):
        async with db.write() as session:
            await set_video_status(session, video_id, VideoTrigger.PUBLISHED, NOW + 1, title="changed")
    with pytest.raises(RowMissing):
        async with db.write() as session:
            await set_video_status(session, "0" * 32, VideoTrigger.PUBLISHED, NOW)
    async with db.read() as session:
        video = await video_of(session, "ann", video_id)
        assert (video.status, video.title, video.updated_at) == (VideoStatus.UPLOADED, "A day", NOW)


async def test_deletion_stops_everything(db: Database) -> None:
    new = new_upload()
    async with db.write() as session:
        await create_upload(session, new, NOW)
        await record_parts_signed(session, "ann", new.upload_id, SIZES, NOW)
    busy = await uploaded_video(db)
    async with db.write() as session:
        running = await enqueue_job(session, NewJob(video_id=busy, user_id="ann", tier="paid", profile="p"), NOW)
        await claim_jobs(session, "d", NOW, 20, 1)
        queued = await enqueue_job(session, NewJob(video_id=busy, user_id="ann", tier="paid", profile="p"), NOW)
    async with db.write() as session:
        _, ended = await delete_video(session, "ann", new.video_id, NOW + 1)
        assert [upload.id for upload in ended] == [new.upload_id]
        video, ended = await delete_video(session, "ann", busy, NOW + 1)
        assert (video.status, ended) == (VideoStatus.DELETED, [])
    async with db.write() as session:
        assert await session.get(Video, busy) is not None
        states = {
            one.id: (one.state, one.cancel_requested)
            for one in (await session.get(Job, running.id), await session.get(Job, queued.id))
            if one
        }
        assert states == {running.id: ("running", True), queued.id: ("cancelled", True)}
        assert await settle_video(session, busy, VideoTrigger.FINISHED, NOW + 2) is None
        assert await list_videos(session, "ann", None, 9) == ([], None)
        with pytest.raises(RowMissing):
            await delete_video(session, "ann", busy, NOW + 3)


async def test_request_happens_once(db: Database) -> None:
    async def begin(key: str = "k", request_hash: str = "h", now: float = NOW, user_id: str = "ann") -> object:
        async with db.write() as session:
            row = await begin_request(session, user_id, key, "POST /x", request_hash, now)
            return row and (row.request_hash, row.status, row.response)

    assert sorted(map(str, await asyncio.gather(*(begin() for _ in range(4))))) == ["('h', None, None)"] * 3 + ["None"]
    assert await begin(user_id="bob") is None
    async with db.write() as session:
        await keep_answer(session, "ann", "k", 201, {"id": 7})
        await forget_request(session, "ann", "k")
    assert await begin(request_hash="other", now=NOW + 1e6) == ("h", 201, {"id": 7})
    async with db.write() as session:
        await forget_request(session, "bob", "k")
    assert await begin(user_id="bob", request_hash="new") is None
    assert await begin(user_id="bob", request_hash="newer", now=NOW + ABANDONED_AFTER_S + 1) == ("new", None, None)
    assert await begin(user_id="bob", request_hash="new", now=NOW + ABANDONED_AFTER_S + 1) is None
    async with db.write() as session:
        await prune_requests(session, NOW + 1)
    assert await begin() is None


async def test_one_leads(db: Database) -> None:
    async def acquire(owner: str, now: float) -> int | None:
        async with db.write() as session:
            return await leases.acquire(session, "dispatcher", owner, now, 6)

    tokens = await asyncio.gather(*(acquire(f"d{n}", NOW) for n in range(4)))
    assert sorted(map(str, tokens)) == ["1", "None", "None", "None"]
    leader = f"d{tokens.index(1)}"
    assert await acquire("standby", NOW + 6) is None
    assert await acquire("standby", NOW + 6.1) == 2
    async with db.write() as session:
        assert not await leases.renew(session, "dispatcher", leader, 1, NOW + 8, 6)
        assert not await leases.release(session, "dispatcher", leader, 1)
        assert await leases.renew(session, "dispatcher", "standby", 2, NOW + 12, 6)
        held = await leases.holder(session, "dispatcher", NOW + 17)
        assert held is not None
        assert (held.owner, held.token) == ("standby", 2)
        assert await leases.holder(session, "dispatcher", NOW + 19) is None
    assert await acquire(leader, NOW + 13) is None
    async with db.write() as session:
        assert await leases.release(session, "dispatcher", "standby", 2)
    assert await acquire(leader, NOW + 13) == 3


async def test_restarted_owner_fences_off_its_old_self(db: Database) -> None:
    async with db.write() as session:
        old = await leases.acquire(session, "dispatcher", "host", NOW, 6)
        new = await leases.acquire(session, "dispatcher", "host", NOW + 1, 6)
        assert (old, new) == (1, 2)
        assert not await leases.renew(session, "dispatcher", "host", 1, NOW + 2, 6)
        assert await leases.renew(session, "dispatcher", "host", 2, NOW + 2, 6)
