"""The person's page and what it loads: own files only, under a policy that forbids everything else."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse

from cluster.settings import ClusterSettings
from gateway.errors import UnknownResource
from gateway.ports import ports_of

router = APIRouter(include_in_schema=False)

FOLDER = Path(__file__).resolve().parent.parent / "page"
CHECKOUT = FOLDER.parent.parent
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
FILES = {path.name: path for path in FOLDER.iterdir() if path.suffix in TYPES}
"""What may be asked for by name: a fixed set, so that no name can lead anywhere else."""
PLAYER = "hls.min.mjs"


@router.get("/")
async def index(request: Request) -> FileResponse:
    """The page."""
    return _served(request, "index.html")


@router.get("/docs")
async def docs(request: Request) -> FileResponse:
    """The API for people, drawn from `/openapi.json`."""
    return _served(request, "docs.html")


@router.get("/page/{name}")
async def file(request: Request, name: str) -> FileResponse:
    """A file that the page loads."""
    return _served(request, name)


@router.get("/players/hls.mjs")
async def player(request: Request) -> FileResponse:
    """hls.js, when it was installed on this farm; the page plays MP4 or native HLS otherwise."""
    found = player_file(ports_of(request).cluster)
    if found is None:
        raise UnknownResource("hls.js is not installed on this farm")
    return FileResponse(found, media_type=TYPES[".js"], headers={"Cache-Control": "no-cache"})


def player_file(cluster: ClusterSettings) -> Path | None:
    """The installed hls.js: in the data folder, or where `npm install hls.js` puts it in the checkout."""
    places = (cluster.root / "players" / PLAYER, CHECKOUT / "node_modules" / "hls.js" / "dist" / PLAYER)
    return next((place for place in places if place.is_file()), None)


def _served(request: Request, name: str) -> FileResponse:
    path = FILES.get(name)
    if path is None:
        raise UnknownResource(f"the page has no file {name!r:.80}")
    headers = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
    if path.suffix == ".html":
        headers["Content-Security-Policy"] = content_policy(ports_of(request).cluster)
        headers["Referrer-Policy"] = "no-referrer"
    return FileResponse(path, media_type=TYPES[path.suffix], headers=headers)


def content_policy(cluster: ClusterSettings) -> str:
    """Content Security Policy of the page: own scripts and styles; bytes also from where the farm's signed URLs lead.

    `blob:` is what Media Source Extensions give a `<video>` to load.
    """
    data = " ".join(["'self'", *_data_origins(cluster)])
    rules = {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": data,
        "media-src": f"{data} blob:",
        "connect-src": data,
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def _data_origins(cluster: ClusterSettings) -> list[str]:
    public = urlsplit(cluster.public_url)
    origins = [f"{public.scheme}://{public.netloc}"]
    store = urlsplit(cluster.effective_store_url)
    if store.scheme == "s3":
        endpoint = parse_qs(store.query).get("endpoint", [""])[0]
        parts = urlsplit(endpoint)
        origins.append(f"{parts.scheme}://{parts.netloc}" if endpoint else "https://*.amazonaws.com")
    return origins
