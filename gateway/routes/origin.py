"""The data plane: parts of the local store go in, assets come out. No bearer tokens here: the address is the right.

    PUT  /_data/parts/…                one part, by a URL that the local store signed
    GET  /_data/objects|tree/…         an asset, by a URL that the local store signed
    GET  /media/<grant>/<video>/<asset>/…    an asset, by the addresses of `gateway.publish`, whatever the store is

Only keys below `assets/` leave: an uploaded source has no address.
"""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Header, Path, Request, Response
from fastapi.responses import FileResponse, RedirectResponse

from cluster.errors import ObjectMissing, RowMissing
from cluster.metadata import videos as rows
from cluster.storage.base import LocalPaths, ObjectInfo, check_key
from cluster.storage.local import LocalStore
from cluster.storage.signing import PartGrant, ReadGrant
from gateway.errors import LengthRequired, UnknownResource
from gateway.ports import Ports, ports_of
from gateway.publish import OPEN, is_open
from gateway.routes.answers import refusals

router = APIRouter(tags=["data"])

ASSETS = "assets/"
MEDIA_ROUTE = "/media/{grant}/{video_id}/{asset}/{path:path}"
YEAR_S = 31_536_000
"""Source: RFC 8246 section 2 pairs `immutable` with a long max-age; RFC 2616's year is the custom."""
REDIRECT_S = 600
"""How long a redirect into remote storage holds, seconds."""
TEXTS = (".m3u8", ".mpd", ".vtt", ".json")
"""Served by the gateway even when the store is remote: what they name is relative to their own address."""
TEXT_BYTES = 16 << 20


class AssetFile(FileResponse):
    """A file in chunks large enough that reading them in a thread costs little."""

    chunk_size = 512 * 1024


@router.put(
    "/_data/parts/{upload}/{number}",
    summary="Send a part",
    response_class=Response,
    responses=refusals(400, 403, 408, 409, 411, 507),
)
async def put_part(
    request: Request,
    upload: Annotated[str, Path(description="With the number and the query as `presign` answered it.")],
    number: str,
    content_md5: Annotated[str | None, Header(description="Checked where it is given.")] = None,
) -> Response:
    """Streams the body to disk in constant memory; the answer's ETag names the part when completing."""
    ports = ports_of(request)
    store = _local_store(ports)
    grant = store.verify_signature("PUT", request.scope["path"], request.query_params)
    assert isinstance(grant, PartGrant)
    if "content-length" not in request.headers:
        raise LengthRequired("send Content-Length: the part's length was signed")
    etag = await store.receive_part(grant, request.stream(), content_md5)
    ports.metrics.part_bytes.inc(grant.size_bytes)
    return Response(headers={"ETag": f'"{etag}"'})


@router.head("/_data/{kind}/{rest:path}", response_class=Response, include_in_schema=False)
@router.get("/_data/{kind}/{rest:path}", response_class=Response, include_in_schema=False)
async def get_signed(request: Request) -> Response:
    """An asset, by a URL that the local store signed."""
    ports = ports_of(request)
    grant = _local_store(ports).verify_signature(request.method, request.scope["path"], request.query_params)
    assert isinstance(grant, ReadGrant)
    if not grant.key.startswith(ASSETS):
        raise UnknownResource("only assets have addresses")
    return await _serve(request, ports, grant.key, "private")


@router.head(MEDIA_ROUTE, response_class=Response, include_in_schema=False)
@router.get(
    MEDIA_ROUTE,
    summary="Load an asset",
    response_class=Response,
    responses=refusals(403, 404, 416),
)
async def get_media(
    request: Request,
    grant: Annotated[str, Path(max_length=80, description="`open`, or an expiry and its signature.")],
    video_id: Annotated[str, Path(max_length=64)],
    asset: Annotated[str, Path(max_length=200)],
    path: str,
) -> Response:
    """Playlists, media segments, MP4s, stills. Answers ranges and conditions; an address's content never changes."""
    ports = ports_of(request)
    key = check_key(f"{ASSETS}{video_id}/{asset}/{path}")
    if grant != OPEN:
        ports.links.check(grant, video_id, asset, ports.clock())
        return await _serve(request, ports, key, "private")
    async with ports.database.read() as session:
        try:
            video = await rows.published_video(session, video_id)
        except RowMissing:
            raise UnknownResource("there is nothing here that everybody may see") from None
    if not is_open(video) or video.asset_prefix != f"{ASSETS}{video_id}/{asset}/":
        raise UnknownResource("there is nothing here that everybody may see")
    return await _serve(request, ports, key, "public")


def _local_store(ports: Ports) -> LocalStore:
    if not isinstance(ports.store, LocalStore):
        raise UnknownResource("this farm's storage answers for itself")
    return ports.store


async def _serve(request: Request, ports: Ports, key: str, audience: str) -> Response:
    """An object, from disk where it is a file here, else by way of the remote store."""
    info = await asyncio.to_thread(ports.store.head, key)
    if info is None:
        raise ObjectMissing("there is no such file in this asset")
    headers = {
        "ETag": f'"{info.etag}"',
        "Cache-Control": f"{audience}, max-age={YEAR_S}, immutable",
        "X-Content-Type-Options": "nosniff",
        "Cross-Origin-Resource-Policy": "cross-origin",
    }
    if _unchanged(request, info):
        return Response(status_code=304, headers=headers)
    if isinstance(ports.store, LocalPaths):
        return AssetFile(ports.store.path_of(key), headers=headers, media_type=info.content_type)
    if key.endswith(TEXTS):
        data = await asyncio.to_thread(ports.store.get_bytes, key, 0, TEXT_BYTES)
        return Response(data, headers=headers, media_type=info.content_type)
    signed = ports.store.sign_get(key, 2 * REDIRECT_S)
    return RedirectResponse(signed.url, status_code=307, headers={"Cache-Control": f"private, max-age={REDIRECT_S}"})


def _unchanged(request: Request, info: ObjectInfo) -> bool:
    """Whether If-None-Match names what there is. Source: RFC 9110 section 13.1.2 (weak comparison)."""
    given = request.headers.get("if-none-match")
    if given is None:
        return False
    tags = [tag.strip().removeprefix("W/").strip('"') for tag in given.split(",")]
    return "*" in tags or info.etag in tags
