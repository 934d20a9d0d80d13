"""The embedded Valkey and the doorbell, with a real server."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
import redis.asyncio

from cluster import doorbell, redis_server
from cluster.doorbell import EVENTS, JOBS, Doorbell, ring
from cluster.errors import RedisUnavailable
from cluster.redis_server import EmbeddedValkey


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    with EmbeddedValkey(tmp_path / "redis") as server:
        yield server


def eventually(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_killed_server_comes_back_with_its_data(valkey: EmbeddedValkey) -> None:
    client = redis.from_url(valkey.url)
    client.set("kept", "yes")
    pid = valkey.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: valkey.pid not in (None, pid) and valkey.answers())
    assert client.get("kept") == b"yes"
    assert valkey.restarts == 1
    client.close()


def test_stop_ends_it(tmp_path: Path) -> None:
    server = EmbeddedValkey(tmp_path)
    server.start()
    pid = server.pid
    assert pid is not None
    server.stop()
    assert gone(pid)
    assert not server.answers()
    server.stop()


def test_second_supervisor_shares_and_takes_over(valkey: EmbeddedValkey, tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path / "redis") as second:
        assert second.url == valkey.url
        assert second.pid is None
        valkey.stop()
        eventually(second.answers)
        assert second.pid is not None


def test_long_folder_gets_a_short_socket(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path / ("long" * 30)) as server:
        assert len(os.fsencode(server.socket_path)) <= redis_server.MAX_SOCKET_BYTES
        assert server.answers()
    server.socket_path.unlink(missing_ok=True)
    server.socket_path.parent.rmdir()


def test_server_dies_with_its_parent(tmp_path: Path) -> None:
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom cluster.redis_server import EmbeddedValkey\n"
        f"server = EmbeddedValkey(Path({str(tmp_path)!r})); server.start(); print(server.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=Path.cwd()) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
    eventually(lambda: gone(pid))


def test_server_that_cannot_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_server, "START_S", 1.0)
    (tmp_path / "appendonlydir").write_text("in the way")
    with pytest.raises(RedisUnavailable, match="appendonly"):
        EmbeddedValkey(tmp_path).start()


async def test_ring_is_heard(valkey: EmbeddedValkey) -> None:
    client = redis.asyncio.from_url(valkey.url)
    bell = Doorbell(client, [JOBS])
    assert await bell.wait(20)
    assert not await bell.wait(0.02)
    assert await ring(client, JOBS)
    assert await bell.wait(20)
    await ring(client, EVENTS)
    assert not await bell.wait(0.1)
    await bell.close()
    await client.aclose()


async def test_lost_redis_loses_nothing(valkey: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doorbell, "RETRY_S", 0.05)
    client = redis.asyncio.from_url(valkey.url)
    bell = Doorbell(client, [JOBS])
    assert await bell.wait(20)
    valkey.stop()
    assert not await ring(client, JOBS)
    assert not await bell.wait(0.2)
    await asyncio.to_thread(valkey.start)
    assert await bell.wait(20)
    await ring(client, JOBS)
    assert await bell.wait(20)
    await bell.close()
    await client.aclose()
