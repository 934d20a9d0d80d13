"""The fixture that keeps unit tests inside does refuse."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys

import pytest


def test_no_process_can_be_started() -> None:
    with pytest.raises(AssertionError, match=r"subprocess\.Popen"):
        subprocess.run([sys.executable, "-V"], check=False)
    with pytest.raises(AssertionError, match=r"os\.fork"):
        os.fork()


def test_no_socket_can_be_connected_or_bound() -> None:
    with socket.socket() as each:
        with pytest.raises(AssertionError, match=r"socket\.bind"):
            each.bind(("127.0.0.1", 0))
        with pytest.raises(AssertionError, match=r"socket\.connect"):
            each.connect(("127.0.0.1", 9))


async def test_an_event_loop_still_works() -> None:
    assert await asyncio.gather(asyncio.sleep(0, "a"), asyncio.to_thread(lambda: "b")) == ["a", "b"]
