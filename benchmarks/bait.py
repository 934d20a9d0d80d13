"""What hostile files name, laid where a worker would find it and watched: nobody may open it, nobody may connect.

Three kinds of proof, none of which needs rights or trusts what is tested:
    neighbours   a copy of every file that a playlist of the folder names: beside the staged source on the node, where
                 the name leads, and beside the playlist that is uploaded
    a secret     a file that playlists made here name by its absolute path
    ports        every loopback port that a file names, and one more that playlists made here name
Opens are counted by inotify, connections by accepting them.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import selectors
import shutil
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from cluster import layout
from cluster.staging import Staging
from gateway.upload_book import OpenUpload, UploadBook

IN_OPEN, IN_Q_OVERFLOW = 0x20, 0x4000
"""Source: linux/inotify.h."""
EVENT = struct.Struct("iIII")
READ_BYTES = 1 << 20
"""Of a file, how much is searched for names: playlists are short."""
PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"<MPD", b"[playlist]", b"<ASX", b"<smil")
PORTS = re.compile(rb"(?:https?|rtsp|rtmp|tcp|udp|ftp)://(?:127\.0\.0\.1|localhost|\[::1\]):(\d{2,5})")
NAMES = re.compile(
    r"""(?:^\s*file\s+|URI=|href=|src=|^(?!\s*#))['"]?([\w][\w.@()-]*\.\w{1,5})['"]?\s*$""",
    re.MULTILINE | re.IGNORECASE,
)
"""Relative names in playlists: an ffconcat's `file x`, an attribute, or a line of its own."""


def ports_named(path: Path) -> set[int]:
    """Loopback ports that a file names, wherever in its first megabyte."""
    return {port for each in PORTS.findall(_head(path)) if 0 < (port := int(each)) < 65536}


def neighbours_named(path: Path) -> set[str]:
    """Files beside it that a playlist names; nothing for what holds none."""
    head = _head(path)
    starts = [at for magic in PLAYLISTS if (at := head.find(magic)) >= 0]
    if not starts:
        return set()
    return set(NAMES.findall(head[min(starts) :].decode("latin-1").replace("\r", "\n")))


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(READ_BYTES)


class Opens:
    """Counts how often files are opened from now on, by whichever process."""

    def __init__(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._add = libc.inotify_add_watch
        self._fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        self._paths: dict[int, Path] = {}
        self._seen: Counter[Path] = Counter()

    def watch(self, path: Path) -> None:
        """Watch one file more.

        Raises:
            OSError: the kernel refuses.
        """
        number = self._add(self._fd, os.fsencode(path), IN_OPEN)
        if number < 0:
            raise OSError(ctypes.get_errno(), "inotify_add_watch", str(path))
        self._paths[number] = path

    @property
    def watched(self) -> int:
        """Files under watch so far."""
        return len(self._paths)

    def seen(self) -> Counter[Path]:
        """Opens of each file since its watch began.

        Raises:
            OverflowError: the kernel dropped events; nothing is proven then.
        """
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._fd, 1 << 16):
                at = 0
                while at < len(data):
                    number, mask, _, length = EVENT.unpack_from(data, at)
                    at += EVENT.size + length
                    if mask & IN_Q_OVERFLOW:
                        raise OverflowError("the kernel has dropped inotify events")
                    if mask & IN_OPEN:
                        self._seen[self._paths[number]] += 1
        return self._seen

    def close(self) -> None:
        """Stop watching."""
        os.close(self._fd)


class Listeners:
    """Listens on loopback ports and counts who connects. A context manager."""

    def __init__(self, ports: Iterable[int]) -> None:
        """Args: ports: to listen on; those that another process holds end in `refused`. One of its own is added."""
        self.refused: list[int] = []
        self.connections: Counter[int] = Counter()
        self._selector = selectors.DefaultSelector()
        self._closing = threading.Event()
        self.own_port = self._listen(0)
        for port in sorted(set(ports)):
            try:
                self._listen(port)
            except OSError:
                self.refused.append(port)
        self._thread = threading.Thread(target=self._serve, name="bait-ports", daemon=True)
        self._thread.start()

    def _listen(self, port: int) -> int:
        listening = socket.create_server(("127.0.0.1", port))
        listening.setblocking(False)
        self._selector.register(listening, selectors.EVENT_READ)
        return int(listening.getsockname()[1])

    @property
    def ports(self) -> list[int]:
        """The ports that are listened on."""
        return sorted(key.fileobj.getsockname()[1] for key in self._selector.get_map().values())  # type: ignore[union-attr]

    def _serve(self) -> None:
        while not self._closing.is_set():
            for key, _ in self._selector.select(0.1):
                assert isinstance(key.fileobj, socket.socket)
                with contextlib.suppress(OSError):
                    connection, _ = key.fileobj.accept()
                    connection.close()
                    self.connections[key.fileobj.getsockname()[1]] += 1

    def __enter__(self) -> Listeners:
        return self

    def __exit__(self, *exc: object) -> None:
        self._closing.set()
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._selector.close()


class BaitBook(UploadBook):
    """Lays the neighbours that a source names beside where a node will stage it, as soon as its video has an id.

    That is the moment in which a client notes a new session in its book: before a byte is sent, so before any worker.
    """

    def __init__(self, folder: Path, staging: Staging, opens: Opens, originals: Path, names: Iterable[str]) -> None:
        """
        Args:
            folder: of the book.
            staging: of the only node.
            originals: folder with what the neighbours hold, itself not watched; a name that it lacks gets a copy of
                the smallest of its files.
            names: of the neighbours that the source names.
        """
        super().__init__(folder)
        self._staging, self._opens, self._originals, self._names = staging, opens, originals, sorted(names)

    def put(self, key: str, upload: OpenUpload) -> None:
        """See `UploadBook`."""
        beside = self._staging.entry_of(layout.source_key(upload.video_id))
        if self._names:
            beside.mkdir(parents=True, exist_ok=True)
        for name in self._names:
            original = self._originals / name
            if not original.is_file():
                files = [path for path in self._originals.iterdir() if path.is_file() and path.stat().st_size]
                original = min(files, key=lambda path: path.stat().st_size)
            shutil.copyfile(original, beside / name)
            self._opens.watch(beside / name)
        super().put(key, upload)


def made_bait(folder: Path, secret: Path, port: int) -> Iterator[Path]:
    """Playlists of the usual kinds, each posing as a video, that name a file by its absolute path and a server."""
    remote = f"http://127.0.0.1:{port}/bait.ts"
    texts = {
        "concat": f"ffconcat version 1.0\nfile '{secret}'\nfile '{remote}'\n",
        "hls": "#EXTM3U\n" + "".join(f"#EXTINF:2,\n{each}\n" for each in (secret, f"file:{secret}", remote)),
        "dash": f'<?xml version="1.0"?><MPD><Period><BaseURL>{remote}</BaseURL></Period></MPD>',
        "rtsp": f"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\nc=IN IP4 127.0.0.1\r\nm=video {port} RTP/AVP 96\r\n",
        "asx": f'<ASX version="3.0"><Entry><Ref href="{remote}"/></Entry></ASX>',
    }
    folder.mkdir(parents=True, exist_ok=True)
    for kind, text in texts.items():
        path = folder / f"made_{kind}_as.mp4"
        path.write_text(text)
        yield path
