"""Migrations and transactions on SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

from cluster.errors import DatabaseOutdated, DatabaseUnavailable
from cluster.metadata import events
from cluster.metadata.database import Database, migrate
from cluster.metadata.migrate import newest_revision
from cluster.metadata.migrations.__main__ import difference
from cluster.metadata.schema import Base, Lease, new_id
from tests.contract.databases import new_database, sqlite_url
from tests.contract.rows import NOW


@pytest.fixture(params=["sqlite", "postgresql"])
def bare_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without tables."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path / "new" / "farm.db")
    return new_database(request.getfixturevalue("postgres"), f"bare{new_id()}")


def blocking(url: str) -> str:
    """The same database through a driver without async."""
    return (
        make_url(url)
        .set(drivername="sqlite" if url.startswith("sqlite") else "postgresql+psycopg")
        .render_as_string(hide_password=False)
    )


def test_migrations_make_the_schema(bare_url: str) -> None:
    migrate(bare_url)
    migrate(bare_url)
    engine = create_engine(blocking(bare_url), poolclass=NullPool)
    with engine.connect() as connection:
        options = {"compare_type": True, "compare_server_default": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Base.metadata) == []
        assert context.get_current_revision() == newest_revision()
        assert set(inspect(connection).get_table_names()) == {*Base.metadata.tables, "alembic_version"}


def test_difference_is_empty() -> None:
    assert "op." not in difference()


async def test_two_start_at_once(bare_url: str) -> None:
    await asyncio.gather(*(asyncio.to_thread(migrate, bare_url) for _ in range(3)))
    db = Database(bare_url)
    async with db.read() as session:
        assert await events.last_id(session) == 0
    await db.close()


def test_database_of_a_newer_farm(bare_url: str) -> None:
    migrate(bare_url)
    engine = create_engine(blocking(bare_url), poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(DatabaseOutdated, match="newer"):
        migrate(bare_url)


async def test_no_tables(bare_url: str, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir(exist_ok=True)
    db = Database(bare_url)
    with pytest.raises(DatabaseOutdated, match="migrations"):
        async with db.read() as session:
            await events.last_id(session)
    await db.close()


async def test_no_server(tmp_path: Path) -> None:
    url = f"postgresql+psycopg://nobody@/none?host={tmp_path}"
    with pytest.raises(DatabaseUnavailable):
        await asyncio.to_thread(migrate, url)
    db = Database(url)
    with pytest.raises(DatabaseUnavailable):
        async with db.read() as session:
            await events.last_id(session)
    with pytest.raises(DatabaseUnavailable):
        await db.run(events.last_id, attempts=2)
    await db.close()


async def test_exception_rolls_back(db: Database) -> None:
    async def fail() -> None:
        async with db.write() as session:
            session.add(Lease(name="a", owner="x", token=1, until=0.0))
            await session.flush()
            events.append(session, NOW, "a.b", "ann")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    async with db.read() as session:
        assert await session.get(Lease, "a") is None
        assert await events.last_id(session) == 0


async def test_reader_cannot_write(db: Database) -> None:
    async def sneak() -> None:
        async with db.read() as session:
            session.add(Lease(name="a", owner="x", token=1, until=0.0))

    with pytest.raises(Exception, match=r"(?i)read-?only"):
        await sneak()
    async with db.read() as session:
        assert await session.get(Lease, "a") is None


async def test_cancelled_transaction_leaves_nothing_behind(db: Database) -> None:
    inside = asyncio.Event()

    async def hang() -> None:
        async with db.write() as session:
            session.add(Lease(name="a", owner="x", token=1, until=0.0))
            await session.flush()
            inside.set()
            await asyncio.Event().wait()

    for _ in range(3):
        task = asyncio.create_task(hang())
        await inside.wait()
        inside.clear()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    async with db.write() as session:
        assert await session.get(Lease, "a") is None


async def test_writer_killed_in_the_middle(db: Database, url: str) -> None:
    program = """
import asyncio, sys
from cluster.metadata.database import Database
from cluster.metadata.schema import Lease
async def main():
    async with Database(sys.argv[1]).write() as session:
        session.add(Lease(name="a", owner="dead", token=1, until=0.0))
        await session.flush()
        print("in", flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""
    writer = await asyncio.create_subprocess_exec(sys.executable, "-c", program, url, stdout=asyncio.subprocess.PIPE)
    assert writer.stdout is not None
    assert await writer.stdout.readline() == b"in\n"
    writer.kill()
    await writer.wait()
    async with db.write() as session:
        assert await session.get(Lease, "a") is None
        session.add(Lease(name="a", owner="alive", token=1, until=0.0))
    async with db.read() as session:
        row = await session.get(Lease, "a")
        assert row is not None
        assert row.owner == "alive"


async def test_two_processes_worth_of_writers(db: Database, url: str) -> None:
    """Read, think, write back: nothing is lost, because a writer holds what it read."""
    others = [Database(url) for _ in range(3)]
    async with db.write() as session:
        session.add(Lease(name="counter", owner="", token=0, until=0.0))

    async def count(database: Database) -> None:
        for _ in range(10):
            async with database.write() as session:
                row = await session.get(Lease, "counter", with_for_update=True)
                assert row is not None
                await asyncio.sleep(0)
                row.token += 1

    await asyncio.gather(*(count(one) for one in (db, *others)))
    for other in others:
        await other.close()
    async with db.read() as session:
        row = await session.get(Lease, "counter")
        assert row is not None
        assert row.token == 40


async def test_run_tries_again(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.metadata.database.FIRST_PAUSE_S", 0.001)
    tries = 0

    async def work(session: object) -> int:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise DatabaseUnavailable("locked")
        return tries

    assert await db.run(work) == 3
    with pytest.raises(ValueError, match="attempts"):
        await db.run(work, attempts=0)


async def test_events_are_seen_in_the_order_of_their_ids(db: Database, url: str) -> None:
    """While an earlier id is not committed, no later one is seen."""
    other = Database(url)

    async def append_second() -> None:
        async with other.write() as session:
            events.append(session, NOW, "second", "ann")

    async with db.write() as session:
        events.append(session, NOW, "first", "ann")
        await events.flush_pending(session)
        second = asyncio.create_task(append_second())
        await asyncio.wait({second}, timeout=0.5)
        async with db.read() as reading:
            assert await events.read_after(reading, 0, 9, user_id=None) == []
    await second
    await other.close()
    async with db.read() as session:
        assert [row.type for row in await events.read_after(session, 0, 9, user_id=None)] == ["first", "second"]


async def test_reader_of_events_misses_none(db: Database, url: str) -> None:
    """Many writers, transactions of uneven length; a reader that goes on from the last id sees each event once."""
    others = [Database(url) for _ in range(3)]
    seen: list[int] = []
    bodies: list[str] = []

    async def write(database: Database, writer: int) -> None:
        for n in range(8):
            async with database.write() as session:
                events.append(session, NOW, "a.b", "ann", body={"n": f"{writer}.{n}"})
                await session.execute(text("SELECT 1"))
                await asyncio.sleep(0.001 * ((writer * 7 + n) % 4))

    async def read() -> None:
        while len(seen) < 32:
            async with db.read() as session:
                rows = await events.read_after(session, seen[-1] if seen else 0, 5, user_id=None)
            seen.extend(row.id for row in rows)
            bodies.extend(row.body["n"] for row in rows)
            await asyncio.sleep(0)

    async with asyncio.timeout(30):
        await asyncio.gather(read(), *(write(one, n) for n, one in enumerate([db, *others])))
    for other in others:
        await other.close()
    assert sorted(bodies) == sorted(f"{writer}.{n}" for writer in range(4) for n in range(8))
    assert seen == sorted(set(seen))


async def test_events_are_per_user_and_video(db: Database) -> None:
    async with db.write() as session:
        events.append(session, NOW, "video.ready", "ann", video_id="v1")
        events.append(session, NOW, "video.ready", "bob", video_id="v2", job_id="j", body={"x": [1]})
        events.append(session, NOW + 9, "video.published", "ann", video_id="v3")
    async with db.read() as session:
        assert [row.video_id for row in await events.read_after(session, 0, 9, user_id="ann")] == ["v1", "v3"]
        assert await events.read_after(session, 0, 9, user_id="ann", video_id="v2") == []
        (bobs,) = await events.read_after(session, 0, 9, user_id=None, video_id="v2")
        assert (bobs.type, bobs.user_id, bobs.job_id, bobs.body) == ("video.ready", "bob", "j", {"x": [1]})
        assert [row.video_id for row in await events.read_after(session, bobs.id, 9, user_id=None)] == ["v3"]
        last = await events.last_id(session)
    async with db.write() as session:
        await events.prune(session, NOW + 1)
        events.append(session, NOW, "video.deleted", "ann")
    async with db.read() as session:
        assert len(await events.read_after(session, 0, 9, user_id=None)) == 2
        assert await events.last_id(session) == last + 1
