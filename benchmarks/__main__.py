"""`python -m benchmarks COMMAND`: each command lives in a module of its own and is loaded when it is called."""

from __future__ import annotations

from importlib import import_module

import click

COMMANDS = {
    "corpus": "benchmarks.corpus",
    "chapters": "benchmarks.chapters",
    "vs-ffmpeg": "benchmarks.vs_ffmpeg",
    "large-source": "benchmarks.large_source",
    "quality": "benchmarks.quality",
    "presets": "benchmarks.presets",
    "content-id": "benchmarks.content_id",
    "content-scale": "benchmarks.content_scale",
    "chaos": "benchmarks.chaos",
    "scheduler": "benchmarks.scheduler",
    "fairness": "benchmarks.fairness",
    "recovery": "benchmarks.recovery",
    "fuzz": "benchmarks.fuzz",
    "damage": "benchmarks.damage",
    "gpu": "benchmarks.gpu",
    "tonemap": "benchmarks.tonemap",
}
"""Command -> module that holds it as `command`."""


class Lazy(click.Group):
    """A group whose commands are imported one by one: a scheduler benchmark need not load media libraries."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands whose module is there."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name; None when there is none."""
        if cmd_name not in COMMANDS:
            return None
        found = import_module(COMMANDS[cmd_name]).command
        assert isinstance(found, click.Command)
        return found


@click.command(cls=Lazy, help=__doc__)
def main() -> None:
    """All benchmarks."""


if __name__ == "__main__":
    main()
