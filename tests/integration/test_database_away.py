"""A PostgreSQL that is away, restarted or killed: it comes back with what was written, and a gateway bears it."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from structlog.testing import capture_logs

from benchmarks.storm_databases import Postgres, postgres
from tests.gateway_app import running_gateway

WITHIN_S = 600.0


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres() as running:
        yield running
    assert not running.folder.exists(), "the keeper leaves nothing behind"


def started_at(server: Postgres) -> str:
    """When the server that answers was started; empty when none does."""
    try:
        with psycopg.connect(server.url.replace("+psycopg", "")) as connection:
            row = connection.execute("SELECT pg_postmaster_start_time()").fetchone()
    except psycopg.OperationalError:
        return ""
    assert row is not None
    return str(row[0])


def wait_for_another(server: Postgres, before: str = "") -> None:
    """Until one answers that was not started then."""
    deadline = time.monotonic() + WITHIN_S
    while started_at(server) in ("", before):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def wait_for_its_end(server: Postgres) -> None:
    """Until none answers."""
    deadline = time.monotonic() + WITHIN_S
    while started_at(server):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_whatever_ends_it_it_comes_back_with_what_was_written(server: Postgres) -> None:
    with psycopg.connect(server.url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
    for number in (signal.SIGINT, signal.SIGKILL):
        before = started_at(server)
        assert server.send(number)
        wait_for_another(server, before)
    with server.gone():
        wait_for_its_end(server)
    wait_for_another(server)
    with psycopg.connect(server.url.replace("+psycopg", "")) as connection:
        assert connection.execute("SELECT number FROM kept").fetchone() == (7,)


async def test_a_gateway_that_starts_meanwhile_says_when_to_come_back_and_then_answers(
    server: Postgres, tmp_path: Path
) -> None:
    # Rendered for a terminal, as it is unless a process says otherwise, each refusal's traceback takes seconds.
    with capture_logs(), ExitStack() as away:
        away.enter_context(server.gone())
        await asyncio.to_thread(wait_for_its_end, server)
        async with running_gateway(tmp_path, database_url=server.url) as farm:
            refused = await farm.call("GET", "/v1/videos")
            assert (refused.status_code, refused.json()["code"]) == (503, "database_unavailable")
            assert int(refused.headers["Retry-After"]) > 0
            away.close()
            deadline = time.monotonic() + WITHIN_S
            while (answer := await farm.call("GET", "/v1/videos")).status_code == 503:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.2)
            assert answer.status_code == 200, answer.text
