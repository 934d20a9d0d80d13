"""What happens around every request: counted and timed by route, and answered to the origins that may ask.

Plain ASGI, since Starlette's BaseHTTPMiddleware would buffer event streams' disconnects and copy every media chunk.
"""

from __future__ import annotations

import time

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cluster.metrics import GatewayMetrics

EXPOSED = ["ETag", "Content-Range", "Content-Length", "Accept-Ranges", "RateLimit", "RateLimit-Policy", "Retry-After"]
"""Response headers that scripts of other origins may read; without ETag no browser can complete an upload."""
PREFLIGHT_AGE_S = 3600


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
