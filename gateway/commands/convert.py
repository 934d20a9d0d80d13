"""A farm of one's own for as long as it takes: the demo, and transcoding without HTTP."""

from __future__ import annotations

import json
import tempfile
from contextlib import suppress
from pathlib import Path

import click

from gateway.commands.arguments import SourceFile
from gateway.commands.exits import err, out


@click.command()
@click.argument("file", required=False, type=SourceFile())
@click.option("--profile", default="default", show_default=True, help="Named set of renditions and limits.")
@click.option("--keep", is_flag=True, help="Keep the farm's folder, with all that was made.")
@click.option(
    "--stay", is_flag=True, help="Keep the farm up at the end, until Ctrl-C, to look at the result in a browser."
)
@click.option(
    "--seconds", type=click.IntRange(1, 600), default=30, show_default=True, help="Length of the made-up clip."
)
@click.option("--height", type=click.IntRange(144, 2160), default=1080, show_default=True, help="Its height, 16:9.")
def demo(file: Path | None, profile: str, keep: bool, stay: bool, seconds: int, height: int) -> None:
    """Show the whole way: start a farm, upload FILE (or a made-up clip), encode, publish, say what was made."""
    from gateway.demo import Demo

    Demo(err, out, file, profile=profile, keep=keep, stay=stay, seconds=seconds, height=height).run()


@click.command()
@click.argument("file", type=SourceFile())
@click.option("--out", "folder", required=True, type=click.Path(file_okay=False, path_type=Path), help="Empty or new.")
@click.option("--profile", default="default", show_default=True, help="Named set of renditions and limits.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout, nothing else.")
def transcode(file: Path, folder: Path, profile: str, as_json: bool) -> None:
    """Encode FILE into the folder --out, without HTTP: the same dispatcher, workers and packager as a farm."""
    from gateway.transcode import transcode_file
    from gateway.transcode_view import show_result, watching

    if folder.exists() and any(folder.iterdir()):
        raise click.UsageError(f"{folder} is not empty: nothing in it is overwritten")
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        # Whether it can be written into is better known now than after all the work.
        tempfile.TemporaryFile(dir=folder).close()
        with watching(err, quiet=as_json) as tell:
            result = transcode_file(file, folder, profile, tell)
    except BaseException:
        if made:
            with suppress(OSError):
                folder.rmdir()
        raise
    if as_json:
        click.echo(json.dumps(result.as_dict()))
    else:
        show_result(out, result)
