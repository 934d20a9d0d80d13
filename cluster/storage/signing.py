"""Signed URLs of the local store's data plane, which the gateway serves below `/_data`: pure, nothing is looked up.

    PUT /_data/parts/{upload}/{n}?exp&len&sig         exactly `len` bytes as part n
    GET /_data/objects/{key}?exp[&name]&sig           one object, saved under `name` when given
    GET /_data/tree/{exp}.{depth}.{sig}/{key}         any object below the first `depth` names of the key

The signature is HMAC-SHA256 over method, path (percent-decoded), expiry, length and file name. A tree's signature is in
the path, so that the relative references in playlists work without a query. HEAD is allowed where GET is.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import quote, urlencode

from cluster.errors import SignatureExpired, SignatureInvalid
from cluster.storage.base import SignedUrl, check_key, check_prefix

DATA_PATH = "/_data"
MIN_SECRET_BYTES = 32
"""As long as the hash's output. Source: RFC 2104, section 3."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartGrant:
    """Leave to send exactly `size_bytes` as one part."""

    upload_id: str
    part_number: int
    size_bytes: int
    expires_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadGrant:
    """Leave to read one object; `filename` is for `base.content_disposition`."""

    key: str
    filename: str | None
    expires_at: float


Grant: TypeAlias = PartGrant | ReadGrant


class UrlSigner:
    """Makes and checks the URLs. Whoever has the secret can make them."""

    def __init__(self, base_url: str, secret: bytes, clock: Callable[[], float] = time.time) -> None:
        """
        Args:
            base_url: where clients reach the gateway, without a slash at the end; may be empty for URLs without host.
            secret: at least 32 bytes, the same in all processes.
        """
        if len(secret) < MIN_SECRET_BYTES:
            raise ValueError(f"a secret of {len(secret)} bytes: want at least {MIN_SECRET_BYTES}")
        self._base_url = base_url.rstrip("/")
        self._secret = secret
        self._clock = clock

    def sign_part(self, upload_id: str, part_number: int, size_bytes: int, expires_s: int) -> SignedUrl:
        """A URL to PUT one part of exactly that size."""
        expiry = self._expiry(expires_s)
        path = f"{DATA_PATH}/parts/{upload_id}/{part_number}"
        query = {"exp": str(expiry), "len": str(size_bytes)}
        query["sig"] = self._signature("PUT", path, str(expiry), query["len"], "")
        headers = {"Content-Length": str(size_bytes)}
        return SignedUrl(url=f"{self._base_url}{path}?{urlencode(query)}", expires_at=expiry, headers=headers)

    def sign_get(self, key: str, expires_s: int, filename: str | None = None) -> SignedUrl:
        """A URL to GET one object."""
        expiry = self._expiry(expires_s)
        path = f"{DATA_PATH}/objects/{check_key(key)}"
        query = {"exp": str(expiry)} | ({"name": filename} if filename else {})
        query["sig"] = self._signature("GET", path, str(expiry), "", filename or "")
        return SignedUrl(url=f"{self._base_url}{quote(path)}?{urlencode(query)}", expires_at=expiry)

    def sign_tree(self, prefix: str, expires_s: int) -> SignedUrl:
        """A URL that stands for `prefix`, which ends with a slash."""
        if not prefix.endswith("/"):
            raise ValueError(f"prefix {prefix!r} does not end with a slash")
        expiry, depth = self._expiry(expires_s), check_prefix(prefix).count("/")
        signature = self._signature("TREE", prefix, str(expiry), "", "")
        path = f"{DATA_PATH}/tree/{expiry}.{depth}.{signature}/{quote(prefix)}"
        return SignedUrl(url=f"{self._base_url}{path}", expires_at=expiry)

    def verify(self, method: str, path: str, query: Mapping[str, str]) -> Grant:
        """What the request may do.

        Args:
            path: percent-decoded, from "/_data" on: `scope["path"]` of ASGI.

        Raises:
            SignatureInvalid: not made by this secret for this method, path and query.
            SignatureExpired: it was, and its time is over.
        """
        method = "GET" if method == "HEAD" else method
        names = path.removeprefix(DATA_PATH + "/").split("/")
        if method == "GET" and names[0] == "tree" and len(names) > 2:
            return self._verify_tree(names[1], names[2:])
        expiry, length, filename = query.get("exp", ""), query.get("len", ""), query.get("name", "")
        self._check(query.get("sig", ""), expiry, method, path, expiry, length, filename)
        if method == "GET" and names[0] == "objects":
            key = check_key("/".join(names[1:]))
            return ReadGrant(key=key, filename=filename or None, expires_at=float(expiry))
        if method == "PUT" and names[0] == "parts" and len(names) == 3:
            return PartGrant(
                upload_id=names[1], part_number=int(names[2]), size_bytes=int(length), expires_at=float(expiry)
            )
        raise SignatureInvalid(f"{method} {path}: no such route")

    def _verify_tree(self, token: str, names: list[str]) -> ReadGrant:
        expiry, _, rest = token.partition(".")
        depth, _, signature = rest.partition(".")
        if not depth.isdecimal() or not 0 < int(depth) < len(names):
            raise SignatureInvalid("this URL's tree token is malformed")
        prefix = "/".join(names[: int(depth)]) + "/"
        self._check(signature, expiry, "TREE", prefix, expiry, "", "")
        return ReadGrant(key=check_key("/".join(names)), filename=None, expires_at=float(expiry))

    def _check(self, given: str, expiry: str, *fields: str) -> None:
        # Compared as bytes: compare_digest refuses text with other than ASCII signs, which a caller may send.
        if not hmac.compare_digest(given.encode(errors="replace"), self._signature(*fields).encode()):
            raise SignatureInvalid("this URL's signature does not fit: ask the API for a fresh URL")
        if int(expiry) < self._clock():
            raise SignatureExpired("this URL's time is over: ask the API for a fresh one")

    def _expiry(self, expires_s: int) -> int:
        return int(self._clock()) + expires_s

    def _signature(self, *fields: str) -> str:
        # JSON, because a list of texts has one spelling and no field can spill into the next.
        message = json.dumps(fields, ensure_ascii=True).encode()
        return hmac.new(self._secret, message, hashlib.sha256).hexdigest()
