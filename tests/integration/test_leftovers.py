"""What a farm leaves behind is found: objects without rows, leases that are held, disks that nobody would clean."""

from __future__ import annotations

import asyncio
import fcntl
import time
from pathlib import Path

from benchmarks import leftovers
from cluster.metadata import leases
from cluster.metadata.database import Database
from cluster.metadata.migrate import migrate
from cluster.metadata.schema import Video
from cluster.settings import ClusterSettings
from cluster.storage.open import open_store


def farm_of_one_rejected_video(root: Path) -> ClusterSettings:
    """Its source is kept, for a retry; what workers had made of it, too."""
    settings = ClusterSettings(data_dir=root)
    migrate(settings.effective_database_url)
    store = open_store(settings.effective_store_url)
    for key in ("sources/v/source", "assets/v/k/144p/init.mp4", "work/v/k/segment-00000.json"):
        store.put_bytes(key, b"x", "application/octet-stream")

    async def write() -> None:
        database = Database(settings.effective_database_url)
        async with database.write() as session:
            session.add(
                Video(
                    id="v",
                    user_id="u",
                    title="t",
                    visibility="private",
                    filename="f",
                    content_type="video/mp4",
                    size_bytes=1,
                    profile="default",
                    status="REJECTED_FORMAT",
                    source_key="sources/v/source",
                    created_at=time.time(),
                    updated_at=time.time(),
                )
            )
            await leases.acquire(session, "dispatcher/", "somebody", time.time(), 200.0)
        await database.close()

    asyncio.run(write())
    return settings


def test_what_rows_name_stays_and_everything_else_is_an_orphan(tmp_path: Path) -> None:
    settings = farm_of_one_rejected_video(tmp_path)
    assert leftovers.orphaned_objects(settings) == []
    store = open_store(settings.effective_store_url)
    for key in ("sources/w/source", "assets/w/k/144p/init.mp4", "work/w/k/segment-00000.json", "else"):
        store.put_bytes(key, b"x", "application/octet-stream")
    (tmp_path / "objects" / "tmp" / "half.written").write_bytes(b"x")
    store.create_multipart("sources/x/source", "video/mp4")
    found = leftovers.orphaned_objects(settings)
    assert len(found) == 4, "the unfinished file and the unfinished upload are the housekeepers'"
    assert all("/w/" in line or "else" in line for line in found)


def test_a_lease_that_is_held_is_told(tmp_path: Path) -> None:
    settings = farm_of_one_rejected_video(tmp_path)
    assert ["somebody" in line for line in leftovers.held_leases(settings.effective_database_url)] == [True]


def test_a_disk_that_somebody_holds_is_told_and_one_that_nobody_holds_is_emptied(tmp_path: Path) -> None:
    settings = ClusterSettings(data_dir=tmp_path)
    for name in ("held", "free"):
        entry = settings.staging_dir / name
        entry.mkdir(parents=True)
        for file in ("source", "ready.json", "lease"):
            (entry / file).write_bytes(b"x")
    (settings.scratch_dir / ".unborn.new").mkdir(parents=True)
    (settings.scratch_dir / ".unborn.new" / "left").write_bytes(b"x")
    with (settings.staging_dir / "held" / "lease").open("rb") as lease:
        fcntl.flock(lease, fcntl.LOCK_SH)
        found = leftovers.unreclaimable(tmp_path)
    assert found
    assert all("/staging/held/" in line for line in found)
    assert not (settings.scratch_dir / ".unborn.new").exists()
