"""The `reelmill` command: puts the commands together and decides how each ends (exit codes: `commands/exits.py`)."""

from __future__ import annotations

import sys

import click
from pydantic import ValidationError
from pydantic_settings import SettingsError

from encoders.errors import FarmError
from gateway.commands import convert, jobs, operate, send, stay, tools, works
from gateway.commands.exits import Exit, end_on_signals, ended_by_user, exit_code, show_error, show_setting

EPILOG = """\b
Exit codes: 0 done, 1 failed, 2 wrong command line or setting, 3 source not taken, 4 no farm answers, 130 interrupted.
"""


@click.group(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Reelmill, a transcoding farm. Begin with `reelmill demo`."""


for _command in (
    convert.demo,
    stay.up,
    send.submit,
    convert.transcode,
    jobs.jobs,
    jobs.explain,
    jobs.cancel,
    operate.pause,
    operate.resume,
    operate.boost,
    operate.dead,
    operate.nodes,
    operate.drain,
    works.works,
    tools.token,
    tools.doctor,
    tools.test,
    stay.dispatcher,
    stay.gateway,
):
    cli.add_command(_command)


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit with its code."""
    end_on_signals()
    try:
        code = cli.main(arguments, prog_name="reelmill", standalone_mode=False)
    except (KeyboardInterrupt, click.Abort):
        ended_by_user()
    except click.ClickException as error:
        error.show()
        sys.exit(Exit.USAGE)
    except BrokenPipeError:
        # Whoever read the output has had enough; without this Python complains again while it shuts down.
        sys.stderr.close()
        sys.exit(Exit.FAILED)
    except (ValidationError, SettingsError) as error:
        show_setting(error)
        sys.exit(Exit.USAGE)
    except (FarmError, OSError) as error:
        show_error(error)
        sys.exit(exit_code(error))
    sys.exit(code or Exit.DONE)


if __name__ == "__main__":
    main()
