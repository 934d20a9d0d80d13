"""Engines and transactions on SQLite and PostgreSQL; the one place that knows which of the two it is.

SQLite: WAL, one writer connection whose transactions begin IMMEDIATE, and query-only readers that never block it.
PostgreSQL: READ COMMITTED; readers' transactions are READ ONLY. What the database cannot do just now is
`DatabaseUnavailable`, and the transaction did not happen; only where PostgreSQL died in the instant of the commit
nobody knows, so that whoever repeats a transaction must bear that it had happened after all.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar

from sqlalchemy import event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from cluster.errors import DatabaseOutdated, DatabaseUnavailable
from cluster.metadata import events
from cluster.metadata.migrate import migrate as migrate

T = TypeVar("T")

BUSY_TIMEOUT_MS = 10_000
"""How long SQLite waits for another process's write, milliseconds."""
SQLITE_READERS = 4
POSTGRES_CONNECTIONS = 8
CHECKOUT_TIMEOUT_S = 30.0
"""How long a transaction waits for a connection of the pool."""
SILENCE = {
    "connect_timeout": "10",
    "tcp_user_timeout": "30000",
    "keepalives_idle": "15",
    "keepalives_interval": "5",
    "keepalives_count": "3",
}
"""How long a PostgreSQL host may be silent, seconds, and `tcp_user_timeout` in milliseconds. Source: libpq, Parameter
Key Words; without them a lost host keeps requests waiting for as long as TCP does, two minutes and more."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 2.0
"""Back-off between tries of `Database.run`, before jitter."""


class Database:
    """Transactions on the metadata. Belongs to one event loop; `close` it there.

    Example:
        >>> async with db.write() as session:
        ...     await jobs.enqueue_job(session, ...)
    """

    def __init__(self, url: str) -> None:
        """Prepare engines for `sqlite+aiosqlite:///path` or `postgresql+psycopg://…`; nothing is opened yet."""
        self.sqlite = make_url(url).get_backend_name() == "sqlite"
        if self.sqlite:
            self._engines = [_sqlite_engine(url, writer=True), _sqlite_engine(url, writer=False)]
            writer, reader = self._engines
        else:
            writer = create_async_engine(
                with_timeouts(url), pool_size=POSTGRES_CONNECTIONS, pool_timeout=CHECKOUT_TIMEOUT_S, pool_pre_ping=True
            )
            reader = writer.execution_options(postgresql_readonly=True)
            self._engines = [writer]
        self._writing = async_sessionmaker(writer, expire_on_commit=False)
        self._reading = async_sessionmaker(reader, expire_on_commit=False)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        """A transaction that may write: committed at the end of the block, rolled back by any exception.

        Events appended in it (`events.append`) are written last, just before the commit.

        Raises:
            DatabaseUnavailable: nothing was written, as far as one knows. `run` tries again; this does not.
            DatabaseOutdated: the tables are not there.
        """
        with _typed_errors():
            async with self._writing() as session, session.begin():
                yield session
                await session.flush()
                await events.flush_pending(session)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """A transaction that only reads, on one snapshot on SQLite and statement by statement on PostgreSQL.

        Raises:
            DatabaseUnavailable: the database does not answer.
        """
        with _typed_errors():
            async with self._reading() as session, session.begin():
                yield session

    async def run(self, work: Callable[[AsyncSession], Awaitable[T]], attempts: int = 6) -> T:
        """`work` in a write transaction; all of it again, after a pause, when the database could not do it.

        Args:
            work: called once for each try, so it must have no other effect than on the session.
            attempts: tries in all; six last about three seconds besides the waiting for locks.
        """
        pause_s = FIRST_PAUSE_S
        for left in range(attempts - 1, -1, -1):
            try:
                async with self.write() as session:
                    return await work(session)
            except DatabaseUnavailable:
                if not left:
                    raise
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.5))
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
        raise ValueError(f"attempts {attempts}: want at least one")

    async def close(self) -> None:
        """Close all connections; the object is of no use afterwards."""
        for engine in self._engines:
            await engine.dispose()


Transaction = AbstractAsyncContextManager[AsyncSession]
"""What `Database.write` and `Database.read` answer."""


class _typed_errors:
    """The driver's errors as the farm's, for the length of a `with` block."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, PoolTimeout):
            raise DatabaseUnavailable(f"no free database connection in {CHECKOUT_TIMEOUT_S:.0f} s") from error
        if isinstance(error, DBAPIError):
            reason = str(error.orig).strip().splitlines()[0] if error.orig else str(error)
            if _tables_missing(error, reason):
                raise DatabaseOutdated(f"{reason}: run the migrations (cluster.metadata.migrate)") from error
            if isinstance(error, OperationalError | InterfaceError) or error.connection_invalidated:
                raise DatabaseUnavailable(f"database: {reason}") from error


def with_timeouts(url: str) -> URL:
    """A PostgreSQL URL by which a host that has vanished without a word is found out; what it says itself holds."""
    parsed = make_url(url)
    return parsed.set(query={**SILENCE, **parsed.query})


def _tables_missing(error: DBAPIError, reason: str) -> bool:
    """Whether a table or column is not there. Source: PostgreSQL Appendix A, 42P01 and 42703."""
    state = getattr(error.orig, "sqlstate", None)
    if isinstance(error, ProgrammingError) and state in ("42P01", "42703"):
        return True
    return isinstance(error, OperationalError) and reason.startswith(("no such table", "no such column"))


def _sqlite_engine(url: str, writer: bool) -> AsyncEngine:
    """One connection for writing, so that writers queue in the process instead of polling the file's lock."""
    engine = create_async_engine(
        url, pool_size=1 if writer else SQLITE_READERS, max_overflow=0, pool_timeout=CHECKOUT_TIMEOUT_S
    )
    pragmas = [
        f"busy_timeout={BUSY_TIMEOUT_MS}",
        "journal_mode=WAL",
        "synchronous=NORMAL",
        "foreign_keys=ON",
        f"query_only={'OFF' if writer else 'ON'}",
    ]

    @event.listens_for(engine.sync_engine, "connect")
    def set_up(connection: Any, _record: Any) -> None:
        # Transactions are begun below, not by the driver: it would begin DEFERRED ones, only before writes.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writer else "BEGIN")

    return engine
