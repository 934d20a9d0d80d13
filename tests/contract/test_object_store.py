"""One suite for every object store: local files, moto (in-process) and OpenStack Swift (a real server)."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

import boto3
import httpx
import pytest
from moto.server import ThreadedMotoServer

from cluster.errors import (
    KeyInvalid,
    LengthMismatch,
    ObjectMissing,
    PartMismatch,
    SignatureInvalid,
    StoreRefused,
    StoreUnavailable,
    UploadMissing,
)
from cluster.storage import s3
from cluster.storage.base import MIN_PART_BYTES, ObjectStore, Part, SignedUrl, content_disposition, joined_etag
from cluster.storage.local import LocalStore
from cluster.storage.open import open_store
from cluster.storage.s3 import S3Store
from cluster.storage.signing import PartGrant, ReadGrant
from tests.contract.swift_server import ACCESS_KEY, SECRET_KEY, CannotStart, running_swift

BUCKET = "farm"
BIG = b"".join(hashlib.sha256(str(n).encode()).digest() for n in range(MIN_PART_BYTES // 32))
"""As large as a part that is not the last must be, and nowhere periodic."""


class Refused(Exception):
    """The data plane said no."""


@dataclass(frozen=True)
class Rig:
    """A store and the way a client would use its signed URLs."""

    store: ObjectStore
    send: Callable[[SignedUrl, bytes], str]
    fetch: Callable[[SignedUrl], tuple[bytes, str | None]]
    strict: bool
    """Not so moto: it checks no signatures, not whose key an upload is, and its uploads are all from 2010."""


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def local_rig(folder: Path) -> Rig:
    store = LocalStore(folder, "http://farm.test", b"s" * 32)

    def grant(method: str, url: str) -> PartGrant | ReadGrant:
        parts = urlsplit(url)
        try:
            return store.verify_signature(method, unquote(parts.path), dict(parse_qsl(parts.query)))
        except SignatureInvalid as error:
            raise Refused from error

    async def body(data: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(data), 300_000):
            yield data[start : start + 300_000]

    def send(signed: SignedUrl, data: bytes) -> str:
        part = grant("PUT", signed.url)
        assert isinstance(part, PartGrant)
        try:
            return asyncio.run(store.receive_part(part, body(data)))
        except LengthMismatch as error:
            raise Refused from error

    def fetch(signed: SignedUrl) -> tuple[bytes, str | None]:
        read = grant("GET", signed.url)
        assert isinstance(read, ReadGrant)
        return store.get_bytes(read.key), content_disposition(read.filename) if read.filename else None

    return Rig(store, send, fetch, strict=True)


def s3_rig(endpoint: str, prefix: str, strict: bool) -> Rig:
    def send(signed: SignedUrl, data: bytes) -> str:
        answer = httpx.put(signed.url, content=data, timeout=60)
        if answer.status_code != 200:
            raise Refused(answer.text)
        return answer.headers["etag"].strip('"')

    def fetch(signed: SignedUrl) -> tuple[bytes, str | None]:
        answer = httpx.get(signed.url, timeout=60)
        if answer.status_code != 200:
            raise Refused(answer.text)
        return answer.content, answer.headers.get("content-disposition")

    store = open_store(f"s3://{BUCKET}/{prefix}?endpoint={endpoint}&region=us-east-1")
    return Rig(store, send, fetch, strict)


@pytest.fixture(scope="session")
def credentials() -> Iterator[None]:
    """What boto3 finds in the environment; Swift checks it, moto does not."""
    names = {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_CONFIG_FILE": "/nonexistent",
        "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    yield
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value


def make_bucket(endpoint: str) -> None:
    client = boto3.session.Session().client("s3", endpoint_url=endpoint, region_name="us-east-1")
    client.create_bucket(Bucket=BUCKET)
    client.close()


@pytest.fixture(scope="session")
def moto(credentials: None) -> Iterator[str]:
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    make_bucket(f"http://{host}:{port}")
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def swift(credentials: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    try:
        with running_swift(tmp_path_factory.mktemp("swift")) as server:
            make_bucket(server.endpoint)
            yield server.endpoint
    except CannotStart as error:
        pytest.skip(f"Swift: {error}")


@pytest.fixture(params=["local", "moto", "swift"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Rig:
    """Every test has a store to itself: a folder, or a prefix of a bucket."""
    if request.param == "local":
        return local_rig(tmp_path / "store")
    endpoint = request.getfixturevalue(request.param)
    return s3_rig(endpoint, f"t{os.urandom(6).hex()}", strict=request.param == "swift")


def send_parts(rig: Rig, key: str, upload_id: str, bodies: dict[int, bytes]) -> list[Part]:
    for number, body in bodies.items():
        signed = rig.store.sign_part(key, upload_id, number, len(body), 600)
        assert rig.send(signed, body) == md5(body)
    return [Part(number=n, size_bytes=len(body), etag=md5(body)) for n, body in sorted(bodies.items())]


def test_object_has_what_was_put(rig: Rig) -> None:
    key = "videos/u 1/ä/master.m3u8"
    info = rig.store.put_bytes(key, b"#EXTM3U\n", "application/vnd.apple.mpegurl", "max-age=60")
    assert (info.size_bytes, info.etag, info.cache_control) == (8, md5(b"#EXTM3U\n"), "max-age=60")
    assert rig.store.head(key) == info
    assert rig.store.get_bytes(key) == b"#EXTM3U\n"
    assert rig.store.get_bytes(key, 4, 3) == b"M3U"
    assert rig.store.get_bytes(key, 4, 300) == b"M3U\n"
    assert rig.store.get_bytes(key, 4, 0) == b""


def test_empty_object(rig: Rig, tmp_path: Path) -> None:
    rig.store.put_bytes("empty", b"", "text/plain")
    assert rig.store.get_bytes("empty") == b""
    assert rig.store.get_file("empty", tmp_path / "got").size_bytes == 0
    assert (tmp_path / "got").read_bytes() == b""


def test_file_goes_there_and_back(rig: Rig, tmp_path: Path) -> None:
    source = tmp_path / "source.mp4"
    source.write_bytes(BIG + b"tail")
    put = rig.store.put_file("a/source.mp4", source, "video/mp4", "no-store")
    assert put.etag == md5(BIG + b"tail")
    got = rig.store.get_file("a/source.mp4", tmp_path / "deep" / "er" / "got.mp4")
    assert got == put
    assert (tmp_path / "deep" / "er" / "got.mp4").read_bytes() == BIG + b"tail"
    assert [path.name for path in (tmp_path / "deep" / "er").iterdir()] == ["got.mp4"]


def test_same_object_again(rig: Rig) -> None:
    first = rig.store.put_bytes("seg/1.m4s", b"same", "video/mp4")
    assert rig.store.put_bytes("seg/1.m4s", b"same", "video/mp4") == first


def test_missing_object(rig: Rig, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"before")
    assert rig.store.head("no/such") is None
    with pytest.raises(ObjectMissing):
        rig.store.get_bytes("no/such")
    with pytest.raises(ObjectMissing):
        rig.store.get_file("no/such", target)
    assert target.read_bytes() == b"before"
    rig.store.delete("no/such")


def test_list_is_by_key_and_prefix(rig: Rig) -> None:
    for key in ("v/10/b", "v/1/z", "v/1/a/x", "v/1/ä", "w/1"):
        rig.store.put_bytes(key, key.encode(), "text/plain")
    assert [info.key for info in rig.store.list("v/1/")] == ["v/1/a/x", "v/1/z", "v/1/ä"]
    assert [info.key for info in rig.store.list("v/1")] == ["v/1/a/x", "v/1/z", "v/1/ä", "v/10/b"]
    assert [(info.size_bytes, info.etag) for info in rig.store.list("w")] == [(3, md5(b"w/1"))]
    assert rig.store.list("x/") == []


def test_delete_prefix(rig: Rig) -> None:
    for key in ("d/1", "d/2/3", "dd/4"):
        rig.store.put_bytes(key, b"x", "text/plain")
    assert rig.store.delete_prefix("d/") == 2
    assert rig.store.delete_prefix("d/") == 0
    assert [info.key for info in rig.store.list("d")] == ["dd/4"]
    rig.store.delete("dd/4")
    assert rig.store.head("dd/4") is None
    with pytest.raises(ValueError, match="everything"):
        rig.store.delete_prefix("")


@pytest.mark.parametrize("key", ["", "/abs", "a/../b", "..", "a//b", "a/", "a\0b", "a\nb", "a\\b", "./a", "x" * 901])
def test_keys_that_no_store_takes(rig: Rig, key: str) -> None:
    with pytest.raises(KeyInvalid):
        rig.store.put_bytes(key, b"", "text/plain")
    with pytest.raises(KeyInvalid):
        rig.store.head(key)
    with pytest.raises(KeyInvalid):
        rig.store.create_multipart(key, "text/plain")


def test_multipart_in_any_order(rig: Rig, tmp_path: Path) -> None:
    key = "raw/a b/source.mp4"
    upload_id = rig.store.create_multipart(key, "video/mp4")
    assert list(rig.store.list_parts(key, upload_id)) == []
    parts = send_parts(rig, key, upload_id, {3: b"end", 1: BIG, 2: BIG[::-1]})
    assert list(rig.store.list_parts(key, upload_id)) == parts
    assert rig.store.head(key) is None
    info = rig.store.complete_multipart(key, upload_id, parts)
    assert info == rig.store.head(key)
    assert (info.size_bytes, info.content_type) == (2 * len(BIG) + 3, "video/mp4")
    assert info.etag == joined_etag(part.etag for part in parts)
    rig.store.get_file(key, tmp_path / "got")
    assert (tmp_path / "got").read_bytes() == BIG + BIG[::-1] + b"end"


def test_complete_twice_is_one(rig: Rig) -> None:
    upload_id = rig.store.create_multipart("raw/1", "video/mp4")
    parts = send_parts(rig, "raw/1", upload_id, {1: b"whole"})
    first = rig.store.complete_multipart("raw/1", upload_id, parts)
    assert rig.store.complete_multipart("raw/1", upload_id, parts) == first
    with pytest.raises((UploadMissing, PartMismatch)):
        rig.store.complete_multipart("raw/1", upload_id, [Part(number=1, size_bytes=5, etag=md5(b"other"))])
    assert rig.store.get_bytes("raw/1") == b"whole"


def test_part_sent_again_counts_last(rig: Rig) -> None:
    upload_id = rig.store.create_multipart("raw/2", "video/mp4")
    send_parts(rig, "raw/2", upload_id, {1: b"first try"})
    parts = send_parts(rig, "raw/2", upload_id, {1: b"second"})
    assert list(rig.store.list_parts("raw/2", upload_id)) == parts
    rig.store.complete_multipart("raw/2", upload_id, parts)
    assert rig.store.get_bytes("raw/2") == b"second"


def test_wrong_parts_leave_the_upload_open(rig: Rig) -> None:
    key = "raw/3"
    upload_id = rig.store.create_multipart(key, "video/mp4")
    parts = send_parts(rig, key, upload_id, {1: BIG, 2: b"two"})
    wrong = Part(number=2, size_bytes=3, etag=md5(b"TWO"))
    absent = Part(number=3, size_bytes=3, etag=md5(b"two"))
    for named in ([parts[0], wrong], [*parts, absent], [parts[1], parts[0]], [parts[0], parts[0]], []):
        with pytest.raises(PartMismatch):
            rig.store.complete_multipart(key, upload_id, named)
    assert rig.store.head(key) is None
    assert rig.store.complete_multipart(key, upload_id, parts).size_bytes == len(BIG) + 3


def test_small_part_in_the_middle(rig: Rig) -> None:
    upload_id = rig.store.create_multipart("raw/4", "video/mp4")
    parts = send_parts(rig, "raw/4", upload_id, {1: b"small", 2: b"last"})
    with pytest.raises(PartMismatch):
        rig.store.complete_multipart("raw/4", upload_id, parts)


def test_abort(rig: Rig) -> None:
    upload_id = rig.store.create_multipart("raw/5", "video/mp4")
    parts = send_parts(rig, "raw/5", upload_id, {1: b"gone"})
    rig.store.abort_multipart("raw/5", upload_id)
    rig.store.abort_multipart("raw/5", upload_id)
    with pytest.raises(UploadMissing):
        rig.store.list_parts("raw/5", upload_id)
    with pytest.raises(UploadMissing):
        rig.store.complete_multipart("raw/5", upload_id, parts)
    assert rig.store.head("raw/5") is None


def test_open_uploads_by_age(rig: Rig) -> None:
    upload_id = rig.store.create_multipart("raw/6", "video/mp4")
    day_s = 86_400
    if rig.strict:
        assert rig.store.list_multiparts(time.time() - day_s) == []
    (found,) = rig.store.list_multiparts(time.time() + day_s)
    assert (found.key, found.upload_id) == ("raw/6", upload_id)
    rig.store.abort_multipart("raw/6", upload_id)
    assert rig.store.list_multiparts(time.time() + day_s) == []


def test_upload_is_for_its_key(rig: Rig) -> None:
    upload_id = rig.store.create_multipart("raw/7", "video/mp4")
    if rig.strict:
        with pytest.raises(UploadMissing):
            rig.store.list_parts("raw/other", upload_id)
    with pytest.raises(UploadMissing):
        rig.store.list_parts("raw/7", "0" * 32)


def test_signed_get(rig: Rig) -> None:
    rig.store.put_bytes("dl/v.mp4", b"movie", "video/mp4")
    assert rig.fetch(rig.store.sign_get("dl/v.mp4", 600)) == (b"movie", None)
    name = 'Mein "Film" ü.mp4'
    body, disposition = rig.fetch(rig.store.sign_get("dl/v.mp4", 600, name))
    assert (body, disposition) == (b"movie", content_disposition(name))


def test_signed_url_is_for_one_thing(rig: Rig) -> None:
    if not rig.strict:
        pytest.skip("moto checks no signatures")
    upload_id = rig.store.create_multipart("raw/8", "video/mp4")
    part = rig.store.sign_part("raw/8", upload_id, 1, 1000, 600)
    assert part.headers == {"Content-Length": "1000"}
    get = rig.store.sign_get("dl/v.mp4", 600)
    rig.store.put_bytes("dl/w.mp4", b"secret", "video/mp4")
    with pytest.raises(Refused):
        rig.fetch(SignedUrl(url=get.url.replace("v.mp4", "w.mp4"), expires_at=0))
    with pytest.raises(Refused):
        rig.fetch(SignedUrl(url=get.url.split("?")[0], expires_at=0))
    for body in (b"a" * 1001, b"a" * 999):
        with pytest.raises(Refused):
            rig.send(part, body)
    assert list(rig.store.list_parts("raw/8", upload_id)) == []
    assert rig.send(part, b"a" * 1000) == md5(b"a" * 1000)


def test_store_is_the_port(rig: Rig) -> None:
    assert isinstance(rig.store, ObjectStore)


class TestS3:
    """What only a server can do wrong."""

    def test_fetch_goes_on_where_it_broke_off(self, moto: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        store = open_store(f"s3://{BUCKET}/resume?endpoint={moto}&region=us-east-1")
        assert isinstance(store, S3Store)
        data = os.urandom(2500)
        info = store.put_bytes("big", data, "video/mp4")
        monkeypatch.setattr(s3, "FETCH_BYTES", 1000)
        ranges: list[str] = []
        store._client.meta.events.register(
            "before-send.s3.GetObject", lambda request, **_: ranges.append(request.headers["Range"].decode())
        )
        (tmp_path / f".got.{info.etag}.partial").write_bytes(data[:1300])
        store.get_file("big", tmp_path / "got")
        assert (tmp_path / "got").read_bytes() == data
        assert ranges == ["bytes=1000-1999", "bytes=2000-2499"]
        assert [path.name for path in tmp_path.iterdir()] == ["got"]

    def test_no_server(self, credentials: None) -> None:
        store = S3Store(BUCKET, endpoint="http://127.0.0.1:9", region="us-east-1", attempts=1)
        with pytest.raises(StoreUnavailable):
            store.head("a")
        with pytest.raises(StoreUnavailable):
            store.create_multipart("a", "text/plain")

    def test_no_bucket(self, moto: str) -> None:
        store = open_store(f"s3://absent?endpoint={moto}&region=us-east-1")
        with pytest.raises(StoreRefused):
            store.put_bytes("a", b"", "text/plain")

    def test_wrong_secret(self, swift: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "guessed")
        store = open_store(f"s3://{BUCKET}?endpoint={swift}&region=us-east-1")
        with pytest.raises(StoreRefused):
            store.put_bytes("a", b"", "text/plain")

    def test_prefixes_are_apart(self, moto: str) -> None:
        left = open_store(f"s3://{BUCKET}/left?endpoint={moto}&region=us-east-1")
        right = open_store(f"s3://{BUCKET}/right/?endpoint={moto}&region=us-east-1")
        left.put_bytes("a", b"left", "text/plain")
        assert right.head("a") is None
        assert [info.key for info in left.list("")] == ["a"]
