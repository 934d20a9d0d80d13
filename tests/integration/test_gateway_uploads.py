"""Upload sessions through the HTTP API, on SQLite and the local store: the contract, its refusals, and restarts."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, MutableMapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from gateway_app import PART_BYTES, Gateway, content, running_gateway
from sqlalchemy import func, select

from cluster.metadata import jobs
from cluster.metadata.schema import Job
from cluster.storage.base import ObjectInfo, Part
from cluster.storage.local import LocalStore
from scheduler.jobs import JobState

SIZE = 2 * PART_BYTES + 1234
DATA = content(SIZE)


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def farm(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """One gateway for the file: tests keep apart by video, user or tier."""
    async with running_gateway(tmp_path_factory.mktemp("farm")) as gateway:
        yield gateway


async def queued_job(farm: Gateway, video_id: str, who: str = "ann") -> Job | None:
    async with farm.ports.database.read() as session:
        return await jobs.latest_job(session, who, video_id)


async def job_count(farm: Gateway, video_id: str) -> int:
    async with farm.ports.database.read() as session:
        return int(await session.scalar(select(func.count()).where(Job.video_id == video_id)) or 0)


async def all_parts(farm: Gateway, begun: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "part_number": number,
            "etag": await farm.send_part(begun["upload_id"], number, DATA[(number - 1) * PART_BYTES :][:PART_BYTES]),
        }
        for number in (1, 2, 3)
    ]


async def test_an_upload_in_parts_ends_with_the_source_in_storage_and_a_job_in_the_queue(farm: Gateway) -> None:
    begun = await farm.initiate(SIZE)
    assert begun["part_count"] == 3
    assert begun["s3_upload_id"]
    parts = await all_parts(farm, begun)
    body = {"parts": parts, "gpu": "require", "early_playback": False, "deadline_s": 60}
    done = await farm.call("POST", f"/v1/uploads/{begun['upload_id']}/complete", body)
    assert done.status_code == 200
    assert done.json()["status"] == "UPLOADED"
    job = await queued_job(farm, begun["video_id"])
    assert job is not None
    assert (job.id, job.state, job.tier) == (done.json()["job_id"], JobState.QUEUED, "paid")
    assert (job.gpu, job.options) == ("require", {"early_playback": False})
    assert job.deadline_at is not None
    assert job.deadline_at - job.created_at == pytest.approx(60.0)
    assert farm.ports.store.get_bytes(f"sources/{begun['video_id']}/source") == DATA


async def test_many_parts_are_signed_at_once(farm: Gateway) -> None:
    begun = await farm.initiate(SIZE)
    wanted = [{"part_number": 3, "content_length": 1234}, {"part_number": 1, "content_length": PART_BYTES}]
    answer = await farm.call("POST", f"/v1/uploads/{begun['upload_id']}/parts/presign", {"parts": wanted})
    assert [part["part_number"] for part in answer.json()["parts"]] == [3, 1]
    assert all(part["presigned_url"].startswith("http://farm.test/_data/") for part in answer.json()["parts"])


async def test_an_interrupted_upload_tells_what_has_arrived(farm: Gateway) -> None:
    begun = await farm.initiate(SIZE)
    etag = await farm.send_part(begun["upload_id"], 2, DATA[PART_BYTES : 2 * PART_BYTES])
    session = (await farm.call("GET", f"/v1/uploads/{begun['upload_id']}")).json()
    assert session["status"] == "IN_PROGRESS"
    assert session["parts"] == [{"part_number": 2, "etag": etag, "size_bytes": PART_BYTES}]


async def test_an_upload_goes_on_in_another_process(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as first:
        begun = await first.initiate(SIZE)
        await first.send_part(begun["upload_id"], 1, DATA[:PART_BYTES])
    async with running_gateway(tmp_path) as second:
        session = (await second.call("GET", f"/v1/uploads/{begun['upload_id']}")).json()
        assert [part["part_number"] for part in session["parts"]] == [1]
        await all_parts(second, begun)


async def test_completing_twice_answers_alike_and_queues_one_job(farm: Gateway) -> None:
    begun = await farm.initiate(SIZE)
    body = {"parts": await all_parts(farm, begun)}
    path = f"/v1/uploads/{begun['upload_id']}/complete"
    first, second = await farm.call("POST", path, body), await farm.call("POST", path, body)
    assert first.json() == second.json()
    assert await job_count(farm, begun["video_id"]) == 1


async def test_a_client_that_completes_again_meanwhile_gets_the_same_and_the_parts_are_joined_once(
    farm: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = await farm.initiate(SIZE)
    body = {"parts": await all_parts(farm, begun)}
    joined: list[str] = []
    join = LocalStore.complete_multipart

    def counted(store: LocalStore, key: str, upload_id: str, parts: Sequence[Part]) -> ObjectInfo:
        joined.append(key)
        return join(store, key, upload_id, parts)

    monkeypatch.setattr(LocalStore, "complete_multipart", counted)
    path = f"/v1/uploads/{begun['upload_id']}/complete"
    answers = await asyncio.gather(*(farm.call("POST", path, body) for _ in range(3)))
    assert [answer.status_code for answer in answers] == [200] * 3
    assert len({answer.text for answer in answers}) == 1
    assert len(joined) == 1


async def test_completing_goes_on_after_a_crash_between_storage_and_database(farm: Gateway) -> None:
    begun = await farm.initiate(SIZE)
    parts = await all_parts(farm, begun)
    key = f"sources/{begun['video_id']}/source"
    held = farm.ports.store.list_parts(key, begun["s3_upload_id"])
    farm.ports.store.complete_multipart(key, begun["s3_upload_id"], held)  # as far as a killed process had come
    done = await farm.call("POST", f"/v1/uploads/{begun['upload_id']}/complete", {"parts": parts})
    assert done.status_code == 200
    assert await queued_job(farm, begun["video_id"]) is not None


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        (lambda parts: parts[:2], 409, "parts_missing"),
        (lambda parts: [*parts, {"part_number": 4, "etag": "x"}], 422, "parts_unexpected"),
        (lambda parts: [*parts, parts[0]], 422, "parts_unexpected"),
        (lambda parts: [*parts[:2], {"part_number": 3, "etag": '"' + "0" * 32 + '"'}], 422, "part_etag_mismatch"),
    ],
)
async def test_a_part_set_that_does_not_fit_is_refused_and_the_session_stays_open(
    farm: Gateway, change: Any, status: int, code: str
) -> None:
    begun = await farm.initiate(SIZE)
    parts = await all_parts(farm, begun)
    path = f"/v1/uploads/{begun['upload_id']}/complete"
    refused = await farm.call("POST", path, {"parts": change(parts)})
    assert (refused.status_code, refused.json()["code"]) == (status, code)
    assert (await farm.call("POST", path, {"parts": parts})).status_code == 200


async def test_completing_before_all_parts_have_arrived_names_the_missing_ones(farm: Gateway) -> None:
    begun = await farm.initiate(SIZE)
    etag = await farm.send_part(begun["upload_id"], 1, DATA[:PART_BYTES])
    named = [{"part_number": number, "etag": etag} for number in (1, 2, 3)]
    refused = await farm.call("POST", f"/v1/uploads/{begun['upload_id']}/complete", {"parts": named})
    assert refused.json()["code"] == "parts_missing"
    assert "2, 3" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("more", "status", "code"),
    [
        ({"file_size_bytes": 150_000_001, "profile": "nextplay"}, 413, "file_too_large"),
        ({"content_type": "video/webm", "profile": "nextplay"}, 415, "content_type_not_allowed"),
        ({"profile": "nowhere"}, 422, "profile_unknown"),
        ({"title": ""}, 422, "validation_failed"),
        ({"title": "x" * 81}, 422, "validation_failed"),
        ({"file_size_bytes": 0}, 422, "validation_failed"),
        ({"category": "a b"}, 422, "validation_failed"),
        ({"visibility": "secret"}, 422, "validation_failed"),
        ({"misspelt": 1}, 422, "validation_failed"),
        ({"part_size_bytes": 1000}, 422, "part_layout_invalid"),
    ],
)
async def test_what_the_profile_does_not_take_is_refused_before_the_upload(
    farm: Gateway, more: dict[str, Any], status: int, code: str
) -> None:
    body = {"title": "A clip", "filename": "a.mp4", "content_type": "video/mp4", "file_size_bytes": SIZE}
    refused = await farm.call("POST", "/v1/uploads/initiate", body | more)
    assert (refused.status_code, refused.json()["code"]) == (status, code)


@pytest.mark.parametrize(
    ("number", "length", "code"),
    [
        (4, 10, "part_number_invalid"),
        (1, PART_BYTES - 1, "part_length_invalid"),
        (3, PART_BYTES, "part_length_invalid"),
    ],
)
async def test_only_parts_of_the_layout_are_signed(farm: Gateway, number: int, length: int, code: str) -> None:
    begun = await farm.initiate(SIZE)
    wanted = {"part_number": number, "content_length": length}
    refused = await farm.call("POST", f"/v1/uploads/{begun['upload_id']}/parts/presign", wanted)
    assert (refused.status_code, refused.json()["code"]) == (422, code)


async def test_a_body_of_another_length_than_signed_is_not_kept(farm: Gateway) -> None:
    begun = await farm.initiate(SIZE)
    wanted = {"part_number": 3, "content_length": 1234}
    signed = (await farm.call("POST", f"/v1/uploads/{begun['upload_id']}/parts/presign", wanted)).json()
    for body in (b"x" * 1233, b"x" * 1235):
        refused = await farm.http.put(signed["presigned_url"], content=body)
        assert (refused.status_code, refused.json()["code"]) == (400, "length_mismatch")
    session = (await farm.call("GET", f"/v1/uploads/{begun['upload_id']}")).json()
    assert session["parts"] == []


async def test_an_altered_part_url_is_refused(farm: Gateway) -> None:
    begun = await farm.initiate(SIZE)
    wanted = {"part_number": 3, "content_length": 1234}
    signed = (await farm.call("POST", f"/v1/uploads/{begun['upload_id']}/parts/presign", wanted)).json()
    for before, after in (("/3?", "/2?"), ("len=1234", "len=1235"), ("sig=", "sig=0")):
        refused = await farm.http.put(signed["presigned_url"].replace(before, after), content=b"x" * 1234)
        assert refused.status_code == 403


async def test_the_etag_of_a_part_can_be_read_by_a_page_of_another_origin(farm: Gateway) -> None:
    begun = await farm.initiate(1234)
    wanted = {"part_number": 1, "content_length": 1234}
    signed = (await farm.call("POST", f"/v1/uploads/{begun['upload_id']}/parts/presign", wanted)).json()
    origin = {"Origin": "https://app.example"}
    asked = {**origin, "Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "content-type"}
    preflight = await farm.http.options(signed["presigned_url"], headers=asked)
    assert preflight.headers["access-control-allow-origin"] == "*"
    sent = await farm.http.put(signed["presigned_url"], content=b"x" * 1234, headers=origin)
    assert "ETag" in sent.headers["access-control-expose-headers"]


async def test_an_aborted_upload_takes_nothing_more(farm: Gateway) -> None:
    begun = await farm.initiate(SIZE)
    await farm.send_part(begun["upload_id"], 1, DATA[:PART_BYTES])
    path = f"/v1/uploads/{begun['upload_id']}"
    assert [(await farm.call("DELETE", path)).status_code for _ in range(2)] == [204, 204]
    refused = await farm.call("POST", f"{path}/parts/presign", {"part_number": 1, "content_length": PART_BYTES})
    assert (refused.status_code, refused.json()["code"]) == (409, "upload_not_open")
    assert (await farm.call("GET", path)).json()["status"] == "ABORTED"


async def test_a_completed_upload_cannot_be_aborted(farm: Gateway) -> None:
    done = await farm.upload(content(100))
    refused = await farm.call("DELETE", f"/v1/uploads/{done['upload_id']}")
    assert (refused.status_code, refused.json()["code"]) == (409, "upload_not_open")


async def test_an_expired_session_takes_nothing_more(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, upload_ttl_s=0.001) as farm:
        begun = await farm.initiate(SIZE)
        path = f"/v1/uploads/{begun['upload_id']}"
        refused = await farm.call("POST", f"{path}/parts/presign", {"part_number": 1, "content_length": PART_BYTES})
        assert (refused.status_code, refused.json()["code"]) == (410, "upload_expired")
        assert (await farm.call("GET", path)).json()["status"] == "EXPIRED"


async def test_somebody_elses_upload_is_as_if_it_did_not_exist(farm: Gateway) -> None:
    begun = await farm.initiate(SIZE)
    path = f"/v1/uploads/{begun['upload_id']}"
    asked = [
        await farm.call("GET", path, who="bob"),
        await farm.call("DELETE", path, who="bob"),
        await farm.call("POST", f"{path}/parts/presign", {"part_number": 3, "content_length": 1234}, who="bob"),
        await farm.call("POST", f"{path}/complete", {"parts": [{"part_number": 1, "etag": "x"}]}, who="bob"),
        await farm.call("GET", "/v1/uploads/" + "0" * 32),
    ]
    assert [(answer.status_code, answer.json()["code"]) for answer in asked] == [(404, "not_found")] * 5


async def test_the_rate_of_uploads_is_limited_by_user_and_told_in_headers(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, initiate_rates={"free": "2/hour"}) as farm:
        body = {"title": "A clip", "filename": "a.mp4", "content_type": "video/mp4", "file_size_bytes": 10}
        asked = [await farm.call("POST", "/v1/uploads/initiate", body, tier="free") for _ in range(3)]
        assert [answer.status_code for answer in asked] == [201, 201, 429]
        assert asked[0].headers["ratelimit"].startswith('"initiate";r=1;')
        assert int(asked[2].headers["retry-after"]) > 0
        assert (await farm.call("POST", "/v1/uploads/initiate", body, who="bob", tier="free")).status_code == 201


async def test_a_repeated_request_with_an_idempotency_key_starts_one_upload(farm: Gateway) -> None:
    body = {"title": "A clip", "filename": "a.mp4", "content_type": "video/mp4", "file_size_bytes": 10}
    asked = [await farm.call("POST", "/v1/uploads/initiate", body, Idempotency_Key="k1") for _ in range(2)]
    assert asked[0].json() == asked[1].json()
    other = await farm.call("POST", "/v1/uploads/initiate", body | {"title": "Another"}, Idempotency_Key="k1")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    mine = await farm.call("POST", "/v1/uploads/initiate", body, who="bob", Idempotency_Key="k1")
    assert mine.json()["upload_id"] != asked[0].json()["upload_id"]


async def test_a_failed_request_frees_its_idempotency_key(farm: Gateway) -> None:
    body = {"title": "A clip", "filename": "a.mp4", "content_type": "video/mp4", "file_size_bytes": 10}
    refused = await farm.call("POST", "/v1/uploads/initiate", body | {"profile": "nowhere"}, Idempotency_Key="k2")
    assert refused.status_code == 422
    assert (await farm.call("POST", "/v1/uploads/initiate", body, Idempotency_Key="k2")).status_code == 201


async def test_every_api_route_asks_for_a_token(farm: Gateway) -> None:
    for path, methods in farm.app.openapi()["paths"].items():
        if not path.startswith("/v1/"):
            continue
        for method in methods:
            concrete = (
                path.replace("{upload_id}", "0" * 32).replace("{video_id}", "0" * 32).replace("{job_id}", "0" * 32)
            )
            answer = await farm.http.request(method, concrete)
            assert answer.status_code == 401, (method, path)
            assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_part_whose_content_md5_says_otherwise_is_not_kept(farm: Gateway) -> None:
    begun = await farm.initiate(100)
    wanted = {"part_number": 1, "content_length": 100}
    signed = (await farm.call("POST", f"/v1/uploads/{begun['upload_id']}/parts/presign", wanted)).json()
    right = base64.b64encode(hashlib.md5(DATA[:100], usedforsecurity=False).digest()).decode()
    for told, status in (("A" * 22 + "==", 400), ("none", 400), (right, 200)):
        headers = signed["headers"] | {"Content-MD5": told}
        sent = await farm.http.put(signed["presigned_url"], content=DATA[:100], headers=headers)
        assert sent.status_code == status, sent.text
        held = (await farm.call("GET", f"/v1/uploads/{begun['upload_id']}")).json()["parts"]
        assert len(held) == (status == 200)
    assert sent.headers["etag"] == held[0]["etag"]


async def test_a_body_that_no_request_needs_is_refused_before_anybody_is_asked_who_sends_it(farm: Gateway) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b" " * (1 << 20)

    answer = await farm.http.post("/v1/uploads/initiate", content=endless())
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


async def test_a_client_that_goes_while_it_sends_leaves_nothing_and_is_no_error_of_the_farm(farm: Gateway) -> None:
    begun = await farm.initiate(100)
    wanted = {"part_number": 1, "content_length": 100}
    signed = (await farm.call("POST", f"/v1/uploads/{begun['upload_id']}/parts/presign", wanted)).json()
    url = httpx.URL(signed["presigned_url"])
    told: list[int] = []
    messages = iter([{"type": "http.request", "body": DATA[:50], "more_body": True}, {"type": "http.disconnect"}])

    async def receive() -> dict[str, Any]:
        return next(messages)

    async def send(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            told.append(message["status"])

    scope = {"type": "http", "asgi": {"spec_version": "2.4"}, "method": "PUT", "path": url.path, "scheme": "http"}
    scope |= {"raw_path": url.raw_path, "query_string": url.query, "server": ("farm.test", 80)}
    await farm.app({**scope, "headers": [(b"content-length", b"100")]}, receive, send)
    assert told == [400]
    session = (await farm.call("GET", f"/v1/uploads/{begun['upload_id']}")).json()
    assert session["parts"] == []


async def test_an_upload_that_is_aborted_while_its_parts_are_joined_leaves_nothing_in_storage(
    farm: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = await farm.initiate(100)
    path = f"/v1/uploads/{begun['upload_id']}"
    body = {"parts": [{"part_number": 1, "etag": await farm.send_part(begun["upload_id"], 1, DATA[:100])}]}
    join, loop = LocalStore.complete_multipart, asyncio.get_running_loop()

    def aborted_meanwhile(store: LocalStore, key: str, upload_id: str, parts: Sequence[Part]) -> ObjectInfo:
        joined = join(store, key, upload_id, parts)
        farm.ports.joining.clear()  # as another gateway, which has locks of its own
        asyncio.run_coroutine_threadsafe(farm.call("DELETE", path), loop).result(60)
        store.put_bytes(key, DATA[:100], "video/mp4")  # which came before the parts were one
        return joined

    monkeypatch.setattr(LocalStore, "complete_multipart", aborted_meanwhile)
    answer = await farm.call("POST", f"{path}/complete", body)
    assert answer.status_code == 409
    assert (await farm.call("GET", path)).json()["status"] == "ABORTED"
    assert farm.ports.store.head(f"sources/{begun['video_id']}/source") is None


async def test_ten_thousand_parts_fit_into_a_request(farm: Gateway) -> None:
    begun = await farm.initiate(10_000 * PART_BYTES)
    parts = [{"part_number": number, "etag": "x" * 200} for number in range(1, 10_001)]
    answer = await farm.call("POST", f"/v1/uploads/{begun['upload_id']}/complete", {"parts": parts})
    assert (answer.status_code, answer.json()["code"]) == (409, "parts_missing")


@pytest.mark.parametrize("field", ["title", "filename"])
async def test_a_text_that_not_every_database_keeps_is_refused(farm: Gateway, field: str) -> None:
    body = {"title": "A clip", "filename": "clip.mp4", "content_type": "video/mp4", "file_size_bytes": 10}
    answer = await farm.call("POST", "/v1/uploads/initiate", body | {field: "a\0b"})
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")


async def test_a_wrong_method_is_told_every_right_one(farm: Gateway) -> None:
    answer = await farm.http.put("/v1/videos/" + "0" * 32)
    assert (answer.status_code, answer.headers["allow"]) == (405, "DELETE, GET")
