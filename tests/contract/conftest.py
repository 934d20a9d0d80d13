"""Databases that the contract suites run on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from cluster.metadata.database import Database
from cluster.metadata.migrate import migrate
from tests.contract.databases import NoPostgres, Template, empty, new_database, postgres_server


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """URL of a PostgreSQL server's own database; skips where there is no server."""
    try:
        with postgres_server() as url:
            yield url
    except NoPostgres as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def migrated_postgres(postgres: str) -> str:
    """A migrated database, shared by the tests of a run."""
    url = new_database(postgres, "suite")
    migrate(url)
    return url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """A migrated SQLite file to copy."""
    return Template(tmp_path_factory.mktemp("sqlite"))


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A migrated, empty database."""
    if request.param == "sqlite":
        return request.getfixturevalue("sqlite_template").copy(tmp_path)
    shared = request.getfixturevalue("migrated_postgres")
    empty(shared)
    return shared


@pytest_asyncio.fixture
async def db(url: str) -> AsyncIterator[Database]:
    """Transactions on a migrated, empty database."""
    database = Database(url)
    yield database
    await database.close()
