"""Which files and ports a hostile file names."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.bait import neighbours_named, ports_named


@pytest.mark.parametrize(
    ("text", "names", "ports"),
    [
        ("ffconcat version 1.0\nfile neighbour.mp4\nfile 'other clip.mp4'\n", {"neighbour.mp4"}, set()),
        ("ffconcat version 1.0\nfile '/etc/passwd'\nfile 'http://127.0.0.1:18080/x.mp4'\n", set(), {18080}),
        ("#EXTM3U\n#EXTINF:2,\nnot-there-yet.ts\n#EXTINF:2,\nhttp://localhost:81/x.ts\n", {"not-there-yet.ts"}, {81}),
        ("#EXTM3U\r\n#EXTINF:2,\r\na.ts\r\n", {"a.ts"}, set()),
        ("file notes.txt\nno playlist\n", set(), set()),
        ("<MPD><BaseURL>https://[::1]:8443/x</BaseURL></MPD>", set(), {8443}),
        ("http://127.0.0.1:99999/", set(), set()),
        ("http://example.org:8080/", set(), set()),
    ],
)
def test_names_and_ports_are_read_out(tmp_path: Path, text: str, names: set[str], ports: set[int]) -> None:
    path = tmp_path / "bait.mp4"
    path.write_bytes(b"\x00RIFF\xff" + b"\n" + text.encode())
    assert neighbours_named(path) == names
    assert ports_named(path) == ports
