"""`python -m gateway.serve` as a process: streams in constant memory, and loses nothing to kill -9."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog

from gateway.auth import load_secret, mint_token
from gateway.serve import main

BLOCK = bytes(range(256)) * 4096
"""One mebibyte."""
PART_MEBIBYTES = 96
SPARE_BYTES = 40 << 20
"""More memory than the process has at rest that streaming may take: far below the part."""


class Process:
    """A gateway process on a folder."""

    def __init__(self, root: Path, port: int, **environment: str) -> None:
        self.url = f"http://127.0.0.1:{port}"
        variables = {name: value for name, value in os.environ.items() if not name.startswith("REELMILL_")}
        variables |= {"REELMILL_DATA_DIR": str(root), "REELMILL_PORT": str(port), "REELMILL_PUBLIC_URL": self.url}
        self.log = root / "gateway.log"
        with self.log.open("ab") as log:
            self.child = subprocess.Popen(
                [sys.executable, "-m", "gateway.serve"], env=variables | environment, stdout=log, stderr=log
            )
        self.http = httpx.Client(base_url=self.url, trust_env=False, timeout=60)
        self._root = root

    def wait(self) -> None:
        """Until it answers."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            assert self.child.poll() is None, self.log.read_text()
            try:
                if self.http.get("/readyz").status_code == 200:
                    token = mint_token(load_secret(self._root), "ann", "paid", 600)
                    self.http.headers["Authorization"] = f"Bearer {token}"
                    return
            except httpx.TransportError:
                time.sleep(0.05)
        pytest.fail(self.log.read_text())

    def end(self, number: int) -> int:
        """Send a signal and wait for the end; answers the exit status."""
        self.http.close()
        if self.child.poll() is None:
            self.child.send_signal(number)
        return self.child.wait(30)

    def peak_bytes(self) -> int:
        """The most memory that it has had."""
        lines = (Path("/proc") / str(self.child.pid) / "status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


@contextmanager
def gateway_process(root: Path, port: int, **environment: str) -> Iterator[Process]:
    """A gateway process for the length of the block, ended politely unless it is dead."""
    process = Process(root, port, **environment)
    try:
        process.wait()
        yield process
    finally:
        process.end(signal.SIGTERM)


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        return int(bound.getsockname()[1])


def initiate(process: Process, mebibytes: int, part_mebibytes: int) -> dict[str, Any]:
    body = {
        "title": "A clip",
        "filename": "a.mp4",
        "content_type": "video/mp4",
        "file_size_bytes": mebibytes << 20,
        "part_size_bytes": part_mebibytes << 20,
    }
    return dict(process.http.post("/v1/uploads/initiate", json=body).raise_for_status().json())


def send_part(process: Process, upload_id: str, number: int, mebibytes: int) -> str:
    wanted = {"part_number": number, "content_length": mebibytes << 20}
    signed = process.http.post(f"/v1/uploads/{upload_id}/parts/presign", json=wanted).raise_for_status().json()
    blocks = (BLOCK for _ in range(mebibytes))
    return str(
        httpx.put(signed["presigned_url"], content=blocks, headers=signed["headers"], timeout=60).headers["etag"]
    )


def test_a_large_part_passes_in_constant_memory(tmp_path: Path, port: int) -> None:
    with gateway_process(tmp_path, port) as process:
        listening = [line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        assert f"0100007F:{port:04X}" in listening, "loopback, and nothing else unless asked"
        assert f"00000000:{port:04X}" not in listening
        send_part(process, initiate(process, 5, 5)["upload_id"], 1, 5)
        at_rest = process.peak_bytes()
        begun = initiate(process, PART_MEBIBYTES, PART_MEBIBYTES)
        etag = send_part(process, begun["upload_id"], 1, PART_MEBIBYTES)
        done = {"parts": [{"part_number": 1, "etag": etag}]}
        process.http.post(f"/v1/uploads/{begun['upload_id']}/complete", json=done).raise_for_status()
        assert process.peak_bytes() - at_rest < SPARE_BYTES


def test_an_upload_goes_on_after_kill_9(tmp_path: Path, port: int) -> None:
    with gateway_process(tmp_path, port) as first:
        begun = initiate(first, 12, 5)
        send_part(first, begun["upload_id"], 1, 5)
        assert first.end(signal.SIGKILL) == -signal.SIGKILL
    with gateway_process(tmp_path, port) as second:
        path = f"/v1/uploads/{begun['upload_id']}"
        held = {part["part_number"]: part["etag"] for part in second.http.get(path).json()["parts"]}
        assert list(held) == [1]
        held |= {2: send_part(second, begun["upload_id"], 2, 5), 3: send_part(second, begun["upload_id"], 3, 2)}
        named = [{"part_number": number, "etag": etag} for number, etag in held.items()]
        assert second.http.post(f"{path}/complete", json={"parts": named}).raise_for_status().json()["job_id"]
        assert second.end(signal.SIGTERM) == -signal.SIGTERM, "uvicorn ends in order, then by the signal"


def test_settings_that_cannot_be_used_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REELMILL_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("REELMILL_JWT_SECRET", "short")
    with pytest.raises(SystemExit) as ended:
        main()
    structlog.reset_defaults()  # or all later tests would log to this test's captured stream
    assert ended.value.code == 2
    assert "REELMILL_JWT_SECRET" in capsys.readouterr().err
