"""Wiring: settings in, application out. No rule lives here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from cluster.errors import DatabaseUnavailable
from cluster.metadata.database import Database, migrate
from cluster.metadata.migrate import migrate_when_there
from cluster.metrics import GatewayMetrics
from cluster.settings import ClusterSettings
from cluster.storage.open import open_store
from cluster.storage.signing import DATA_PATH
from encoders.profiles.load import load_profile, profile_names
from gateway import problems
from gateway.auth import load_secret
from gateway.background import duties
from gateway.bell import open_bell
from gateway.limits import UploadLimiter
from gateway.middleware import Bounded, CrossOrigin, Measured
from gateway.ports import Ports
from gateway.publish import MediaLinks
from gateway.routes import health, jobs, origin, page, uploads, videos, works
from gateway.routes.answers import declare_problems
from gateway.settings import GatewaySettings
from gateway.webhooks import read_secret

DESCRIPTION = """Upload a video in parts, get back an asset that plays by HLS, DASH and MP4.

1. `POST /v1/uploads/initiate`, then for each part `POST …/parts/presign` and `PUT` to the URL it answers.
2. `POST /v1/uploads/{id}/complete` queues the job.
3. `GET /v1/videos/{id}/status` (or `/events`) until it is `READY`, then `POST /v1/videos/{id}/publish`.

Errors are RFC 9457 problem documents; act on their `code`.
"""


def create_app(settings: GatewaySettings, cluster: ClusterSettings) -> FastAPI:
    """The gateway as an ASGI application. Its lifespan brings the database's tables up to date and closes everything.

    Raises:
        ValueError: a setting cannot be used (secret too short, rate not understood).
        StoreRefused: the store's URL cannot be used.
    """
    ports = open_ports(settings, cluster)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        url, later = cluster.effective_database_url, None
        try:
            await asyncio.to_thread(migrate, url)
        except DatabaseUnavailable:
            # Until it is back, a 503 says more than no answer at all.
            later = asyncio.create_task(migrate_when_there(url))
        try:
            async with duties(ports):
                yield
        finally:
            if later is not None:
                later.cancel()
                await asyncio.gather(later, return_exceptions=True)
            await ports.bell.close()
            await ports.database.close()

    app = FastAPI(
        title="Reelmill",
        version="1",
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.state.ports = ports
    app.state.secret = ports.secret
    for router in (uploads.router, videos.router, jobs.router, works.router, health.router, origin.router, page.router):
        app.include_router(router)
    problems.install(app)
    app.add_middleware(Bounded, streamed_prefixes=(DATA_PATH,))
    app.add_middleware(CrossOrigin, data_prefixes=(DATA_PATH, "/media/"), api_origins=settings.cors_origins)
    app.add_middleware(Measured, metrics=ports.metrics)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def open_ports(settings: GatewaySettings, cluster: ClusterSettings) -> Ports:
    """Everything behind the gateway, by its settings; nothing is connected yet."""
    secret = load_secret(cluster.root, settings.jwt_secret.get_secret_value())
    if settings.webhook_url:
        read_secret(settings.webhook_secret.get_secret_value())
    return Ports(
        settings=settings,
        cluster=cluster,
        database=Database(cluster.effective_database_url),
        store=open_store(cluster.effective_store_url, cluster.public_url),
        bell=open_bell(cluster.redis_url),
        limiter=UploadLimiter(settings.initiate_rates, cluster.redis_url),
        metrics=GatewayMetrics(),
        links=MediaLinks(secret, cluster.public_url, settings.media_url_ttl_s),
        secret=secret,
        profiles={name: load_profile(name) for name in profile_names()},
    )


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        app.openapi_schema = declare_problems(
            get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        )
    return app.openapi_schema
