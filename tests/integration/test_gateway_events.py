"""Server-sent events: the whole story, from where a client stopped, over a real socket."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from gateway_app import Gateway, content, play_dispatcher, running_gateway


@asynccontextmanager
async def listening(farm: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    """The application behind a real socket: what streams cannot be read through an in-process transport."""
    with socket.create_server(("127.0.0.1", 0)) as bound:
        config = uvicorn.Config(
            farm.app, log_level="warning", lifespan="off", access_log=False, timeout_graceful_shutdown=2
        )
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[bound]))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        try:
            async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
                yield http
        finally:
            server.should_exit = True
            await serving


async def read_events(http: httpx.AsyncClient, farm: Gateway, video_id: str, **headers: str) -> list[dict[str, Any]]:
    """All events until the stream ends."""
    named = {name.replace("_", "-"): value for name, value in headers.items()} | farm.bearer("ann")
    found: list[dict[str, Any]] = []
    async with asyncio.timeout(60), http.stream("GET", f"/v1/videos/{video_id}/events", headers=named) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        event: dict[str, Any] = {}
        async for line in answer.aiter_lines():
            name, _, text = line.partition(": ")
            if name in ("event", "id"):
                event[name] = text
            elif name == "data":
                event[name] = json.loads(text)
            elif not line and "data" in event:
                found.append(event)
                event = {}
    return found


async def test_a_stream_tells_everything_until_the_video_is_settled_and_resumes_where_it_stopped(
    tmp_path: Path,
) -> None:
    async with running_gateway(tmp_path) as farm, listening(farm) as http:
        done = await farm.upload(content(100))
        reading = asyncio.create_task(read_events(http, farm, done["video_id"]))
        await asyncio.sleep(0)
        await play_dispatcher(farm, done["job_id"], {"master.m3u8": ("HLS", b"#EXTM3U\n")})
        events = await reading
        told = [event["event"] for event in events if event["event"] != "progress"]
        assert told == ["video.draft", "video.uploading", "video.uploaded", "video.processing", "video.ready"]
        assert [event for event in events if event["event"] == "progress"][-1]["data"]["percent"] == 100
        ids = [int(event["id"]) for event in events if "id" in event]
        assert ids == sorted(ids)
        rest = await read_events(http, farm, done["video_id"], Last_Event_ID=str(ids[2]))
        assert [int(event["id"]) for event in rest if "id" in event] == ids[3:]


async def test_a_stream_of_a_deleted_video_ends(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as farm, listening(farm) as http:
        begun = await farm.initiate(100)
        reading = asyncio.create_task(read_events(http, farm, begun["video_id"]))
        while not farm.ports.metrics.registry.get_sample_value(
            "reelmill_http_requests_total",
            {"route": "/v1/videos/{video_id}/events", "method": "GET", "status": "200"},
        ):
            await asyncio.sleep(0.05)
        await farm.call("DELETE", f"/v1/videos/{begun['video_id']}")
        assert (await reading)[-1]["event"] == "video.deleted"
