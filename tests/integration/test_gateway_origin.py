"""The data plane: who may load an asset, ranges, conditions, caching, and what can never be loaded."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from gateway_app import BASE, Gateway, content, play_dispatcher, running_gateway

MP4 = content(200_000, "mp4")
FILES = {
    "master.m3u8": ("HLS", b"#EXTM3U\n"),
    "mp4/720p.mp4": ("MP4_720", MP4),
    "720p/00001.m4s": ("MEDIA", b"segment"),
}


@dataclass(frozen=True)
class Asset:
    """A READY video of ann's and the address of its folder."""

    farm: Gateway
    video_id: str
    prefix: str
    base: str

    async def get(self, path: str, **headers: str) -> httpx.Response:
        """Load a file of it."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.farm.http.get(self.base + path, headers=named)


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def farm(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """One gateway for the file: tests keep apart by video, user or tier."""
    async with running_gateway(tmp_path_factory.mktemp("farm")) as gateway:
        yield gateway


@pytest_asyncio.fixture(loop_scope="module")
async def asset(farm: Gateway) -> Asset:
    done = await farm.upload(content(100))
    prefix = await play_dispatcher(farm, done["job_id"], FILES)
    shown = (await farm.call("GET", f"/v1/videos/{done['video_id']}")).json()
    return Asset(farm, done["video_id"], prefix, shown["assets"]["hls"].removesuffix("master.m3u8"))


async def test_what_a_playlist_names_beside_itself_can_be_loaded_too(asset: Asset) -> None:
    answer = await asset.get("720p/00001.m4s")
    assert (answer.status_code, answer.content) == (200, b"segment")
    assert answer.headers["content-type"] == "video/iso.segment"


async def test_a_file_says_how_long_it_may_be_kept_and_to_whom_it_is_open(asset: Asset) -> None:
    signed = await asset.get("master.m3u8", Origin="https://player.example")
    assert signed.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert signed.headers["access-control-allow-origin"] == "*"
    await asset.farm.call("POST", f"/v1/videos/{asset.video_id}/publish")
    opened = await asset.farm.http.get(f"{BASE}/media/open/{asset.prefix.removeprefix('assets/')}master.m3u8")
    assert opened.headers["cache-control"] == "public, max-age=31536000, immutable"


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [("bytes=0-99", 0, 99), ("bytes=199990-", 199_990, 199_999), ("bytes=-5", 199_995, 199_999)],
)
async def test_a_range_is_served_as_asked(asset: Asset, asked: str, first: int, last: int) -> None:
    answer = await asset.get("mp4/720p.mp4", Range=asked)
    assert answer.status_code == 206
    assert answer.headers["content-range"] == f"bytes {first}-{last}/200000"
    assert answer.content == MP4[first : last + 1]


async def test_a_range_behind_the_end_is_refused_with_the_length(asset: Asset) -> None:
    answer = await asset.get("mp4/720p.mp4", Range="bytes=200000-")
    assert answer.status_code == 416
    assert answer.headers["content-range"] == "bytes */200000"


async def test_head_tells_length_and_etag_without_a_body(asset: Asset) -> None:
    answer = await asset.farm.http.head(asset.base + "mp4/720p.mp4")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == "200000"
    assert answer.headers["accept-ranges"] == "bytes"


async def test_what_a_client_has_is_not_sent_again(asset: Asset) -> None:
    etag = (await asset.get("master.m3u8")).headers["etag"]
    for condition in (etag, f'"other", W/{etag}', "*"):
        answer = await asset.get("master.m3u8", If_None_Match=condition)
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == etag
    assert (await asset.get("master.m3u8", If_None_Match='"other"')).status_code == 200


async def test_a_range_of_another_version_is_answered_whole(asset: Asset) -> None:
    assert (await asset.get("mp4/720p.mp4", Range="bytes=0-9", If_Range='"other"')).status_code == 200
    etag = (await asset.get("master.m3u8")).headers["etag"]
    assert (await asset.get("master.m3u8", Range="bytes=0-3", If_Range=etag)).status_code == 206


async def test_an_address_holds_for_one_asset_and_until_it_expires(asset: Asset) -> None:
    grant = asset.base.split("/media/")[1].split("/")[0]
    expiry, _, mac = grant.partition(".")
    other = f"{int(expiry, 16) + 1:x}.{mac}"
    for changed in (other, f"{expiry}.{mac[:-1]}", "nonsense", f"{expiry}."):
        answer = await asset.farm.http.get(f"{asset.base.replace(grant, changed)}master.m3u8")
        assert (answer.status_code, answer.json()["code"]) == (403, "media_url_invalid")
    elsewhere = asset.base.replace(asset.video_id, "1" * 32)
    assert (await asset.farm.http.get(f"{elsewhere}master.m3u8")).status_code == 403


async def test_an_expired_address_is_refused(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, media_url_ttl_s=0.001) as farm:
        done = await farm.upload(content(100))
        await play_dispatcher(farm, done["job_id"], FILES)
        url = (await farm.call("GET", f"/v1/videos/{done['video_id']}")).json()["assets"]["hls"]
        answer = await farm.http.get(url)
        assert (answer.status_code, answer.json()["code"]) == (403, "media_url_invalid")


async def test_an_unpublished_video_is_not_open(asset: Asset) -> None:
    url = f"{BASE}/media/open/{asset.prefix.removeprefix('assets/')}master.m3u8"
    assert (await asset.farm.http.get(url)).status_code == 404
    await asset.farm.call("POST", f"/v1/videos/{asset.video_id}/publish", {"visibility": "unlisted"})
    assert (await asset.farm.http.get(url)).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "../../../sources/{video}/source",
        "../../../../sources/{video}/source",
        "x/../master.m3u8",
        "./master.m3u8",
        "/master.m3u8",
        "//etc/passwd",
        "..\\master.m3u8",
        "master.m3u8\0",
        "720p",
        "720p/",
        "",
        "absent.m4s",
    ],
)
async def test_nothing_but_files_of_the_asset_can_be_loaded(asset: Asset, path: str) -> None:
    folder = httpx.URL(asset.base).path
    assert await asset.farm.raw_status(folder + "master.m3u8") == 200
    assert await asset.farm.raw_status(folder + path.format(video=asset.video_id)) == 404


async def test_a_source_has_no_address_even_when_the_store_signs_one(asset: Asset) -> None:
    source = f"sources/{asset.video_id}/source"
    signed = asset.farm.ports.store.sign_get(source, 60).url
    assert (await asset.farm.http.get(signed)).status_code == 404
    allowed = asset.farm.ports.store.sign_get(asset.prefix + "master.m3u8", 60).url
    assert (await asset.farm.http.get(allowed)).status_code == 200
