"""Videos and jobs through the HTTP API: lists, status, publishing, retrying, deleting, explaining, isolation."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from gateway_app import Gateway, content, play_dispatcher, reject, running_gateway

from cluster.metadata import jobs
from cluster.metadata.lifecycle import VideoTrigger

FILES = {
    "master.m3u8": ("HLS", b"#EXTM3U\n720p/index.m3u8\n"),
    "manifest.mpd": ("DASH", b"<MPD/>"),
    "mp4/720p.mp4": ("MP4_720", content(5000, "720")),
    "thumbnail.jpg": ("THUMB", b"jpeg"),
    "preview.mp4": ("PREVIEW", b"mp4"),
    "storyboard.jpg": ("STORYBOARD", b"jpeg"),
    "storyboard.vtt": ("STORYBOARD_VTT", b"WEBVTT\n"),
}
UNKNOWN = "0" * 32


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def farm(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """One gateway for the file: tests keep apart by video, user or tier."""
    async with running_gateway(tmp_path_factory.mktemp("farm")) as gateway:
        yield gateway


async def ready_video(farm: Gateway, **more: Any) -> tuple[str, str]:
    done = await farm.upload(content(100), **more)
    await play_dispatcher(farm, done["job_id"], FILES)
    return done["video_id"], done["job_id"]


async def status_of(farm: Gateway, video_id: str) -> dict[str, Any]:
    answer = await farm.call("GET", f"/v1/videos/{video_id}/status")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_status_follows_a_video_from_upload_to_ready(farm: Gateway) -> None:
    begun = await farm.initiate(100)
    assert (await status_of(farm, begun["video_id"]))["status"] == "DRAFT"
    await farm.send_part(begun["upload_id"], 1, content(100))
    assert (await status_of(farm, begun["video_id"]))["status"] == "UPLOADING"
    video_id, job_id = await ready_video(farm)
    status = await status_of(farm, video_id)
    assert (status["status"], status["job_id"], status["rejection"]) == ("READY", job_id, None)
    assert status["progress"]["percent"] == 100
    assert [one["name"] for one in status["progress"]["renditions"]] == ["240p", "720p"]


async def test_progress_is_by_rendition_and_100_only_when_ready(farm: Gateway) -> None:
    done = await farm.upload(content(100))
    async with farm.ports.database.write() as session:
        [job] = await jobs.claim_jobs(session, "test", farm.ports.clock(), 60, 1)
        await jobs.save_job(session, job.id, job.attempt, progress={"1080p": 1.0, "720p": 1.0, "240p": 0.5})
    progress = (await status_of(farm, done["video_id"]))["progress"]
    assert progress["percent"] == 83.3
    assert [(one["name"], one["percent"]) for one in progress["renditions"]] == [
        ("240p", 50),
        ("720p", 100),
        ("1080p", 100),
    ]


async def test_an_owner_gets_addresses_of_everything_that_was_made(farm: Gateway) -> None:
    video_id, _ = await ready_video(farm)
    assets = (await farm.call("GET", f"/v1/videos/{video_id}")).json()["assets"]
    assert assets["hls"].endswith("/master.m3u8")
    assert assets["dash"].endswith("/manifest.mpd")
    assert [one["name"] for one in assets["mp4"]] == ["720p"]
    assert assets["storyboard"].endswith(".vtt")
    assert assets["expires_at"] is not None
    for url in (assets["hls"], assets["dash"], assets["thumbnail"], assets["preview"], assets["mp4"][0]["url"]):
        assert (await farm.http.get(url)).status_code == 200


async def test_publishing_opens_the_addresses_and_private_closes_them(farm: Gateway) -> None:
    video_id, _ = await ready_video(farm)
    published = await farm.call("POST", f"/v1/videos/{video_id}/publish", {"visibility": "public"})
    assert published.status_code == 200
    assert (published.json()["status"], published.json()["visibility"]) == ("PUBLISHED", "public")
    assert published.json()["published_at"]
    url = published.json()["assets"]["hls"]
    assert "/media/open/" in url
    assert (await farm.http.get(url)).status_code == 200
    again = await farm.call("POST", f"/v1/videos/{video_id}/publish", {"visibility": "private"})
    assert again.json()["published_at"] == published.json()["published_at"]
    assert (await farm.http.get(url)).status_code == 404
    assert (await farm.http.get(again.json()["assets"]["hls"])).status_code == 200


async def test_only_a_ready_video_can_be_published(farm: Gateway) -> None:
    done = await farm.upload(content(100))
    refused = await farm.call("POST", f"/v1/videos/{done['video_id']}/publish")
    assert (refused.status_code, refused.json()["code"]) == (409, "state_conflict")


async def test_a_rejection_tells_what_is_wrong_and_a_retry_uses_the_kept_source(farm: Gateway) -> None:
    done = await farm.upload(content(100), profile="nextplay")
    await reject(farm, done["job_id"], VideoTrigger.TOO_LONG, "too_long", "it lasts 41 s; 30 s are taken")
    status = await status_of(farm, done["video_id"])
    assert status["status"] == "REJECTED_TOO_LONG"
    assert status["rejection"] == {"code": "too_long", "detail": "it lasts 41 s; 30 s are taken", "hint": "Trim it."}
    failed = (await farm.call("GET", f"/v1/jobs/{done['job_id']}")).json()
    assert (failed["state"], failed["failure"]["code"]) == ("failed", "too_long")
    assert "secret" not in str(failed)
    body = {"profile": "default", "trim": {"start_s": 1, "end_s": 20}, "early_playback": False}
    retried = await farm.call("POST", f"/v1/videos/{done['video_id']}/retry", body)
    assert (retried.status_code, retried.json()["status"]) == (202, "UPLOADED")
    async with farm.ports.database.read() as session:
        job = await jobs.job_of(session, "ann", retried.json()["job_id"])
    assert (job.profile, job.options) == ("default", {"trim": {"start_s": 1.0, "end_s": 20.0}, "early_playback": False})
    twice = await farm.call("POST", f"/v1/videos/{done['video_id']}/retry", body)
    assert (twice.status_code, twice.json()["code"]) == (409, "state_conflict")


async def test_a_retry_without_its_source_says_so(farm: Gateway) -> None:
    done = await farm.upload(content(100))
    await reject(farm, done["job_id"], VideoTrigger.BAD_FORMAT, "not_a_video", "no media file")
    farm.ports.store.delete(f"sources/{done['video_id']}/source")
    refused = await farm.call("POST", f"/v1/videos/{done['video_id']}/retry")
    assert (refused.status_code, refused.json()["code"]) == (410, "source_gone")


async def test_a_deleted_video_is_gone_with_its_bytes_and_its_work(farm: Gateway) -> None:
    video_id, _ = await ready_video(farm)
    url = (await farm.call("GET", f"/v1/videos/{video_id}")).json()["assets"]["hls"]
    assert (await farm.call("DELETE", f"/v1/videos/{video_id}")).status_code == 204
    assert (await farm.call("GET", f"/v1/videos/{video_id}")).status_code == 404
    assert (await farm.call("DELETE", f"/v1/videos/{video_id}")).status_code == 404
    assert (await farm.http.get(url)).status_code == 404
    left = [*farm.ports.store.list(f"assets/{video_id}/"), *farm.ports.store.list(f"sources/{video_id}/")]
    assert left == []


async def test_deleting_while_uploading_ends_the_upload(farm: Gateway) -> None:
    begun = await farm.initiate(100)
    await farm.send_part(begun["upload_id"], 1, content(100))
    assert (await farm.call("DELETE", f"/v1/videos/{begun['video_id']}")).status_code == 204
    open_keys = {upload.key for upload in farm.ports.store.list_multiparts(farm.ports.clock() + 60)}
    assert f"sources/{begun['video_id']}/source" not in open_keys
    assert (await farm.call("GET", f"/v1/uploads/{begun['upload_id']}")).json()["status"] == "ABORTED"


async def test_videos_come_in_pages_newest_first(farm: Gateway) -> None:
    made = [(await farm.initiate(100, who="paula"))["video_id"] for _ in range(5)]
    first = (await farm.call("GET", "/v1/videos?limit=2", who="paula")).json()
    second = (await farm.call("GET", f"/v1/videos?limit=2&cursor={first['next_cursor']}", who="paula")).json()
    third = (await farm.call("GET", f"/v1/videos?limit=2&cursor={second['next_cursor']}", who="paula")).json()
    seen = [video["video_id"] for page in (first, second, third) for video in page["videos"]]
    assert seen == made[::-1]
    assert third["next_cursor"] is None
    wrong = await farm.call("GET", "/v1/videos?cursor=nonsense")
    assert (wrong.status_code, wrong.json()["code"]) == (400, "cursor_invalid")


async def test_a_list_shows_the_newest_job_and_the_thumbnail(farm: Gateway) -> None:
    video_id, job_id = await ready_video(farm, who="lisa")
    await farm.initiate(100, who="lisa")
    listed = (await farm.call("GET", "/v1/videos", who="lisa")).json()["videos"]
    by_id = {video["video_id"]: video for video in listed}
    assert by_id[video_id]["job_id"] == job_id
    assert by_id[video_id]["thumbnail_url"].endswith("thumbnail.jpg")
    assert sorted(str(video["job_id"]) for video in listed) == sorted([job_id, "None"])


async def test_a_queued_job_is_explained_and_cancelled(farm: Gateway) -> None:
    await farm.upload(content(100), tier="verified")
    done = await farm.upload(content(100), tier="verified")
    told = (await farm.call("GET", f"/v1/jobs/{done['job_id']}/explain")).json()
    assert (told["state"], told["position"]) == ("queued", 2)
    assert "1 earlier job" in told["reason"]
    cancelled = [await farm.call("POST", f"/v1/jobs/{done['job_id']}/cancel") for _ in range(2)]
    assert [(answer.status_code, answer.json()["state"]) for answer in cancelled] == [(202, "cancelled")] * 2
    status = await status_of(farm, done["video_id"])
    assert (status["status"], status["rejection"]["code"]) == ("PROCESSING_FAILED", "cancelled")


async def test_a_finished_job_cannot_be_cancelled(farm: Gateway) -> None:
    _, job_id = await ready_video(farm)
    refused = await farm.call("POST", f"/v1/jobs/{job_id}/cancel")
    assert (refused.status_code, refused.json()["code"]) == (409, "state_conflict")
    assert (await farm.call("GET", f"/v1/jobs/{job_id}/explain")).json()["reason"] == "It is done."


async def test_somebody_elses_videos_and_jobs_are_as_if_they_did_not_exist(farm: Gateway) -> None:
    video_id, job_id = await ready_video(farm)
    for method, path in (
        ("GET", f"/v1/videos/{video_id}"),
        ("GET", f"/v1/videos/{video_id}/status"),
        ("GET", f"/v1/videos/{video_id}/events"),
        ("POST", f"/v1/videos/{video_id}/publish"),
        ("POST", f"/v1/videos/{video_id}/retry"),
        ("DELETE", f"/v1/videos/{video_id}"),
        ("GET", f"/v1/jobs/{job_id}"),
        ("GET", f"/v1/jobs/{job_id}/explain"),
        ("POST", f"/v1/jobs/{job_id}/cancel"),
    ):
        theirs = await farm.call(method, path, who="bob")
        nobodys = await farm.call(method, path.replace(video_id, UNKNOWN).replace(job_id, UNKNOWN), who="bob")
        for answer in (theirs, nobodys):
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), path
    assert (await farm.call("GET", "/v1/videos", who="bob")).json() == {"videos": [], "next_cursor": None}


async def test_a_token_says_who_and_what_may_be_used(farm: Gateway) -> None:
    me = (await farm.call("GET", "/v1/me", who="ann", tier="verified")).json()
    assert (me["subject"], me["tier"]) == ("ann", "verified")
    assert {"default", "nextplay"} <= {profile["name"] for profile in me["profiles"]}
