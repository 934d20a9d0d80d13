"""`reelmill submit`: files to a farm, by its API."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
from rich.markup import escape

from encoders.errors import FarmError
from gateway.client import Client, shown_name
from gateway.commands.arguments import SourceFile
from gateway.commands.exits import Exit, err, exit_code, out, show_error
from gateway.commands.target import farm_options, open_client
from gateway.outcomes import require_playable
from gateway.progress import UploadBar, WaitView
from gateway.schemas import LONGEST_DEADLINE_S, JobWishes
from scheduler.jobs import GpuPolicy


@click.command()
@click.argument("files", nargs=-1, required=True, type=SourceFile())
@click.option("--profile", default="default", show_default=True, help="Named set of renditions and limits.")
@click.option(
    "--gpu",
    type=click.Choice([str(each) for each in GpuPolicy]),
    default="prefer",
    show_default=True,
    help="Whether segments must, may or may not run on a GPU.",
)
@click.option(
    "--early-playback/--longest-first", default=True, show_default=True, help="Which segments of a video come first."
)
@click.option(
    "--deadline-s",
    type=click.FloatRange(0, LONGEST_DEADLINE_S, min_open=True),
    help="Seconds after the upload; when it presses, the video goes before your others.",
)
@click.option("--wait", is_flag=True, help="Stay until the videos are ready, rejected or failed.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a file on stdout, nothing else.")
@farm_options
@click.pass_context
def submit(
    context: click.Context,
    files: tuple[Path, ...],
    profile: str,
    gpu: str,
    early_playback: bool,
    deadline_s: float | None,
    wait: bool,
    as_json: bool,
    url: str | None,
    token: str | None,
) -> None:
    """Upload FILES to a farm and have them processed.

    Interrupted? Give the same command again: it goes on where it stopped.
    """
    worst = Exit.DONE
    wishes = JobWishes(gpu=GpuPolicy(gpu), early_playback=early_playback, deadline_s=deadline_s)
    with open_client(url, token) as client:
        for path in files:
            result: dict[str, Any] = {"file": str(path)}
            try:
                _submit_one(client, path, profile, wishes, wait, as_json, result)
            except (FarmError, OSError) as error:
                worst = max(worst, exit_code(error))
                code, detail = (error.code, error.detail) if isinstance(error, FarmError) else ("os_error", str(error))
                result["error"] = {"code": code, "detail": detail}
                if not as_json:
                    err.print(f"{escape(str(path))}:", end=" ")
                    show_error(error)
            if as_json:
                click.echo(json.dumps(result))
    context.exit(worst)


def _submit_one(
    client: Client, path: Path, profile: str, wishes: JobWishes, wait: bool, quiet: bool, result: dict[str, Any]
) -> None:
    """One file; what is known of it goes to `result` as soon as it is known."""
    with ExitStack() as stack:
        bar = None if quiet else stack.enter_context(UploadBar(err, shown_name(path)))
        show = bar.show if bar else lambda sent, total: None
        upload = client.upload(path, profile=profile, wishes=wishes, on_progress=show)
    result |= {"video_id": upload.video_id, "job_id": upload.job_id, "resumed_bytes": upload.resumed_bytes}
    if not quiet:
        out.print(f"{escape(shown_name(path))}: video {upload.video_id}, job {upload.job_id}", soft_wrap=True)
    if not wait:
        return
    with ExitStack() as stack:
        view = None if quiet else stack.enter_context(WaitView(err, client, upload.job_id))
        status = client.wait(upload.video_id, on_status=view.show if view else lambda answer: None)
    result["status"] = str(status.status)
    rejection = status.rejection
    if rejection is not None:
        result["rejection"] = rejection.model_dump()
        require_playable(status.status, rejection.code, rejection.detail, rejection.hint)
    require_playable(status.status, None, None, None)
    assets = client.video(upload.video_id).assets
    result |= {"hls": assets.hls, "dash": assets.dash, "mp4": [each.url for each in assets.mp4]}
    if not quiet:
        out.print(f"{status.status}  {assets.hls}", soft_wrap=True)
