"""Bearer tokens: HS256 JSON Web Tokens, made and checked with one secret of the farm.

A token says who (`sub`) and of which tier; it must expire. Nothing else in it is read. The secret is made on first
start and kept in `data_dir/secrets/jwt.key`; gateways on several machines are given the same one by the environment
(`REELMILL_JWT_SECRET`).
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import jwt
from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from encoders.errors import FarmError, Fault
from gateway.errors import NotAuthenticated
from scheduler.jobs import Tier

ALGORITHM = "HS256"
SECRET_BYTES = 32
"""Shortest secret taken. Source: RFC 7518 section 3.2, a key as long as the hash's output."""
LEEWAY_S = 10
"""Clock difference between machines that is forgiven."""
SUBJECT_CHARS = 128
"""Longest `sub` taken: it becomes part of rows and log lines."""


class SecretTooShort(FarmError, ValueError):
    """The configured token secret could be guessed; nothing was started."""

    code = "secret_too_short"
    fault = Fault.CALLER


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who is asking."""

    subject: str
    tier: Tier


def load_secret(root: Path, configured: str = "") -> bytes:
    """The farm's token secret: the configured one, else the one in `root/secrets/jwt.key`, which is made when missing.

    Two processes that start at once end with the same secret: the first whole file wins.

    Raises:
        SecretTooShort: it has less than 32 bytes.
    """
    if configured:
        return _checked(configured.encode())
    path = root / "secrets" / "jwt.key"
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = path.with_name(f".jwt.{os.getpid()}.{secrets.token_hex(4)}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(secrets.token_urlsafe(SECRET_BYTES).encode())
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):  # another process was first; its secret is the one
                os.link(fresh, path)
        finally:
            fresh.unlink()
    return _checked(path.read_bytes().strip())


def _checked(secret: bytes) -> bytes:
    if len(secret) < SECRET_BYTES:
        raise SecretTooShort(
            f"the token secret has {len(secret)} bytes and needs {SECRET_BYTES}: mend REELMILL_JWT_SECRET,"
            " or leave it out to have one made"
        )
    return secret


def mint_token(secret: bytes, sub: str, tier: Tier | str, ttl_s: float) -> str:
    """A bearer token for a user, valid from now for `ttl_s` seconds.

    Raises:
        ValueError: an unknown tier, or a subject that is empty or too long.
    """
    if not 0 < len(sub) <= SUBJECT_CHARS:
        raise ValueError(f"sub must have 1 to {SUBJECT_CHARS} characters")
    now = time.time()
    claims = {"sub": sub, "tier": Tier(tier).value, "iat": int(now), "exp": int(now + ttl_s)}
    return jwt.encode(claims, secret, algorithm=ALGORITHM)


def verify_token(secret: bytes, token: str) -> Principal:
    """Who a token speaks for.

    Raises:
        NotAuthenticated: with the reason, as far as it is safe to tell.
    """
    try:
        claims = jwt.decode(
            token, secret, algorithms=[ALGORITHM], leeway=LEEWAY_S, options={"require": ["exp", "sub", "tier"]}
        )
    except jwt.ExpiredSignatureError:
        raise NotAuthenticated("the token has expired") from None
    except jwt.MissingRequiredClaimError as error:
        raise NotAuthenticated(f"the token lacks the claim {error.claim}") from None
    except jwt.InvalidTokenError:
        raise NotAuthenticated("the token does not hold") from None
    subject, tier = claims["sub"], claims["tier"]
    if not isinstance(subject, str) or not 0 < len(subject) <= SUBJECT_CHARS:
        raise NotAuthenticated(f"the claim sub must have 1 to {SUBJECT_CHARS} characters")
    if tier not in set(Tier):
        raise NotAuthenticated(f"the claim tier must be one of {', '.join(Tier)}")
    return Principal(subject=subject, tier=Tier(tier))


_bearer = HTTPBearer(auto_error=False, description="Token made by `reelmill token`, claims sub, tier and exp.")


def _authenticate(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Principal:
    if credentials is None:
        raise NotAuthenticated("send a bearer token in the Authorization header")
    secret: bytes = request.app.state.secret
    return verify_token(secret, credentials.credentials)


Caller = Annotated[Principal, Depends(_authenticate)]
"""Parameter type of routes that need to know who asks."""
