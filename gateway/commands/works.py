"""`reelmill works`: registered works, with which videos are compared. On the farm's database and store themselves."""

from __future__ import annotations

import asyncio
import getpass
import json
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click
from rich.markup import escape
from rich.table import Table

from gateway.client_http import FarmUnreachable
from gateway.commands.exits import out

if TYPE_CHECKING:
    from cluster.metadata.database import Database
    from cluster.storage.base import ObjectStore

T = TypeVar("T")


def on_farm(work: Callable[[Database, ObjectStore], Awaitable[T]]) -> T:
    """Do something with the farm's database and store, as the settings name them.

    Raises:
        FarmUnreachable: no farm has ever run on the data folder, and no database is named.
        DatabaseUnavailable, DatabaseOutdated, StorageError: as they say.
    """
    from cluster.metadata.database import Database
    from cluster.settings import ClusterSettings
    from cluster.storage.open import open_store

    settings = ClusterSettings()
    if not settings.database_url and not (settings.root / "farm.db").exists():
        raise FarmUnreachable(f"no farm has run on {settings.root}: set REELMILL_DATA_DIR or REELMILL_DATABASE_URL")

    async def run() -> T:
        database = Database(settings.effective_database_url)
        try:
            return await work(database, open_store(settings.effective_store_url, settings.public_url))
        finally:
            await database.close()

    return asyncio.run(run())


@click.group()
def works() -> None:
    """Registered works: films and songs that are recognised in uploads (docs/known-content.md)."""


@works.command("add")
@click.argument("video")
@click.option("--title", required=True, help="What the work is called where it is found.")
def add(video: str, title: str) -> None:
    """Register a finished VIDEO as a work; again, to change its title."""

    async def run(database: Database, store: ObjectStore) -> Any:
        from cluster.metadata.videos import lock_video
        from cluster.works import register_work

        async with database.write() as session:
            found = await lock_video(session, video)
        return await register_work(database, store, found, title, getpass.getuser(), time.time())

    work = on_farm(run)
    out.print(f"{work.id} is registered: {work.pictures} pictures and {work.words} words of sound")


@works.command("list")
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
def list_works(as_json: bool) -> None:
    """List registered works, newest first."""

    async def run(database: Database, _: ObjectStore) -> Any:
        from cluster.metadata.works import list_works

        async with database.read() as session:
            return await list_works(session)

    found = on_farm(run)
    if as_json:
        names = ("id", "title", "video_id", "duration_ms", "pictures", "words", "created_by", "created_at")
        click.echo(json.dumps([{name: getattr(work, name) for name in names} for work in found]))
        return
    table = Table("work", "title", "video", "pictures", "words", "registered", box=None)
    for work in found:
        at = time.strftime("%Y-%m-%d %H:%M", time.localtime(work.created_at))
        table.add_row(work.id, escape(work.title), work.video_id, str(work.pictures), str(work.words), at)
    out.print(table)


@works.command("remove")
@click.argument("work")
def remove(work: str) -> None:
    """Forget a WORK; what was found of it stays in the videos' status."""

    async def run(database: Database, store: ObjectStore) -> Any:
        from cluster.works import unregister_work

        return await unregister_work(database, store, work)

    out.print(f'"{escape(on_farm(run).title)}" is no longer looked for')
