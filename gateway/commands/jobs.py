"""Jobs of a farm: which there are, why one is where it is, and how to end one."""

from __future__ import annotations

import json

import click
from rich.table import Table

from gateway.commands.arguments import JobId
from gateway.commands.exits import out
from gateway.commands.target import farm_options, open_client


@click.command()
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
@farm_options
def jobs(as_json: bool, url: str | None, token: str | None) -> None:
    """List your newest videos with their jobs."""
    with open_client(url, token) as client:
        videos = client.videos().videos
    if as_json:
        click.echo(json.dumps([video.model_dump(mode="json") for video in videos]))
        return
    table = Table("title", "status", "%", "profile", "job", "video", "note", box=None)
    for video in videos:
        note = (video.rejection.detail or video.rejection.code) if video.rejection else ""
        percent = f"{video.progress.percent:.0f}"
        table.add_row(video.title, video.status, percent, video.profile, video.job_id or "", video.video_id, note)
    out.print(table)


@click.command()
@click.argument("job", type=JobId())
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
@farm_options
def explain(job: str, as_json: bool, url: str | None, token: str | None) -> None:
    """Say why a JOB is where it is: its position, what holds it, an estimate."""
    with open_client(url, token) as client:
        answer = client.explain(job)
    if as_json:
        click.echo(answer.model_dump_json())
        return
    out.print(f"{answer.state}: {answer.reason}", soft_wrap=True, markup=False)
    if answer.position is not None:
        out.print(f"position {answer.position}")
    if answer.estimate_s is not None:
        out.print(f"done in about {answer.estimate_s:.0f} s")


@click.command()
@click.argument("job", type=JobId())
@farm_options
def cancel(job: str, url: str | None, token: str | None) -> None:
    """Ask a JOB to stop; it does within one segment's time."""
    with open_client(url, token) as client:
        answer = client.cancel(job)
    out.print(f"{answer.state}{', stopping' if answer.cancel_requested else ''}")
