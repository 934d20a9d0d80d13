"""Tokens: made, checked and refused; the secret is made once and kept private."""

from __future__ import annotations

import stat
import time
from pathlib import Path
from typing import Any

import jwt
import pytest

from gateway.auth import Principal, load_secret, mint_token, verify_token
from gateway.errors import NotAuthenticated
from scheduler.jobs import Tier

SECRET = b"s" * 32


def encoded(secret: bytes = SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    given = {"sub": "ann", "tier": "paid", "exp": time.time() + 60, **claims}
    return jwt.encode({key: value for key, value in given.items() if value is not None}, secret, algorithm=algorithm)


def test_a_minted_token_says_who_and_of_which_tier() -> None:
    token = mint_token(SECRET, "ann", "verified", 60)
    assert verify_token(SECRET, token) == Principal(subject="ann", tier=Tier.VERIFIED)


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"exp": 1.0}, "expired"),
        ({"exp": None}, "exp"),
        ({"sub": None}, "sub"),
        ({"tier": None}, "tier"),
        ({"tier": "gold"}, "tier"),
        ({"sub": "x" * 129}, "sub"),
        ({"secret": b"t" * 32}, "does not hold"),
        ({"algorithm": "HS384", "secret": SECRET * 2}, "does not hold"),
    ],
)
def test_a_token_that_does_not_hold_is_refused_with_the_reason(claims: dict[str, Any], reason: str) -> None:
    with pytest.raises(NotAuthenticated, match=reason):
        verify_token(SECRET, encoded(**claims))


@pytest.mark.parametrize("token", ["not.a.token", ""])
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(NotAuthenticated, match="does not hold"):
        verify_token(SECRET, token)


def test_an_unsigned_token_is_refused() -> None:
    unsigned = jwt.encode({"sub": "ann", "tier": "paid", "exp": time.time() + 60}, None, algorithm="none")
    with pytest.raises(NotAuthenticated):
        verify_token(SECRET, unsigned)


@pytest.mark.parametrize(("sub", "tier"), [("", "paid"), ("x" * 129, "paid"), ("ann", "gold")])
def test_no_token_is_made_that_would_be_refused(sub: str, tier: str) -> None:
    with pytest.raises(ValueError):
        mint_token(SECRET, sub, tier, 60)


def test_the_secret_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    first = load_secret(tmp_path)
    path = tmp_path / "secrets" / "jwt.key"
    assert len(first) >= 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_secret(tmp_path) == first
    assert [entry.name for entry in path.parent.iterdir()] == ["jwt.key"]


def test_a_configured_secret_goes_before_the_kept_one_and_writes_nothing(tmp_path: Path) -> None:
    assert load_secret(tmp_path, "c" * 32) == b"c" * 32
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("configured", ["short", "x" * 31])
def test_a_short_secret_is_refused(tmp_path: Path, configured: str) -> None:
    with pytest.raises(ValueError, match="32"):
        load_secret(tmp_path, configured)
