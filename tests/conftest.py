"""Rules of all tests: unit tests decide things, they do not reach the network, other processes or Ray."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

UNIT = Path(__file__).parent / "unit"

FORBIDDEN_EVENTS = frozenset(
    {
        "socket.connect",
        "socket.bind",
        "socket.sendto",
        "socket.getaddrinfo",
        "subprocess.Popen",
        "os.fork",
        "os.forkpty",
        "os.posix_spawn",
        "os.spawn",
        "os.exec",
        "os.system",
    }
)
"""What a unit test may not do; Ray cannot start without these. Source: Python's table of audit events.

An event loop's own socket pair is neither connected nor bound, so asyncio works.
"""


class Forbidden(AssertionError):
    """A unit test reached for a socket or a process: give the code a fake, or move the test to tests/integration."""


_in_unit_test = False


def _refuse(event: str, args: tuple[object, ...]) -> None:
    if _in_unit_test and event in FORBIDDEN_EVENTS:
        raise Forbidden(f"{event}{args!r:.200} in a unit test")


# An audit hook sees C code too, which patched functions would not. It cannot be removed, so the fixture arms it.
sys.addaudithook(_refuse)


@pytest.fixture(autouse=True)
def unit_tests_stay_inside(request: pytest.FixtureRequest) -> Iterator[None]:
    """Forbid sockets, subprocesses and with them Ray to everything in tests/unit."""
    global _in_unit_test
    _in_unit_test = UNIT in request.path.parents
    yield
    _in_unit_test = False
