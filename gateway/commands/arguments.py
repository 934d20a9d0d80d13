"""Types of arguments that several commands take, so that what cannot be meant is told before anything starts."""

from __future__ import annotations

import re
from pathlib import Path

import click

JOB_ID = re.compile(r"[0-9a-f]{32}")


class SourceFile(click.Path):
    """A file with a length that can be read again: an upload sends its parts in any order, and after interruptions."""

    def __init__(self) -> None:
        super().__init__(exists=True, dir_okay=False, path_type=Path)

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Its path."""
        path = Path(super().convert(value, param, ctx))  # type: ignore[arg-type]  # click's own values, passed on
        if not path.is_file():
            self.fail(f"{click.format_filename(path)!r} is a pipe or a device: save it to a file first", param, ctx)
        return path


class JobId(click.ParamType[str]):
    """A job's id, as `submit` and `jobs` print it."""

    name = "job"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The id."""
        text = str(value).strip()
        if JOB_ID.fullmatch(text) is None:
            self.fail(f"{text!r} is no job's id, which has 32 characters: see `reelmill jobs`", param, ctx)
        return text
