"""Values and checks that all stores share."""

from __future__ import annotations

import pytest

from cluster.errors import KeyInvalid, PartMismatch
from cluster.storage.base import Part, bare_etag, check_key, check_parts, check_prefix, content_disposition, joined_etag


def part(number: int) -> Part:
    return Part(number=number, size_bytes=1, etag="")


def test_keys() -> None:
    for key in ("a", "a/b", "ü/ b", "..a", "a..", "x" * 200, "/".join(["x" * 100] * 8)):
        assert check_key(key) == key
    for key in ("x" * 201, "/".join(["x" * 100] * 9), "a/", "/a", "a/./b", "a\tb", "\ud800"):
        with pytest.raises(KeyInvalid):
            check_key(key)


def test_prefixes() -> None:
    for prefix in ("", "a", "a/", "a/b"):
        assert check_prefix(prefix) == prefix
    for prefix in ("/", "../", "a//", "a/../"):
        with pytest.raises(KeyInvalid):
            check_prefix(prefix)


def test_parts_are_checked() -> None:
    check_parts([part(1), part(5)])
    for wrong in ([], [part(2), part(1)], [part(1), part(1)]):
        with pytest.raises(PartMismatch):
            check_parts(wrong)
    for number, size_bytes in ((0, 1), (10_001, 1), (1, -1)):
        with pytest.raises(ValueError, match="part"):
            Part(number=number, size_bytes=size_bytes, etag="")


def test_etags() -> None:
    assert bare_etag(' W/"ABC" ') == "abc"
    # Source: computed with `printf '%s' a | md5sum`, and the same of both digests in binary.
    joined = joined_etag(['"0cc175b9c0f1b6a831c399e269772661"', "92eb5ffee6ae2fec3ad71c777531578f"])
    assert joined == "96e024ba2074fe77e8e965ba43a704be-2"


def test_download_names() -> None:
    assert content_disposition('a"ü\\.mp4') == "attachment; filename=\"a___.mp4\"; filename*=UTF-8''a%22%C3%BC%5C.mp4"
    assert "\n" not in content_disposition("a\r\nSet-Cookie: b")
