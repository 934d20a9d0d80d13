"""A storm's PostgreSQL: away, restarted, killed, back each time with what was written, and gone at the end."""

from __future__ import annotations

import signal
import time

import psycopg
import pytest

from benchmarks.storm_databases import Postgres, postgres

WITHIN_S = 120.0


def answers(server: Postgres, wanted: bool) -> str:
    """Wait until it answers, or until it does not; what it says is when it was started."""
    url = server.url.replace("+psycopg", "")
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:
        try:
            with psycopg.connect(url) as connection:
                row = connection.execute("SELECT pg_postmaster_start_time() FROM kept").fetchone()
        except psycopg.OperationalError:
            row = None
        if (row is not None) is wanted:
            return str(row)
        time.sleep(0.05)
    pytest.fail(f"the database {'did not come back' if wanted else 'went on'}")


def test_whatever_ends_it_it_comes_back_with_what_was_written_and_nothing_of_it_is_left() -> None:
    with postgres() as server:
        with psycopg.connect(server.url.replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
        starts = [answers(server, wanted=True)]
        for number in (signal.SIGINT, signal.SIGKILL):
            assert server.send(number)
            deadline = time.monotonic() + WITHIN_S
            while (started := answers(server, wanted=True)) == starts[-1]:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            starts.append(started)
        with server.gone():
            answers(server, wanted=False)
        answers(server, wanted=True)
    assert not server.folder.exists()
