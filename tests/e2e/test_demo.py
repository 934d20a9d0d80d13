"""The newcomer's first command, from nothing to a published video and back to nothing."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from gateway.commands.exits import Exit
from tests.e2e.alone import Alone

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def test_the_demo_shows_the_whole_way_and_leaves_nothing(tmp_path: Path) -> None:
    # A short name: there are Unix sockets below it, whose paths are limited to 107 bytes.
    with tempfile.TemporaryDirectory(prefix="rm") as scratch:
        ended = Alone(tmp_path, "demo", "--seconds", "3", "--height", "360", TMPDIR=scratch).wait()
        assert ended.code == Exit.DONE, ended.stderr + ended.stdout
        assert ended.left == []
        assert list(Path(scratch).iterdir()) == []
    for word in ("360p", "144p", "master.m3u8", "manifest.mpd", "inspect", "segment", "package", "upload", "kb/s"):
        assert word in ended.stdout, ended.stdout
    assert "published" in ended.stderr
