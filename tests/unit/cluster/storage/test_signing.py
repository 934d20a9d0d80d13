"""Signed URLs of the local store: each is for one thing and one time."""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote, urlsplit

import pytest

from cluster.errors import KeyInvalid, SignatureExpired, SignatureInvalid
from cluster.storage.signing import Grant, PartGrant, ReadGrant, UrlSigner

NOW = 1_800_000_000


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = float(NOW)

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def signer(clock: Clock) -> UrlSigner:
    return UrlSigner("https://farm.test/", b"k" * 32, clock)


def verify(signer: UrlSigner, url: str, method: str = "GET", **changes: str) -> Grant:
    parts = urlsplit(url)
    return signer.verify(method, unquote(parts.path), dict(parse_qsl(parts.query)) | changes)


def test_part(signer: UrlSigner) -> None:
    signed = signer.sign_part("ab" * 16, 7, 1234, 60)
    assert signed.url.startswith(f"https://farm.test/_data/parts/{'ab' * 16}/7?")
    assert (signed.expires_at, signed.headers) == (NOW + 60, {"Content-Length": "1234"})
    grant = PartGrant(upload_id="ab" * 16, part_number=7, size_bytes=1234, expires_at=NOW + 60)
    assert verify(signer, signed.url, "PUT") == grant


@pytest.mark.parametrize("key", ["a/b.mp4", "vidéos/mein film+1&2=3%20#?.mp4", "x"])
def test_object(signer: UrlSigner, key: str) -> None:
    url = signer.sign_get(key, 60, "f ü.mp4").url
    grant = ReadGrant(key=key, filename="f ü.mp4", expires_at=NOW + 60)
    assert verify(signer, url) == grant
    assert verify(signer, url, "HEAD") == grant
    assert verify(signer, signer.sign_get(key, 60).url) == ReadGrant(key=key, filename=None, expires_at=NOW + 60)


def test_tree(signer: UrlSigner) -> None:
    signed = signer.sign_tree("videos/ü/asset/", 60)
    grant = verify(signer, f"{signed.url}720p/1.m4s")
    assert grant == ReadGrant(key="videos/ü/asset/720p/1.m4s", filename=None, expires_at=NOW + 60)
    assert verify(signer, f"{signed.url}master.m3u8", "HEAD").expires_at == NOW + 60
    with pytest.raises(ValueError, match="slash"):
        signer.sign_tree("videos/1", 60)


def test_tree_ends_at_its_prefix(signer: UrlSigner) -> None:
    url = signer.sign_tree("videos/1/", 60).url
    head = url.removesuffix("videos/1/")
    deeper = head.replace(".2.", ".1.")
    for wrong in (f"{head}videos/2/a", f"{head}videos/10/a", f"{head}a", f"{deeper}videos/1/a", f"{head}/videos/1/a"):
        with pytest.raises(SignatureInvalid):
            verify(signer, wrong)
    for escape in ("../2/a", "a//b", "", "./a"):
        with pytest.raises((KeyInvalid, SignatureInvalid)):
            verify(signer, url + escape)
    with pytest.raises(SignatureInvalid):
        verify(signer, f"{url}a", "PUT")


def test_time_is_over(signer: UrlSigner, clock: Clock) -> None:
    urls = [signer.sign_get("a", 60).url, signer.sign_tree("a/", 60).url + "b"]
    clock.now = NOW + 60
    for url in urls:
        verify(signer, url)
    clock.now = NOW + 60.5
    for url in urls:
        with pytest.raises(SignatureExpired):
            verify(signer, url)


def test_nothing_can_be_changed(signer: UrlSigner) -> None:
    part, get = signer.sign_part("ab" * 16, 1, 10, 60).url, signer.sign_get("a", 60, "f").url
    for url, method, changes in (
        (part, "GET", {}),
        (part, "PUT", {"len": "11"}),
        (part, "PUT", {"exp": str(NOW + 999)}),
        (part, "PUT", {"exp": ""}),
        (part, "PUT", {"name": "x"}),
        (part.replace("/1?", "/2?"), "PUT", {}),
        (part.replace("ab" * 16, "cd" * 16), "PUT", {}),
        (get, "PUT", {}),
        (get, "DELETE", {}),
        (get, "GET", {"sig": ""}),
        (get, "GET", {"sig": "é" * 64}),
        (get, "GET", {"sig": "\ud800"}),
        (get, "GET", {"name": "g"}),
        (get, "GET", {"len": "5"}),
        (get.replace("/a?", "/b?"), "GET", {}),
    ):
        with pytest.raises(SignatureInvalid):
            verify(signer, url, method, **changes)
    with pytest.raises(SignatureInvalid):
        verify(UrlSigner("", b"j" * 32), get)
    for path in ("", "/", "/_data/", "/_data/tree/x", "/_data/tree/1.9.x/a", "/_data/tree/1.x.x/a/b", "/etc/passwd"):
        with pytest.raises(SignatureInvalid):
            signer.verify("GET", path, {})


def test_short_secret() -> None:
    with pytest.raises(ValueError, match="32"):
        UrlSigner("", b"short")
