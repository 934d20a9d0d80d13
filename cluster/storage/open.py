"""Which store, by URL. Secrets come from the environment or from the store's own folder, never from the URL.

file:///var/lib/reelmill/objects
s3://bucket/prefix/?region=eu-central-1&endpoint=https://s3.example.org
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from cluster.errors import StoreRefused
from cluster.storage.base import ObjectStore
from cluster.storage.durable import sync_folder, temporary_path, write_synced
from cluster.storage.local import LocalStore
from cluster.storage.s3 import S3Store

SECRET_VARIABLE = "REELMILL_STORE_SECRET"
"""Environment variable: hex digits of the local store's secret, for gateways that do not share its folder."""
_SECRET_BYTES = 32


def open_store(url: str, base_url: str = "") -> ObjectStore:
    """The store that a URL names.

    Args:
        url: see the module.
        base_url: where clients reach the gateway; signed URLs of the local store start with it.

    Raises:
        StoreRefused: the URL or the secret cannot be used; the detail says why.
    """
    parts = urlsplit(url)
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path.strip("/"):
        root = Path(unquote(parts.path))
        return LocalStore(root, base_url, _store_secret(root))
    if parts.scheme == "s3" and parts.netloc:
        options = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        unknown = options.keys() - {"endpoint", "region"}
        if unknown:
            raise StoreRefused(f"store URL: unknown option {sorted(unknown)[0]!r}; known are endpoint and region")
        prefix = f"{parts.path.strip('/')}/".lstrip("/")
        return S3Store(parts.netloc, prefix=prefix, endpoint=options.get("endpoint"), region=options.get("region"))
    raise StoreRefused(f"store URL of scheme {parts.scheme!r}: want file:///folder or s3://bucket")


def _store_secret(root: Path) -> bytes:
    """From the environment, or a file in the store that the first process makes; all processes get the same."""
    if given := os.environ.get(SECRET_VARIABLE):
        try:
            secret = bytes.fromhex(given)
        except ValueError:
            raise StoreRefused(f"{SECRET_VARIABLE} must be hex digits") from None
        if len(secret) < _SECRET_BYTES:
            raise StoreRefused(f"{SECRET_VARIABLE} must be at least {2 * _SECRET_BYTES} hex digits")
        return secret
    path = root / "secret"
    if not path.exists():
        with temporary_path(root) as temporary:
            write_synced(temporary, secrets.token_bytes(_SECRET_BYTES), mode=0o600)
            try:
                # A link and not a rename: of two processes the first one's stays.
                path.hardlink_to(temporary)
                sync_folder(root)
            except FileExistsError:
                pass
    return path.read_bytes()
