"""Files that name other files: by the kernel's own account nothing else is opened, and nobody connects.

Without confinement, so that the demuxer's own rules are what is tested.
"""

from __future__ import annotations

import ctypes
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from clips import write_clip

from encoders.errors import FarmError
from encoders.probe import probe_source

IN_OPEN = 0x20
"""Source: linux/inotify.h."""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="watches with inotify")


class Watch:
    """Counts how often a file is opened, by whatever library."""

    def __init__(self, path: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        assert libc.inotify_add_watch(self._fd, os.fsencode(path), IN_OPEN) >= 0

    def opened(self) -> bool:
        try:
            return bool(os.read(self._fd, 4096))
        except BlockingIOError:
            return False

    def close(self) -> None:
        os.close(self._fd)


@pytest.fixture
def neighbour(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "neighbour.mp4")


@pytest.fixture
def watch(neighbour: Path) -> Iterator[Watch]:
    watching = Watch(neighbour)
    yield watching
    watching.close()


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield listening


def bait(kind: str, neighbour: Path, port: int) -> bytes:
    remote = f"http://127.0.0.1:{port}/x.ts"
    texts = {
        "concat": f"ffconcat version 1.0\nfile {neighbour.name}\nfile {neighbour}\n",
        "concat by url": f"ffconcat version 1.0\nfile {remote}\n",
        "hls of a file": f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{neighbour}\n#EXTINF:2,\nfile:{neighbour}\n",
        "hls of a server": f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{remote}\n#EXT-X-ENDLIST\n",
        "hls behind spaces": f"  \n#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{remote}\n",
        "dash": f'<?xml version="1.0"?><MPD><Period><BaseURL>{remote}</BaseURL></Period></MPD>',
        "rtsp": f"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\nc=IN IP4 127.0.0.1\r\nm=video {port} RTP/AVP 96\r\n",
        "a list of redirects": f"[Reference]\r\nRef1={remote}\r\n",
        "a playlist of asf": f'<ASX version="3.0"><Entry><Ref href="{remote}"/></Entry></ASX>',
        "an image with a link": f'<svg xmlns:xlink="http://www.w3.org/1999/xlink"><image xlink:href="{remote}"/></svg>',
        "subtitles of a video": f"1\n00:00:00,000 --> 00:00:01,000\n{remote}\n",
    }
    return texts[kind].encode()


KINDS = ["concat", "concat by url", "hls of a file", "hls of a server", "hls behind spaces", "dash", "rtsp"]
KINDS += ["a list of redirects", "a playlist of asf", "an image with a link", "subtitles of a video"]


def test_the_watch_sees_an_open(neighbour: Path, watch: Watch) -> None:
    neighbour.read_bytes()
    assert watch.opened()


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_that_a_file_names_is_reached(
    kind: str, neighbour: Path, watch: Watch, server: socket.socket, tmp_path: Path
) -> None:
    path = tmp_path / "video.mp4"
    path.write_bytes(bait(kind, neighbour, server.getsockname()[1]))
    with pytest.raises(FarmError) as caught:
        probe_source(path, "0" * 64)
    assert caught.value.fault == "input"
    assert not watch.opened()
    with pytest.raises(BlockingIOError):
        server.accept()


def test_data_references_of_a_movie_are_not_followed(neighbour: Path, watch: Watch, tmp_path: Path) -> None:
    path = write_clip(tmp_path / "x.mov", container="mov")
    whole = path.read_bytes()
    entry = whole.index(b"dref") + 12
    length = int.from_bytes(whole[entry : entry + 4], "big")
    assert length == 12
    # The entry "url " with flags 1 (in this file) becomes one that says: elsewhere.
    path.write_bytes(whole[: entry + 8] + b"\x00\x00\x00\x00" + whole[entry + 12 :])
    probe_source(path, "0" * 64)
    assert not watch.opened()
