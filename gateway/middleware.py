"""What happens around every request: its body is bounded, it is counted and timed by route, and answered to the origins
that may ask.

Plain ASGI, since Starlette's BaseHTTPMiddleware would buffer event streams' disconnects and copy every media chunk.
"""

from __future__ import annotations

import asyncio
import time

from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cluster.metrics import GatewayMetrics

EXPOSED = ["ETag", "Content-Range", "Content-Length", "Accept-Ranges", "RateLimit", "RateLimit-Policy", "Retry-After"]
"""Response headers that scripts of other origins may read; without ETag no browser can complete an upload."""
PREFLIGHT_AGE_S = 3600
CLOSE = {"Connection": "close"}
MOST_BYTES = 8 << 20
"""Of an API request's body: what naming 10,000 parts takes, three times."""
LONGEST_PAUSE_S = 60.0
"""How long a body may stand still: beyond it the client has gone without a word, as phones do, or means harm."""


class Bounded:
    """Bodies have an end: in bytes, since the API reads them whole and before it knows who sends; all, in time.

    Args:
        streamed_prefixes: of paths whose bodies are bounded elsewhere and never held in memory.
    """

    def __init__(
        self,
        app: ASGIApp,
        streamed_prefixes: tuple[str, ...],
        most_bytes: int = MOST_BYTES,
        longest_pause_s: float = LONGEST_PAUSE_S,
    ) -> None:
        self._app = app
        self._prefixes = streamed_prefixes
        self._most_bytes = most_bytes
        self._longest_pause_s = longest_pause_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; reading its body raises the problem to answer when it is too large or too slow."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        measured = not scope["path"].startswith(self._prefixes)
        arrived_bytes = 0
        whole = False

        async def bounded() -> Message:
            nonlocal arrived_bytes, whole
            # What comes after the body is the client's going, which may take as long as it likes.
            try:
                async with asyncio.timeout(None if whole else self._longest_pause_s):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, f"The body stood still for {self._longest_pause_s:.0f} s", CLOSE) from None
            if message["type"] == "http.request":
                arrived_bytes += len(message.get("body", b""))
                whole = not message.get("more_body", False)
                if measured and arrived_bytes > self._most_bytes:
                    raise HTTPException(413, f"The body has more than {self._most_bytes} bytes", CLOSE)
            return message

        return await self._app(scope, bounded, send)


class Measured:
    """Counts and times requests by route template, so that ids do not become labels."""

    def __init__(self, app: ASGIApp, metrics: GatewayMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; count it when its answer begins."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        begin = time.perf_counter()

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", "unmatched")
                method = scope["method"]
                self._metrics.requests.labels(route=route, method=method, status=str(message["status"])).inc()
                self._metrics.request_s.labels(route=route, method=method).observe(time.perf_counter() - begin)
            await send(message)

        return await self._app(scope, receive, counted)


class CrossOrigin:
    """CORS by kind of URL: data-plane URLs carry their own right and answer any origin, the API only the listed ones.

    No route uses cookies, so a foreign page can never act in a user's name by being answered.
    """

    def __init__(self, app: ASGIApp, data_prefixes: tuple[str, ...], api_origins: tuple[str, ...]) -> None:
        self._prefixes = data_prefixes
        self._data = CORSMiddleware(
            app,
            allow_origins=["*"],
            allow_methods=["GET", "HEAD", "PUT"],
            allow_headers=["*"],
            expose_headers=EXPOSED,
            max_age=PREFLIGHT_AGE_S,
        )
        self._api = CORSMiddleware(
            app,
            allow_origins=list(api_origins),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Last-Event-ID", "Idempotency-Key"],
            expose_headers=EXPOSED,
            max_age=PREFLIGHT_AGE_S,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request to the rules of its path."""
        data = scope["type"] == "http" and scope["path"].startswith(self._prefixes)
        await (self._data if data else self._api)(scope, receive, send)
