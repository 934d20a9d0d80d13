"""What a storm may do to which farm, and how it notes what gateways say meanwhile."""

from __future__ import annotations

import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.storm import Storm
from benchmarks.storm_databases import Postgres, SqliteFile, StormDatabase

FARM: Any = type("Farm", (), {"farm": type("Inner", (), {"url": "http://farm"})(), "token": "t"})()


def storm(tmp_path: Path, database: StormDatabase, *only: str) -> Storm:
    nothing: Any = None
    return Storm(FARM, nothing, nothing, database, tmp_path, 1, (1.0, 2.0), print, only=only)


def test_a_storm_knows_the_names_of_its_faults(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no fault meteor"):
        storm(tmp_path, SqliteFile(tmp_path), "kill_worker", "meteor")


@pytest.mark.parametrize("fault", ["restart_database", "kill_database"])
def test_only_a_database_that_is_a_process_is_restarted_and_killed(tmp_path: Path, fault: str) -> None:
    storm(tmp_path, Postgres(tmp_path, "postgresql+psycopg:///"), fault)
    with pytest.raises(ValueError, match=f"no fault {fault}"):
        storm(tmp_path, SqliteFile(tmp_path), fault)


@pytest.mark.parametrize(
    ("status", "headers", "said"),
    [
        (200, {}, "200"),
        (503, {"Retry-After": "5"}, "503 with Retry-After"),
        (503, {}, "503"),
        (0, {}, "unreachable"),
    ],
)
def test_what_a_gateway_says_is_noted_with_whether_it_says_when_to_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, headers: dict[str, str], said: str
) -> None:
    def get(url: str, **_: Any) -> httpx.Response:
        assert url == "http://farm/v1/videos"
        if not status:
            raise httpx.ConnectError("refused")
        return httpx.Response(status, headers=headers)

    monkeypatch.setattr(httpx, "get", get)
    assert storm(tmp_path, SqliteFile(tmp_path))._answer() == said


def test_nobody_writes_to_a_file_that_is_gone_and_everybody_afterwards(tmp_path: Path) -> None:
    database = SqliteFile(tmp_path)
    with closing(sqlite3.connect(tmp_path / "farm.db", timeout=0, isolation_level=None)) as farm:
        farm.execute("CREATE TABLE kept (number)")
        with database.gone(), pytest.raises(sqlite3.OperationalError, match="locked"):
            farm.execute("INSERT INTO kept VALUES (1)")
        farm.execute("INSERT INTO kept VALUES (2)")
        assert farm.execute("SELECT number FROM kept").fetchall() == [(2,)]


def test_a_database_is_back_only_when_nobody_takes_it_away_any_more(tmp_path: Path) -> None:
    database = Postgres(tmp_path, "")
    with database.gone():
        with database.gone():
            assert (tmp_path / "gone").exists()
        assert (tmp_path / "gone").exists()
    assert not (tmp_path / "gone").exists()


def test_a_postmaster_that_is_not_there_gets_no_signal(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    database = Postgres(tmp_path, "")
    assert not database.send(signal.SIGINT)
    (tmp_path / "data" / "postmaster.pid").write_text("1\n/elsewhere\n")
    assert not database.send(signal.SIGINT), "a pid that belongs to somebody else now"
