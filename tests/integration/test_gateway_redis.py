"""Redis beside the gateway: rings arrive, limits are shared, explanations are read, and its loss stops nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from gateway_app import content, running_gateway

from cluster.redis_server import EmbeddedValkey
from gateway.bell import EXPLAIN_KEY, RedisBell

UPLOAD = {"title": "A clip", "filename": "a.mp4", "content_type": "video/mp4", "file_size_bytes": 10}
TOLD = {
    "job_id": "",
    "state": "running",
    "tier": "paid",
    "position": 1,
    "jobs_ahead": 2,
    "ahead_s": 3.0,
    "rule": "own_jobs",
    "sentence": "Two of your own jobs go first.",
    "start": None,
    "end": None,
}


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedValkey]:
    with EmbeddedValkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


async def test_a_ring_wakes_all_who_wait(valkey: EmbeddedValkey) -> None:
    ringing, waiting = RedisBell(valkey.url), RedisBell(valkey.url)
    try:
        await waiting.wait(0.01)  # subscribed from now on, which counts as a ring itself
        await asyncio.sleep(0.3)
        waiters = [asyncio.create_task(waiting.wait(30)) for _ in range(3)]
        await asyncio.sleep(0.1)
        await ringing.ring()
        async with asyncio.timeout(20):
            await asyncio.gather(*waiters)
    finally:
        await ringing.close()
        await waiting.close()


async def test_gateways_count_uploads_together(valkey: EmbeddedValkey, tmp_path: Path) -> None:
    rates = {"free": "2/hour"}
    async with (
        running_gateway(tmp_path, redis_url=valkey.url, initiate_rates=rates) as one,
        running_gateway(tmp_path, redis_url=valkey.url, initiate_rates=rates) as other,
    ):
        asked = [await farm.call("POST", "/v1/uploads/initiate", UPLOAD, tier="free") for farm in (one, other, one)]
    assert [answer.status_code for answer in asked] == [201, 201, 429]


async def test_what_the_dispatcher_says_of_a_job_is_passed_on(valkey: EmbeddedValkey, tmp_path: Path) -> None:
    async with running_gateway(tmp_path, redis_url=valkey.url) as farm:
        done = await farm.upload(content(100))
        with redis.from_url(valkey.url) as client:
            client.set(EXPLAIN_KEY + done["job_id"], json.dumps(TOLD | {"job_id": done["job_id"]}))
        told = (await farm.call("GET", f"/v1/jobs/{done['job_id']}/explain")).json()
        assert (told["reason"], told["position"]) == ("Two of your own jobs go first.", 3)
        assert (await farm.http.get("/readyz")).json()["checks"]["redis"] == "ok"


async def test_without_its_redis_a_gateway_goes_on(tmp_path: Path) -> None:
    gone = f"unix://{tmp_path / 'nobody.sock'}"
    async with running_gateway(tmp_path, redis_url=gone, initiate_rates={"paid": "1/hour"}) as farm:
        done = await farm.upload(content(100))
        assert (await farm.call("POST", "/v1/uploads/initiate", UPLOAD)).status_code == 429
        told = (await farm.call("GET", f"/v1/jobs/{done['job_id']}/explain")).json()
        assert told["position"] == 1
        ready = await farm.http.get("/readyz")
        assert ready.status_code == 200
        assert ready.json()["checks"]["redis"] == "ConnectionError"
