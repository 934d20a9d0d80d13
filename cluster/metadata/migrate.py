"""Bring a database's tables to this code's version. Idempotent, and safe when two processes start at once.

All migrations run in one transaction that first takes the database's write lock; whoever comes second waits, sees
the new version, and does nothing.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import structlog
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from cluster.errors import DatabaseOutdated, DatabaseUnavailable

log = structlog.get_logger()

RETRY_S = 1.0
"""Pause before a database that did not answer is asked again."""
_MIGRATION_LOCK = 0x6D696C6C
"""PostgreSQL advisory lock of whoever migrates ("mill")."""
_LOCK_TIMEOUT_S = 60


def migrate(url: str) -> None:
    """Create or alter the tables until they fit `schema.py`. Blocks; a SQLite file and its folder are made.

    Raises:
        DatabaseUnavailable: the database does not answer; nothing was changed.
        DatabaseOutdated: a newer farm has migrated it already; nothing was changed.
    """
    config = _config()
    engine = _sync_engine(url)
    try:
        with engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except OperationalError as error:
        raise DatabaseUnavailable(f"migration: {error.orig}") from error
    except CommandError as error:
        raise DatabaseOutdated(f"the database is newer than this farm ({error}): start a newer release") from error
    finally:
        engine.dispose()


async def migrate_when_there(url: str) -> None:
    """`migrate` as soon as the database answers: who starts while it is away neither ends nor works on old tables.

    Raises:
        DatabaseOutdated: as `migrate` does.
    """
    while True:
        try:
            return await asyncio.to_thread(migrate, url)
        except DatabaseUnavailable as error:
            log.warning("database_unavailable", error=error.detail)
        await asyncio.sleep(RETRY_S)


def newest_revision() -> str:
    """The revision that this code's tables have."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    if head is None:
        raise DatabaseOutdated("this installation has no migrations: reinstall it")
    return head


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _sync_engine(url: str) -> Any:
    """An engine for one blocking connection. SQLite begins IMMEDIATE, so that the second process waits at the door."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_engine(parsed, poolclass=NullPool)
    if parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(
        parsed.set(drivername="sqlite"), poolclass=NullPool, connect_args={"timeout": _LOCK_TIMEOUT_S}
    )

    @event.listens_for(engine, "connect")
    def set_up(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine
