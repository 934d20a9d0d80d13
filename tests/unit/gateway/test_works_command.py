"""`reelmill works` on a database and a store of its own."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from pretend_films import fingerprint
from sqlalchemy.ext.asyncio import AsyncSession

from cluster import layout
from cluster.catalogue import BINARY
from cluster.metadata.migrate import migrate
from cluster.metadata.schema import Video
from cluster.settings import ClusterSettings
from cluster.storage.open import open_store
from gateway.cli import main
from gateway.commands.exits import Exit
from gateway.commands.operate import in_database


@pytest.fixture(autouse=True)
def farm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REELMILL_DATABASE_URL", "REELMILL_REDIS_URL", "REELMILL_STORE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("REELMILL_DATA_DIR", str(tmp_path))
    monkeypatch.setattr("gateway.cli.end_on_signals", lambda: None)
    migrate(ClusterSettings().effective_database_url)


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    assert isinstance(caught.value.code, int)
    return caught.value.code


def add_video(video_id: str, status: str) -> None:
    async def write(session: AsyncSession) -> None:
        fixed = {"title": "t", "visibility": "private", "filename": "f", "content_type": "video/mp4", "size_bytes": 1}
        times = {"created_at": time.time(), "updated_at": time.time()}
        session.add(
            Video(id=video_id, user_id="ann", profile="default", status=status, source_key="s", **fixed, **times)
        )

    in_database(write)
    settings = ClusterSettings()
    store = open_store(settings.effective_store_url, settings.public_url)
    store.put_bytes(layout.fingerprint_key(video_id), fingerprint(1, samples=4, sound=8).to_bytes(), BINARY)


def test_works_are_added_listed_and_removed(capsys: pytest.CaptureFixture[str]) -> None:
    add_video("v1", "READY")
    assert run("works", "add", "v1", "--title", "Big [Buck] Bunny") == Exit.DONE
    assert "4 pictures and 8 words" in capsys.readouterr().out
    assert run("works", "list", "--json") == Exit.DONE
    (work,) = json.loads(capsys.readouterr().out)
    assert (work["title"], work["video_id"], work["pictures"]) == ("Big [Buck] Bunny", "v1", 4)
    assert run("works", "list") == Exit.DONE
    assert "Big [Buck] Bunny" in capsys.readouterr().out
    assert run("works", "remove", work["id"]) == Exit.DONE
    capsys.readouterr()
    assert run("works", "list", "--json") == Exit.DONE
    assert json.loads(capsys.readouterr().out) == []


@pytest.mark.parametrize("video", ["nobody", "waiting"])
def test_what_cannot_be_registered_is_said(video: str, capsys: pytest.CaptureFixture[str]) -> None:
    add_video("waiting", "PROCESSING")
    assert run("works", "add", video, "--title", "x") != Exit.DONE
    said = capsys.readouterr()
    assert "no video nobody" in said.out + said.err or "wait until it is READY" in said.out + said.err


def test_without_a_farm_nothing_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REELMILL_DATA_DIR", str(tmp_path / "nothing"))
    assert run("works", "list") == Exit.UNREACHABLE
    assert not (tmp_path / "nothing").exists()
