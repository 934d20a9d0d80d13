"""Logging on a disk that is full: the line is lost, and who told it goes on."""

from __future__ import annotations

import errno
import io
import sys

import pytest
import structlog

from cluster.logs import configure_logging


class Full(io.StringIO):
    """A standard error whose file takes nothing more."""

    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    def flush(self) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_costs_the_line_and_not_the_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = structlog.get_config()
    try:
        configure_logging(as_json=True)
        log = structlog.get_logger()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", Full())
            log.info("lost")
        log.info("told")
    finally:
        structlog.configure(**before)
    assert '"told"' in capsys.readouterr().err
