"""A gateway in the test's own process: SQLite and a local store in a folder, spoken to without a socket."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from cluster import layout
from cluster.metadata import jobs, videos
from cluster.metadata.lifecycle import VideoTrigger
from cluster.settings import ClusterSettings
from gateway.app import create_app
from gateway.auth import mint_token
from gateway.ports import Ports
from gateway.settings import GatewaySettings
from scheduler.jobs import JobState

BASE = "http://farm.test"
PART_BYTES = 5 << 20


@dataclass(frozen=True, kw_only=True)
class Gateway:
    """An application and how to speak to it."""

    app: FastAPI
    http: httpx.AsyncClient

    @property
    def ports(self) -> Ports:
        """What stands behind it."""
        ports: Ports = self.app.state.ports
        return ports

    def bearer(self, subject: str, tier: str = "paid") -> dict[str, str]:
        """Headers of a user."""
        return {"Authorization": f"Bearer {mint_token(self.ports.secret, subject, tier, 600)}"}

    async def raw_status(self, path: str) -> int:
        """Status of a GET whose path arrives exactly so: clients resolve dots before they send."""
        sent: list[int] = []

        async def send(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                sent.append(message["status"])

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        scope = {
            "type": "http",
            "asgi": {"spec_version": "2.4"},
            "method": "GET",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
        }
        await self.app(scope | {"headers": [], "scheme": "http", "server": ("farm.test", 80)}, receive, send)
        return sent[0]

    async def call(
        self, method: str, path: str, body: Any = None, *, who: str = "ann", tier: str = "paid", **headers: str
    ) -> httpx.Response:
        """One request of a user."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.request(method, path, json=body, headers=self.bearer(who, tier) | named)

    async def initiate(self, size_bytes: int, *, who: str = "ann", tier: str = "paid", **more: Any) -> dict[str, Any]:
        """A started upload of so many bytes."""
        body = {"title": "A clip", "filename": "clip.mp4", "content_type": "video/mp4", "file_size_bytes": size_bytes}
        answer = await self.call(
            "POST", "/v1/uploads/initiate", body | {"part_size_bytes": PART_BYTES} | more, who=who, tier=tier
        )
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    async def send_part(self, upload_id: str, number: int, data: bytes, *, who: str = "ann") -> str:
        """Sign a part, send it, and answer its ETag."""
        wanted = {"part_number": number, "content_length": len(data)}
        signed = await self.call("POST", f"/v1/uploads/{upload_id}/parts/presign", wanted, who=who)
        assert signed.status_code == 200, signed.text
        sent = await self.http.put(signed.json()["presigned_url"], content=data, headers=signed.json()["headers"])
        assert sent.status_code == 200, sent.text
        return sent.headers["etag"]

    async def upload(self, data: bytes, *, who: str = "ann", tier: str = "paid", **more: Any) -> dict[str, Any]:
        """A whole upload; the answer of `complete`."""
        begun = await self.initiate(len(data), who=who, tier=tier, **more)
        size = begun["part_size_bytes"]
        parts = [
            {
                "part_number": n + 1,
                "etag": await self.send_part(begun["upload_id"], n + 1, data[n * size :][:size], who=who),
            }
            for n in range(begun["part_count"])
        ]
        path = f"/v1/uploads/{begun['upload_id']}/complete"
        done = await self.call("POST", path, {"parts": parts}, who=who, tier=tier)
        assert done.status_code == 200, done.text
        return dict(done.json()) | {"upload_id": begun["upload_id"]}


@asynccontextmanager
async def running_gateway(
    folder: Path, *, database_url: str = "", store_url: str = "", redis_url: str = "", **settings: Any
) -> AsyncIterator[Gateway]:
    """A gateway on a folder, for the length of the block."""
    cluster = ClusterSettings(
        data_dir=folder, public_url=BASE, database_url=database_url, store_url=store_url, redis_url=redis_url
    )
    app = create_app(GatewaySettings(**settings), cluster)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url=BASE) as http:
        yield Gateway(app=app, http=http)


def content(size_bytes: int, seed: str = "clip") -> bytes:
    """Bytes that differ everywhere, the same in each run."""
    block = hashlib.shake_256(seed.encode()).digest(1 << 16)
    return (block * (size_bytes // len(block) + 1))[:size_bytes]


async def play_dispatcher(farm: Gateway, job_id: str, files: dict[str, tuple[str, bytes]]) -> str:
    """Do what a dispatcher and its workers do to a queued job: claim it, store files (path -> kind, bytes), finish it.

    Returns:
        The asset's folder, a key prefix.
    """
    now = farm.ports.clock()
    async with farm.ports.database.write() as session:
        claimed = {job.id: job for job in await jobs.claim_jobs(session, "test", now, 60, 100)}
        job = claimed[job_id]
        await videos.set_video_status(session, job.video_id, VideoTrigger.PROCESSING_STARTED, now)
    prefix = f"assets/{job.video_id}/{'ab' * 16}/"
    assets = []
    for path, (kind, data) in files.items():
        farm.ports.store.put_bytes(prefix + path, data, layout.content_type(path))
        assets.append(
            videos.NewAsset(kind=kind, key=prefix + path, content_type=layout.content_type(path), bytes=len(data))
        )
    async with farm.ports.database.write() as session:
        await videos.add_assets(session, job.video_id, job_id, assets)
        await videos.set_video_status(session, job.video_id, VideoTrigger.FINISHED, now, asset_prefix=prefix)
        await jobs.save_job(session, job_id, job.attempt, progress={"720p": 1.0, "240p": 1.0})
        assert await jobs.finish_job(session, job_id, job.attempt, JobState.COMPLETED, None, now)
    return prefix


async def reject(farm: Gateway, job_id: str, trigger: VideoTrigger, code: str, detail: str) -> None:
    """Do what a dispatcher does when the source cannot be processed."""
    now = farm.ports.clock()
    async with farm.ports.database.write() as session:
        claimed = {job.id: job for job in await jobs.claim_jobs(session, "test", now, 60, 100)}
        job = claimed[job_id]
        failure = {"code": code, "fault": "input", "detail": detail, "evidence": {"stderr": "node-7: /secret/path"}}
        fields = {"status_code": code, "status_detail": detail, "status_hint": "Trim it."}
        await videos.settle_video(session, job.video_id, trigger, now, **fields)
        assert await jobs.finish_job(session, job_id, job.attempt, JobState.FAILED, failure, now)
