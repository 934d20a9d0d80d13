"""Operators register works over HTTP; the catalogue follows; workers' side reads it."""

from __future__ import annotations

from pathlib import Path

import pytest
from gateway_app import Gateway, content, play_dispatcher, running_gateway
from pretend_films import fingerprint

from cluster import layout
from cluster.catalogue import BINARY
from cluster.metadata.database import Database
from cluster.staging import Staging
from cluster.works import open_works, sync_catalogue
from encoders.recognition.catalogue import open_catalogue

ASSET = {"master.m3u8": ("HLS", b"#EXTM3U\n")}


async def ready(farm: Gateway, seed: int) -> str:
    """A READY video of ann's, with the fingerprint that packaging leaves."""
    done = await farm.upload(content(100, str(seed)))
    await play_dispatcher(farm, done["job_id"], ASSET)
    data = fingerprint(seed, samples=8, sound=30).to_bytes()
    farm.ports.store.put_bytes(layout.fingerprint_key(done["video_id"]), data, BINARY)
    return str(done["video_id"])


def titles(farm: Gateway, folder: Path) -> list[str]:
    """What workers would compare with now."""
    with open_works(farm.ports.store, Staging(folder / "staging", 10**9)) as works:
        if works is None:
            return []
        found = {work.work_id: work.title for path in works.parts for work in open_catalogue(path).works}
        return sorted(title for work_id, title in found.items() if work_id not in works.removed)


async def test_works_are_registered_listed_and_forgotten(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, operators=frozenset({"op"})) as farm:
        assert titles(farm, tmp_path) == []
        ids = []
        for seed in (1, 2):
            body = {"video_id": await ready(farm, seed), "title": f"Film {seed}"}
            made = await farm.call("POST", "/v1/works", body, who="op")
            assert made.status_code == 201, made.text
            assert (made.json()["pictures"], made.json()["words"]) == (8, 30)
            ids.append(made.json()["work_id"])
        again = await farm.call("POST", "/v1/works", body | {"title": "The second"}, who="op")
        assert again.json()["work_id"] == ids[1]
        listed = (await farm.call("GET", "/v1/works", who="op")).json()["works"]
        assert sorted(each["title"] for each in listed) == ["Film 1", "The second"]
        assert titles(farm, tmp_path) == ["Film 1", "The second"]
        assert (await farm.call("DELETE", f"/v1/works/{ids[0]}", who="op")).status_code == 204
        assert (await farm.call("DELETE", f"/v1/works/{ids[0]}", who="op")).status_code == 404
        assert titles(farm, tmp_path) == ["The second"]


async def test_only_operators_may(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as farm:
        body = {"video_id": "a" * 32, "title": "x"}
        for method, path, sent in (("POST", "", body), ("GET", "", None), ("DELETE", "/" + "a" * 32, None)):
            answer = await farm.call(method, f"/v1/works{path}", sent)
            assert (answer.status_code, answer.json()["code"]) == (403, "operators_only")


async def test_what_cannot_be_registered(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, operators=frozenset({"op"})) as farm:

        async def code(video_id: str) -> tuple[int, str]:
            answer = await farm.call("POST", "/v1/works", {"video_id": video_id, "title": "x"}, who="op")
            return answer.status_code, answer.json()["code"]

        assert await code("a" * 32) == (404, "not_found")
        waiting = await farm.upload(content(100))
        assert await code(waiting["video_id"]) == (409, "illegal_transition")
        await play_dispatcher(farm, waiting["job_id"], ASSET)
        assert await code(waiting["video_id"]) == (409, "fingerprint_invalid")
        assert titles(farm, tmp_path) == []


async def test_what_was_broken_off_is_made_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def killed(database: Database, store: object) -> bool:
        raise KeyboardInterrupt

    async with running_gateway(tmp_path, operators=frozenset({"op"})) as farm:
        body = {"video_id": await ready(farm, 1), "title": "Film"}
        with monkeypatch.context() as patch:
            patch.setattr("cluster.works.sync_catalogue", killed)
            with pytest.raises(KeyboardInterrupt):
                await farm.call("POST", "/v1/works", body, who="op")
        assert titles(farm, tmp_path) == []
        assert await sync_catalogue(farm.ports.database, farm.ports.store)
        assert titles(farm, tmp_path) == ["Film"]
        assert not await sync_catalogue(farm.ports.database, farm.ports.store)


async def test_a_deleted_video_takes_its_fingerprint_but_not_the_work(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, operators=frozenset({"op"})) as farm:
        video_id = await ready(farm, 1)
        await farm.call("POST", "/v1/works", {"video_id": video_id, "title": "Film"}, who="op")
        assert (await farm.call("DELETE", f"/v1/videos/{video_id}")).status_code == 204
        assert farm.ports.store.head(layout.fingerprint_key(video_id)) is None
        assert titles(farm, tmp_path) == ["Film"]
