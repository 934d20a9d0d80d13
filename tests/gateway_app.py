"""A gateway in the test's own process: SQLite and a local store in a folder, spoken to without a socket."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from cluster.settings import ClusterSettings
from gateway.app import create_app
from gateway.auth import mint_token
from gateway.ports import Ports
from gateway.settings import GatewaySettings

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

    async def call(
        self, method: str, path: str, body: Any = None, *, who: str = "ann", tier: str = "paid", **headers: str
    ) -> httpx.Response:
        """One request of a user."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.request(method, path, json=body, headers=self.bearer(who, tier) | named)

    async def initiate(self, size_bytes: int, *, who: str = "ann", **more: Any) -> dict[str, Any]:
        """A started upload of so many bytes."""
        body = {"title": "A clip", "filename": "clip.mp4", "content_type": "video/mp4", "file_size_bytes": size_bytes}
        answer = await self.call("POST", "/v1/uploads/initiate", body | {"part_size_bytes": PART_BYTES} | more, who=who)
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

    async def upload(self, data: bytes, *, who: str = "ann", **more: Any) -> dict[str, Any]:
        """A whole upload; the answer of `complete`."""
        begun = await self.initiate(len(data), who=who, **more)
        size = begun["part_size_bytes"]
        parts = [
            {
                "part_number": n + 1,
                "etag": await self.send_part(begun["upload_id"], n + 1, data[n * size :][:size], who=who),
            }
            for n in range(begun["part_count"])
        ]
        done = await self.call("POST", f"/v1/uploads/{begun['upload_id']}/complete", {"parts": parts}, who=who)
        assert done.status_code == 200, done.text
        return dict(done.json()) | {"upload_id": begun["upload_id"]}


@asynccontextmanager
async def running_gateway(folder: Path, **settings: Any) -> AsyncIterator[Gateway]:
    """A gateway on a folder, for the length of the block."""
    cluster = ClusterSettings(data_dir=folder, public_url=BASE, database_url="", store_url="", redis_url="")
    app = create_app(GatewaySettings(**settings), cluster)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url=BASE) as http:
        yield Gateway(app=app, http=http)


def content(size_bytes: int, seed: str = "clip") -> bytes:
    """Bytes that differ everywhere, the same in each run."""
    block = hashlib.shake_256(seed.encode()).digest(1 << 16)
    return (block * (size_bytes // len(block) + 1))[:size_bytes]
