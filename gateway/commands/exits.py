"""How a command ends: its exit code, and what it says to a person.

0    done
1    failed
2    the command line or a setting is wrong
3    the farm does not take this source
4    no farm answers
130  interrupted
"""

from __future__ import annotations

import signal
import sys
from enum import IntEnum
from types import FrameType

from pydantic import ValidationError
from pydantic_settings import SettingsError
from rich.console import Console
from rich.markup import escape

from encoders.errors import FarmError, Fault
from gateway.client_http import ApiProblem, FarmUnreachable

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


class Exit(IntEnum):
    """Exit codes of all commands."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    REJECTED = 3
    UNREACHABLE = 4
    INTERRUPTED = 130


def exit_code(error: FarmError | OSError) -> Exit:
    """The exit code of an error."""
    if isinstance(error, OSError):
        return Exit.FAILED
    if isinstance(error, FarmUnreachable):
        return Exit.UNREACHABLE
    if isinstance(error, ApiProblem) and error.status in (413, 415):
        return Exit.REJECTED  # the profile takes no file of this size or type
    return Exit.REJECTED if error.fault is Fault.INPUT else Exit.FAILED


def show_error(error: FarmError | OSError) -> None:
    """Say on stderr what is wrong, why, and what to do."""
    if isinstance(error, OSError):
        err.print(f"[red]{escape(str(error))}[/]", soft_wrap=True)
        return
    if not isinstance(error, ApiProblem):
        err.print(f"[red]{error.code}[/]: {escape(error.detail)}", soft_wrap=True)
        return
    err.print(f"[red]{escape(error.detail)}[/]", soft_wrap=True)
    if error.problem.hint:
        err.print(f"  → {escape(error.problem.hint)}", soft_wrap=True)
    if error.problem.error_id:
        err.print(f"  [dim](status {error.status}, code {error.problem.code}, error {error.problem.error_id})[/]")


def show_setting(error: ValidationError | SettingsError) -> None:
    """Say on stderr which setting cannot be used, and why.

    Raises:
        ValidationError: it is not about settings.
    """
    if isinstance(error, SettingsError):
        err.print(f"[red]{escape(str(error))}[/]: lists and maps are given as JSON", soft_wrap=True)
        return
    if not error.title.endswith("Settings"):
        raise error
    for each in error.errors():
        name = "_".join(("REELMILL", *map(str, each["loc"]))).upper()
        err.print(f"[red]{name}[/]: {escape(each['msg'].removeprefix('Value error, '))}", soft_wrap=True)


def end_on_signals() -> None:
    """Let SIGTERM and SIGHUP end a command as Ctrl-C does, through its `finally` blocks; nohup keeps its meaning."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, interrupt)


def ended_by_user() -> None:
    """Say that the command was interrupted, and exit."""
    err.print("interrupted")
    sys.exit(Exit.INTERRUPTED)
