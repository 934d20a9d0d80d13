"""Which farm a command talks to: the one that is named, else the one that runs on this data folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import click

from encoders.errors import FarmError, Fault
from gateway.client import Client
from gateway.client_http import FarmUnreachable

OWN_TOKEN_TTL_S = 86_400


class NoToken(FarmError):
    """A farm elsewhere was named without a token for it."""

    code = "no_token"
    fault = Fault.CALLER


def farm_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--url` and `--token` to a command."""
    command = click.option("--token", envvar="REELMILL_TOKEN", help="Bearer token; for a farm here, one is made.")(
        command
    )
    return click.option("--url", envvar="REELMILL_URL", help="The farm's address; else the one that runs here.")(
        command
    )


def open_client(url: str | None, token: str | None) -> Client:
    """A client of the farm that was named or that runs here.

    Raises:
        FarmUnreachable: none was named and none runs here, or nobody answers there.
        NoToken: one was named, but no token for it.
    """
    from cluster.settings import ClusterSettings
    from gateway.farm_folder import FarmFolder
    from gateway.upload_book import UploadBook

    root = ClusterSettings().root
    if url is None:
        url = FarmFolder(root).state().get("url")
        if not url:
            raise FarmUnreachable(f"no farm runs on {root}: start one with `./reelmill up`, or name one with --url")
        token = token or _own_token()
    if not token:
        raise NoToken("give --token or set REELMILL_TOKEN; who runs the farm makes one with `./reelmill token`")
    client = Client(url, token, book=UploadBook.of_user())
    try:
        client.reach()
    except FarmError:
        client.close()
        raise
    return client


def _own_token() -> str:
    """A token of the farm that runs here, made with its secret, for the user who calls."""
    from cluster.settings import ClusterSettings
    from gateway.auth import load_secret, mint_token
    from gateway.settings import GatewaySettings
    from scheduler.jobs import Tier

    secret = load_secret(ClusterSettings().root, GatewaySettings().jwt_secret.get_secret_value())
    return mint_token(secret, os.environ.get("REELMILL_SUB", "me"), Tier.PAID, OWN_TOKEN_TTL_S)
