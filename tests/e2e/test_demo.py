"""The newcomer's first command, from nothing to a published video and back to nothing."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from gateway.commands.exits import Exit
from tests.e2e.alone import Alone

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def demo_folders() -> set[Path]:
    """Folders of demos that were not removed."""
    return set(Path(tempfile.gettempdir()).glob("reelmill-demo-*"))


def test_the_demo_shows_the_whole_way_and_leaves_nothing(tmp_path: Path) -> None:
    before = demo_folders()
    ended = Alone(tmp_path, "demo", "--seconds", "3", "--height", "360").wait()
    assert ended.code == Exit.DONE, ended.stderr + ended.stdout
    assert ended.left == []
    assert demo_folders() == before
    for word in ("360p", "144p", "master.m3u8", "manifest.mpd", "inspect", "segment", "package", "upload", "kb/s"):
        assert word in ended.stdout, ended.stdout
    assert "published" in ended.stderr


def test_an_interrupted_demo_ends_with_130_and_leaves_nothing(tmp_path: Path) -> None:
    before = demo_folders()
    alone = Alone(tmp_path, "demo", "--seconds", "20", "--height", "360")
    alone.wait_for(lambda said: "PROCESSING" in said)
    alone.interrupt()
    ended = alone.wait()
    assert ended.code == Exit.INTERRUPTED, ended.stderr
    assert ended.left == []
    assert demo_folders() == before


def test_a_file_that_is_no_video_is_refused_with_a_reason(tmp_path: Path) -> None:
    source = tmp_path / "notes.mp4"
    source.write_text("these are notes\n" * 100)
    ended = Alone(tmp_path / "run", "demo", str(source)).wait()
    assert ended.code == Exit.REJECTED, ended.stderr
    assert "REJECTED_FORMAT" in ended.stderr
    assert ended.left == []
