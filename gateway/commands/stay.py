"""Processes that stay: the whole farm of one machine, or one process of a production deployment."""

from __future__ import annotations

import contextlib

import click
from rich.markup import escape

from gateway.commands.exits import err, out

TOKEN_TTL_S = 7 * 86_400
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@click.command()
@click.option("--host", help="Address to listen on; loopback unless given.")
@click.option("--port", type=click.IntRange(0, 65_535), help="TCP port; 0 lets the system choose.")
@click.option("--sub", default="me", show_default=True, help="User of the token that is printed.")
def up(host: str | None, port: int | None, sub: str) -> None:
    """Start a farm on this machine and keep it up until Ctrl-C. Prints its address and a token."""
    from cluster.settings import ClusterSettings
    from gateway.auth import load_secret, mint_token
    from gateway.farm import Farm
    from gateway.settings import GatewaySettings
    from scheduler.jobs import Tier

    given = {key: value for key, value in {"host": host, "port": port}.items() if value is not None}
    gateway = GatewaySettings(**given)  # type: ignore[arg-type]  # a mapping of fields, checked by pydantic
    cluster = ClusterSettings()
    secret = load_secret(cluster.root, gateway.jwt_secret.get_secret_value())
    with (
        contextlib.suppress(KeyboardInterrupt),  # how a farm that stays is meant to be ended
        Farm(cluster, gateway, fixed_port="port" in gateway.model_fields_set and gateway.port != 0, tell=_tell) as farm,
    ):
        token = mint_token(secret, sub, Tier.PAID, TOKEN_TTL_S)
        out.print(f"URL    {farm.url}", soft_wrap=True)
        out.print(f"TOKEN  {token}", soft_wrap=True)
        out.print(f"OPEN   {farm.url}/#token={token}", soft_wrap=True)
        if gateway.host not in LOOPBACK:
            err.print(f"[yellow]listening on {gateway.host}: everyone who reaches it and has a token may upload[/]")
        err.print(f"data and logs: {cluster.root}\nopen the last line in a browser, or: ./reelmill submit FILE --wait")
        if farm.dashboard_url:
            err.print(
                f"Ray's dashboard: {farm.dashboard_url} (its token is in {cluster.root / 'secrets' / 'ray.token'})"
            )
        err.print("Ctrl-C ends the farm; nothing is lost, the next `up` goes on")
        farm.wait()
    err.print("the farm has ended")


def _tell(sentence: str) -> None:
    err.print(f"[dim]{escape(sentence)}[/]", soft_wrap=True)


@click.command()
def dispatcher() -> None:
    """Run one dispatcher process in the foreground (settings from REELMILL_* variables)."""
    from cluster.dispatch import main

    main()


@click.command()
def gateway() -> None:
    """Run one gateway process in the foreground (settings from REELMILL_* variables)."""
    from gateway.serve import main

    main()
