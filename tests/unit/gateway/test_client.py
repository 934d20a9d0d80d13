"""The client against a farm made of dictionaries: parts, retries, resuming, errors. No sockets."""

from __future__ import annotations

import hashlib
import json
import mimetypes
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from gateway.client import AnswerUnreadable, Client, RequestInvalid, SourceEmpty, content_type_of
from gateway.client_http import ApiProblem, Backoff, FarmUnreachable
from gateway.part_sender import SourceChanged
from gateway.schemas import InitiateRequest, JobWishes
from gateway.upload_book import UploadBook, file_key
from scheduler.jobs import GpuPolicy

PART = 10
NO_PAUSE = Backoff(tries=3, first_s=0.0)
WHEN = "2026-01-01T00:00:00Z"


class FakeFarm:
    """Upload sessions and their storage. `trouble` sees each request first and may answer it or raise."""

    def __init__(self) -> None:
        self.sessions: dict[str, dict[str, Any]] = {}
        self.parts: dict[tuple[str, int], bytes] = {}
        self.puts: list[tuple[str, int]] = []
        self.requests: list[httpx.Request] = []
        self.trouble: Callable[[httpx.Request], httpx.Response | None] = lambda request: None
        self._lock = threading.Lock()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        body = request.read()
        with self._lock:
            self.requests.append(request)
            if (answer := self.trouble(request)) is not None:
                return answer
            if request.url.host == "storage":
                return self._put(request, body)
            return self._api(request, json.loads(body) if body else {})

    def _put(self, request: httpx.Request, body: bytes) -> httpx.Response:
        _, upload_id, number = request.url.path.split("/")
        assert int(request.headers["Content-Length"]) == len(body)
        assert "Transfer-Encoding" not in request.headers
        self.parts[upload_id, int(number)] = body
        self.puts.append((upload_id, int(number)))
        return httpx.Response(200, headers={"ETag": f'"{hashlib.md5(body).hexdigest()}"'})

    def _api(self, request: httpx.Request, body: dict[str, Any]) -> httpx.Response:
        if request.url.path == "/v1/uploads/initiate":
            upload_id = f"u{len(self.sessions) + 1}"
            self.sessions[upload_id] = {**body, "status": "IN_PROGRESS"}
            count = -(-body["file_size_bytes"] // PART)
            answer = {"upload_id": upload_id, "video_id": f"v{upload_id}", "s3_upload_id": "s", "part_size_bytes": PART}
            return httpx.Response(201, json={**answer, "part_count": count, "expires_at": WHEN})
        found = re.fullmatch(r"/v1/uploads/(\w+)(/parts/presign|/complete)?", request.url.path)
        assert found is not None, request.url.path
        upload_id, action = found.groups()
        session = self.sessions.get(upload_id)
        if session is None:
            return httpx.Response(404, json={"title": "Not found", "status": 404, "code": "not_found"})
        if request.method == "DELETE":
            session["status"] = "ABORTED"
            return httpx.Response(204)
        if action == "/parts/presign":
            number = body["part_number"]
            url = f"http://storage/{upload_id}/{number}?sig={len(self.requests)}"
            headers = {"Content-Length": str(body["content_length"])}
            signed = {"part_number": number, "presigned_url": url, "headers": headers, "expires_at": WHEN}
            return httpx.Response(200, json=signed)
        if action == "/complete":
            session |= {"status": "COMPLETED", "complete": body["parts"], "body": body}
            return httpx.Response(200, json={"video_id": f"v{upload_id}", "status": "UPLOADED", "job_id": "j1"})
        return httpx.Response(200, json=self._state(upload_id, session))

    def _state(self, upload_id: str, session: dict[str, Any]) -> dict[str, Any]:
        received = [
            {"part_number": number, "etag": f'"{hashlib.md5(data).hexdigest()}"', "size_bytes": len(data)}
            for (owner, number), data in sorted(self.parts.items())
            if owner == upload_id
        ]
        return {
            "upload_id": upload_id,
            "video_id": f"v{upload_id}",
            "status": session["status"],
            "file_size_bytes": session["file_size_bytes"],
            "part_size_bytes": PART,
            "part_count": -(-session["file_size_bytes"] // PART),
            "parts": received,
            "expires_at": WHEN,
            "completed_at": None,
        }

    def arrived(self, upload_id: str) -> bytes:
        """The bytes of an upload."""
        return b"".join(data for (owner, _), data in sorted(self.parts.items()) if owner == upload_id)


@pytest.fixture
def farm() -> FakeFarm:
    return FakeFarm()


@pytest.fixture
def client(farm: FakeFarm, tmp_path: Path) -> Client:
    book = UploadBook(tmp_path / "book")
    return Client("http://farm", "tok", book=book, backoff=NO_PAUSE, transport=httpx.MockTransport(farm))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "my film.mp4"
    path.write_bytes(bytes(range(47)))
    return path


def problem(status: int, **headers: str) -> httpx.Response:
    body = {"title": "Busy", "status": status, "code": "busy", "detail": "all slots taken", "hint": "Wait."}
    return httpx.Response(status, json=body, headers=headers)


def test_how_a_job_is_to_be_run_goes_with_the_completion(client: Client, farm: FakeFarm, source: Path) -> None:
    client.upload(source, wishes=JobWishes(gpu=GpuPolicy.NEVER, early_playback=False, deadline_s=9.0))
    body = farm.sessions["u1"]["body"]
    assert (body["gpu"], body["early_playback"], body["deadline_s"]) == ("never", False, 9.0)


def test_all_parts_arrive_each_once_and_are_completed_in_order(client: Client, farm: FakeFarm, source: Path) -> None:
    seen: list[tuple[int, int]] = []
    upload = client.upload(source, on_progress=lambda sent, total: seen.append((sent, total)))
    assert (upload.video_id, upload.job_id, upload.resumed_bytes) == ("vu1", "j1", 0)
    assert farm.arrived("u1") == source.read_bytes()
    assert sorted(farm.puts) == [("u1", number) for number in range(1, 6)]
    named = farm.sessions["u1"]["complete"]
    assert [part["part_number"] for part in named] == [1, 2, 3, 4, 5]
    assert named[4]["etag"].strip('"') == hashlib.md5(bytes(range(40, 47))).hexdigest()
    assert seen[0] == (0, 47)
    assert max(seen) == (47, 47)


def test_the_file_names_the_video(client: Client, farm: FakeFarm, source: Path) -> None:
    client.upload(source, profile="nextplay")
    session = farm.sessions["u1"]
    assert (session["title"], session["filename"], session["content_type"], session["profile"]) == (
        "my film",
        "my film.mp4",
        "video/mp4",
        "nextplay",
    )


def test_storage_never_sees_the_token(client: Client, farm: FakeFarm, source: Path) -> None:
    client.upload(source)
    for request in farm.requests:
        assert ("Authorization" in request.headers) == (request.url.host == "farm")


def test_a_part_that_fails_is_signed_and_sent_again(client: Client, farm: FakeFarm, source: Path) -> None:
    answers = {2: [problem(503), httpx.Response(403, text="<Error>expired</Error>")]}

    def trouble(request: httpx.Request) -> httpx.Response | None:
        if request.url.host == "storage" and (left := answers.get(int(request.url.path.rpartition("/")[2]))):
            return left.pop()
        return None

    farm.trouble = trouble
    seen: list[int] = []
    client.upload(source, on_progress=lambda sent, total: seen.append(sent))
    assert farm.arrived("u1") == source.read_bytes()
    tries = [request.url.query for request in farm.requests if request.url.path == "/u1/2"]
    assert len(tries) == len(set(tries)) == 3  # each with a fresh signature
    assert max(seen) == 47  # what was sent in vain does not count


def test_an_interrupted_upload_sends_only_what_is_missing(client: Client, farm: FakeFarm, source: Path) -> None:
    def cut(request: httpx.Request) -> httpx.Response | None:
        if request.url.host == "storage" and int(request.url.path.rpartition("/")[2]) > 2:
            raise httpx.ConnectError("no route", request=request)
        return None

    farm.trouble = cut
    with pytest.raises(FarmUnreachable, match="3 tries"):
        client.upload(source)
    before = set(farm.puts)
    farm.trouble = lambda request: None
    farm.puts.clear()
    upload = client.upload(source)
    assert upload.upload_id == "u1"
    assert upload.resumed_bytes == PART * len(before) > 0
    assert not before & set(farm.puts)
    assert farm.arrived("u1") == source.read_bytes()


def test_a_finished_upload_is_forgotten(client: Client, farm: FakeFarm, source: Path) -> None:
    first, second = client.upload(source), client.upload(source)
    assert (first.upload_id, second.upload_id) == ("u1", "u2")


def test_a_completed_session_whose_answer_was_lost_is_not_sent_again(
    client: Client, farm: FakeFarm, source: Path
) -> None:
    def lose(request: httpx.Request) -> httpx.Response | None:
        if request.url.path.endswith("/complete"):
            farm.sessions["u1"]["status"] = "COMPLETED"
            raise httpx.ReadTimeout("lost", request=request)
        return None

    farm.trouble = lose
    with pytest.raises(FarmUnreachable):
        client.upload(source)
    farm.trouble = lambda request: None
    farm.puts.clear()
    assert client.upload(source).video_id == "vu1"
    assert farm.puts == []


@pytest.mark.parametrize("gone", ["unknown", "aborted"])
def test_a_session_that_is_gone_begins_anew(client: Client, farm: FakeFarm, source: Path, gone: str) -> None:
    farm.trouble = lambda request: problem(400) if request.url.host == "storage" else None
    with pytest.raises(ApiProblem):
        client.upload(source)
    farm.trouble = lambda request: None
    if gone == "unknown":
        farm.sessions["elsewhere"] = farm.sessions.pop("u1")
    else:
        farm.sessions["u1"]["status"] = "ABORTED"
    assert client.upload(source).upload_id == "u2"


def test_a_file_that_changed_is_another_file(source: Path) -> None:
    before = file_key(source, "http://farm", "default")
    assert before == file_key(source, "http://farm", "default")
    assert before != file_key(source, "http://other", "default")
    assert before != file_key(source, "http://farm", "nextplay")
    source.write_bytes(b"x" * 48)
    assert before != file_key(source, "http://farm", "default")


def test_a_file_that_changes_meanwhile_is_not_processed(client: Client, farm: FakeFarm, source: Path) -> None:
    def change(request: httpx.Request) -> httpx.Response | None:
        if request.url.path == "/u1/5":
            source.write_bytes(bytes(47) + b"more")
        return None

    farm.trouble = change
    with pytest.raises(SourceChanged, match="changed"):
        client.upload(source)
    assert farm.sessions["u1"]["status"] == "ABORTED"
    assert "complete" not in farm.sessions["u1"]


def test_a_file_that_becomes_shorter_is_not_sent(client: Client, farm: FakeFarm, source: Path) -> None:
    def shorten(request: httpx.Request) -> httpx.Response | None:
        if request.url.path == "/v1/uploads/initiate":
            source.write_bytes(bytes(12))
        return None

    farm.trouble = shorten
    with pytest.raises(SourceChanged, match="shorter"):
        client.upload(source)


def test_initiating_again_after_a_lost_answer_carries_the_same_key(
    client: Client, farm: FakeFarm, source: Path
) -> None:
    keys: list[str] = []

    def lose_first(request: httpx.Request) -> httpx.Response | None:
        if request.url.path.endswith("/initiate"):
            keys.append(request.headers["Idempotency-Key"])
            if len(keys) == 1:
                raise httpx.ReadError("lost", request=request)
        return None

    farm.trouble = lose_first
    client.upload(source)
    assert len(keys) == 2
    assert len(set(keys)) == 1


def test_waiting_ends_when_the_video_is_settled(tmp_path: Path) -> None:
    states = ["UPLOADED", "PROCESSING", "PROCESSING", "READY"]

    def answer(request: httpx.Request) -> httpx.Response:
        body = {"video_id": "v", "title": "t", "status": states.pop(0), "progress": {"percent": 1.0, "renditions": []}}
        return httpx.Response(200, json={**body, "rejection": None, "job_id": "j", "thumbnail_url": None})

    client = Client("http://farm", "tok", transport=httpx.MockTransport(answer))
    seen: list[str] = []
    pauses: list[float] = []
    last = client.wait("v", on_status=lambda status: seen.append(str(status.status)), sleep=pauses.append)
    assert last.status == "READY"
    assert seen == ["UPLOADED", "PROCESSING", "PROCESSING", "READY"]
    assert len(pauses) == 3
    assert sorted(pauses) == pauses


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.mp4", "video/mp4"),
        ("a.MOV", "video/quicktime"),
        ("a.webm", "video/webm"),
        ("a.mkv", "video/x-matroska"),
        ("a.ts", "video/mp2t"),
        ("a.amr", "audio/amr"),
        ("noname", "video/mp4"),
    ],
)
def test_content_types_follow_the_name(name: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # As a machine has them that knows of the registry; not every one does.
    monkeypatch.setitem(mimetypes.types_map, ".amr", "audio/AMR")
    assert content_type_of(Path(name)) == expected


def test_the_case_of_a_content_type_means_nothing() -> None:
    asked = InitiateRequest(title="t", filename="a.amr", content_type="audio/AMR", file_size_bytes=1)
    assert asked.content_type == "audio/amr"
    with pytest.raises(ValidationError):
        InitiateRequest(title="t", filename="a.amr", content_type="audio/a mr", file_size_bytes=1)


def test_a_name_that_is_no_text_is_sent_as_one(client: Client, farm: FakeFarm, source: Path) -> None:
    odd = source.with_name(os.fsdecode(b"caf\xe9.mp4"))
    source.rename(odd)
    client.upload(odd)
    assert farm.sessions["u1"]["filename"] == "caf\ufffd.mp4"
    assert farm.sessions["u1"]["title"] == "caf\ufffd"


def test_a_home_that_takes_no_files_does_not_hinder(tmp_path: Path, farm: FakeFarm, source: Path) -> None:
    (tmp_path / "taken").write_text("a file where the folder should be")
    book = UploadBook(tmp_path / "taken" / "uploads")
    with Client("http://farm.test", "t", book=book, backoff=NO_PAUSE, transport=httpx.MockTransport(farm)) as client:
        client.upload(source)
    assert farm.sessions["u1"]["status"] == "COMPLETED"


@pytest.mark.parametrize(
    ("url", "token"),
    [
        ("foo", "t"),
        ("ftp://farm", "t"),
        ("http://[::1", "t"),
        ("http://", "t"),
        ("http://farm", "t\u00e9"),
        ("http://farm", "t\n"),
    ],
)
def test_what_nobody_can_be_asked_with_is_told(url: str, token: str) -> None:
    with pytest.raises(RequestInvalid):
        Client(url, token)


def test_an_empty_file_is_not_sent(client: Client, farm: FakeFarm, source: Path) -> None:
    source.write_bytes(b"")
    with pytest.raises(SourceEmpty, match="is empty"):
        client.upload(source)
    assert farm.requests == []


def test_a_profile_name_that_cannot_be_one_is_told_without_asking(client: Client, farm: FakeFarm, source: Path) -> None:
    with pytest.raises(RequestInvalid, match="profile"):
        client.upload(source, profile="Not A Name")
    assert farm.requests == []


def test_whoever_is_no_farm_is_told_apart() -> None:
    client = Client("http://shop", "tok", transport=httpx.MockTransport(lambda _: httpx.Response(200, text="<html>")))
    with pytest.raises(AnswerUnreadable, match="http://shop/v1/me"):
        client.me()
