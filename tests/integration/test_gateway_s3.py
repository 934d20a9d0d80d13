"""The gateway on an S3 store: parts go straight to it, playlists come through the gateway, media by redirect."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from unittest import mock

import boto3
import httpx
import pytest
from gateway_app import PART_BYTES, Gateway, content, play_dispatcher, running_gateway
from moto.server import ThreadedMotoServer

BUCKET = "farm"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_CONFIG_FILE": "/nonexistent",
    "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with mock.patch.dict(os.environ, ENVIRONMENT):
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        client = boto3.session.Session().client("s3", endpoint_url=url, region_name="us-east-1")
        client.create_bucket(Bucket=BUCKET)
        client.close()
        yield url
        server.stop()


@pytest.fixture
async def farm(endpoint: str, tmp_path: Path) -> AsyncIterator[Gateway]:
    store_url = f"s3://{BUCKET}/{tmp_path.name}?endpoint={endpoint}&region=us-east-1"
    async with running_gateway(tmp_path, store_url=store_url) as gateway:
        yield gateway


async def test_parts_go_straight_to_the_store_and_completion_joins_them(farm: Gateway, endpoint: str) -> None:
    data = content(PART_BYTES + 1000)
    begun = await farm.initiate(len(data))
    wanted = [{"part_number": 2, "content_length": 1000}, {"part_number": 1, "content_length": PART_BYTES}]
    signed = (await farm.call("POST", f"/v1/uploads/{begun['upload_id']}/parts/presign", {"parts": wanted})).json()
    parts = []
    async with httpx.AsyncClient(trust_env=False) as http:
        for part in signed["parts"]:
            assert part["presigned_url"].startswith(endpoint)
            body = data[PART_BYTES:] if part["part_number"] == 2 else data[:PART_BYTES]
            sent = await http.put(part["presigned_url"], content=body, headers=part["headers"])
            parts.append({"part_number": part["part_number"], "etag": sent.headers["etag"]})
    path = f"/v1/uploads/{begun['upload_id']}"
    held = (await farm.call("GET", path)).json()["parts"]
    assert [(part["part_number"], part["size_bytes"]) for part in held] == [(1, PART_BYTES), (2, 1000)]
    answers = [await farm.call("POST", f"{path}/complete", {"parts": parts}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()
    assert farm.ports.store.get_bytes(f"sources/{begun['video_id']}/source") == data


async def test_playlists_come_through_the_gateway_and_media_by_redirect(farm: Gateway, endpoint: str) -> None:
    begun = await farm.initiate(100)
    path = f"/v1/uploads/{begun['upload_id']}"
    wanted = {"part_number": 1, "content_length": 100}
    signed = (await farm.call("POST", f"{path}/parts/presign", wanted)).json()
    async with httpx.AsyncClient(trust_env=False) as http:
        sent = await http.put(signed["presigned_url"], content=content(100), headers=signed["headers"])
        named = [{"part_number": 1, "etag": sent.headers["etag"]}]
        done = (await farm.call("POST", f"{path}/complete", {"parts": named})).json()
        files = {"master.m3u8": ("HLS", b"#EXTM3U\n"), "720p/00001.m4s": ("MEDIA", b"0123456789")}
        await play_dispatcher(farm, done["job_id"], files)
        hls = (await farm.call("GET", f"/v1/videos/{done['video_id']}")).json()["assets"]["hls"]
        playlist = await farm.http.get(hls)
        assert (playlist.status_code, playlist.content) == (200, b"#EXTM3U\n")
        assert playlist.headers["content-type"].startswith("application/vnd.apple.mpegurl")
        media = await farm.http.get(hls.replace("master.m3u8", "720p/00001.m4s"))
        assert media.status_code == 307
        assert media.headers["location"].startswith(endpoint)
        piece = await http.get(media.headers["location"], headers={"Range": "bytes=2-4"})
    assert (piece.status_code, piece.content) == (206, b"234")


async def test_the_data_plane_of_files_is_not_there_and_the_page_may_load_from_the_store(
    farm: Gateway, endpoint: str
) -> None:
    assert (await farm.http.put("/_data/parts/abc/1?exp=1&len=1&sig=x", content=b"x")).status_code == 404
    assert endpoint in (await farm.http.get("/")).headers["content-security-policy"]


async def test_a_store_that_does_not_answer_is_told_and_nothing_is_created(tmp_path: Path, endpoint: str) -> None:
    store_url = f"s3://{BUCKET}/x?endpoint=http://127.0.0.1:9&region=us-east-1"
    async with running_gateway(tmp_path, store_url=store_url) as farm:
        body = {"title": "A clip", "filename": "a.mp4", "content_type": "video/mp4", "file_size_bytes": 10}
        refused = await farm.call("POST", "/v1/uploads/initiate", body)
        assert (refused.status_code, refused.json()["code"]) == (503, "store_unavailable")
        assert "127.0.0.1:9" not in refused.text
        assert (await farm.call("GET", "/v1/videos")).json()["videos"] == []
