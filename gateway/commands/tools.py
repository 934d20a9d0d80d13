"""Tools around a farm: tokens, what this machine can do, the tests."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import click

from gateway.commands.exits import Exit, err, out

CHECKOUT = Path(__file__).resolve().parent.parent.parent
UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


class Duration(click.ParamType[float]):
    """A number with a unit: 90s, 15m, 12h, 30d; seconds without one."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds."""
        if isinstance(value, float):
            return value
        text = str(value).strip().lower()
        number, unit = (text[:-1], text[-1]) if text[-1:] in UNITS_S else (text, "s")
        try:
            seconds = float(number) * UNITS_S[unit]
        except ValueError:
            seconds = 0.0
        if not 0 < seconds < float("inf"):
            self.fail(f"{value!r} is no duration such as 90s, 15m, 12h or 30d", param, ctx)
        return seconds


@click.command()
@click.option("--sub", default="me", show_default=True, help="User that the token speaks for.")
@click.option("--tier", type=click.Choice(["paid", "verified", "free"]), default="verified", show_default=True)
@click.option("--ttl", type=Duration(), default="24h", show_default=True, help="How long it holds: 15m, 12h, 30d.")
def token(sub: str, tier: str, ttl: float) -> None:
    """Make a bearer token for the farm of this data folder (or of REELMILL_JWT_SECRET)."""
    from cluster.settings import ClusterSettings
    from gateway.auth import load_secret, mint_token
    from gateway.settings import GatewaySettings

    secret = load_secret(ClusterSettings().root, GatewaySettings().jwt_secret.get_secret_value())
    try:
        made = mint_token(secret, sub, tier, ttl)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    click.echo(made)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
@click.pass_context
def doctor(context: click.Context, as_json: bool) -> None:
    """Say what this machine can do, and the reason for each "no". Fails when a farm cannot run here."""
    from gateway.doctor import examine
    from gateway.doctor_view import as_table

    findings = examine()
    if as_json:
        click.echo(json.dumps([finding.as_dict() for finding in findings]))
    else:
        out.print(as_table(findings))
    context.exit(Exit.FAILED if any(finding.fatal for finding in findings) else Exit.DONE)


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def test(arguments: tuple[str, ...]) -> None:
    """Run the tests; arguments go to pytest."""
    _install_players()
    os.chdir(CHECKOUT)
    os.environ.pop("REELMILL_DATA_DIR", None)  # set by the script, for farms; tests have folders of their own
    os.execv(sys.executable, [sys.executable, "-m", "pytest", *arguments])


def _install_players() -> None:
    """Install the players of browser tests where npm is there; those tests skip themselves where it is not."""
    npm = shutil.which("npm")
    for package in CHECKOUT.glob("tests/**/package-lock.json"):
        folder = package.parent
        installed = folder / "node_modules" / ".package-lock.json"
        if "node_modules" in folder.parts or npm is None:
            continue
        if installed.exists() and installed.stat().st_mtime >= package.stat().st_mtime:
            continue
        command = [npm, "ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]
        done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        if done.returncode != 0:
            err.print(f"npm could not install the players of {folder.relative_to(CHECKOUT)}; browser tests are skipped")
