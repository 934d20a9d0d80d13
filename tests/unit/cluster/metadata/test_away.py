"""A database that is away when a process starts, or vanishes without a word."""

from __future__ import annotations

import pytest

from cluster.errors import DatabaseOutdated, DatabaseUnavailable
from cluster.metadata import migrate as module
from cluster.metadata.database import SILENCE, with_timeouts


async def test_who_starts_while_it_is_away_waits_and_who_meets_newer_tables_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = [DatabaseUnavailable("starting up"), DatabaseUnavailable("refused"), None, DatabaseOutdated("newer")]
    asked = []

    def migrate(url: str) -> None:
        asked.append(url)
        if (error := answers.pop(0)) is not None:
            raise error

    monkeypatch.setattr(module, "migrate", migrate)
    monkeypatch.setattr(module, "RETRY_S", 0.0)
    await module.migrate_when_there("url")
    assert asked == ["url"] * 3
    with pytest.raises(DatabaseOutdated):
        await module.migrate_when_there("url")


def test_silence_ends_and_what_the_operator_says_of_it_holds() -> None:
    assert with_timeouts("postgresql+psycopg://u@host/farm").query == SILENCE
    own = with_timeouts("postgresql+psycopg://u:p@host/farm?connect_timeout=60&sslmode=require")
    assert own.query == {**SILENCE, "connect_timeout": "60", "sslmode": "require"}
    assert own.password == "p"
