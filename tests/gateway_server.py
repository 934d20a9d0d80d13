"""A gateway behind a real socket in a thread of the test's process: for browsers and blocking clients."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from cluster.settings import ClusterSettings
from gateway.app import create_app
from gateway.auth import load_secret, mint_token
from gateway.settings import GatewaySettings


@dataclass(frozen=True, kw_only=True)
class Server:
    """Where a gateway listens."""

    url: str
    root: Path

    def token(self, subject: str = "ann", tier: str = "paid") -> str:
        """A bearer token of this gateway."""
        return mint_token(load_secret(self.root), subject, tier, 600)

    def get(self, path: str, subject: str = "ann") -> Any:
        """JSON of a GET of the API."""
        headers = {"Authorization": f"Bearer {self.token(subject)}"}
        answer = httpx.get(self.url + path, headers=headers, trust_env=False)
        answer.raise_for_status()
        return answer.json()


def run_apart(work: Coroutine[Any, Any, Any]) -> Any:
    """Result of a coroutine, run in another thread: Playwright keeps an event loop running in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


@contextmanager
def serving(root: Path) -> Iterator[Server]:
    """A gateway on a folder, for the length of the block."""
    with socket.create_server(("127.0.0.1", 0)) as bound:
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        cluster = ClusterSettings(data_dir=root, public_url=url, database_url="", store_url="", redis_url="")
        config = uvicorn.Config(
            create_app(GatewaySettings(), cluster), log_level="warning", access_log=False, timeout_graceful_shutdown=2
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, name="gateway")
        thread.start()
        try:
            httpx.get(f"{url}/healthz", timeout=30, trust_env=False).raise_for_status()
            yield Server(url=url, root=root)
        finally:
            server.should_exit = True
            thread.join()
