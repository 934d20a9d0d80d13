"""`reelmill transcode`: a folder that plays, without HTTP."""

from __future__ import annotations

import json
from pathlib import Path

import av
import pytest

from gateway.commands.exits import Exit
from tests.e2e.alone import Alone

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def test_a_file_becomes_a_folder_that_plays(tmp_path: Path, clip: Path) -> None:
    folder = tmp_path / "out"
    ended = Alone(tmp_path / "run", "transcode", str(clip), "--out", str(folder), "--json").wait()
    assert ended.code == Exit.DONE, ended.stderr
    assert ended.left == []
    result = json.loads(ended.stdout)
    assert result["status"] == "READY"
    assert sorted(result["files"]) == sorted(
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()
    )
    assert [each["name"] for each in result["renditions"]]
    assert {step["step"] for step in result["steps"]} >= {"inspect", "segment", "package"}
    with av.open(result["hls"]) as container:
        frames = sum(1 for _ in container.decode(container.streams.video[0]))
    assert frames == 100
