"""What is refused by its first bytes, and what a refused file is told to be."""

from __future__ import annotations

from pathlib import Path

import pytest

from encoders.demux import looks_like, open_source, refuse_text
from encoders.errors import Damaged, FarmError, ForbiddenFormat, NotAVideo

SCRIPTS = {
    "ffconcat": b"ffconcat version 1.0\nfile neighbour.mp4\n",
    "ffconcat after a mark": b"\xef\xbb\xbfffconcat version 1.0\n",
    "hls": b"#EXTM3U\n#EXT-X-VERSION:3\n#EXTINF:1,\nhttp://127.0.0.1/x.ts\n",
    "hls after lines": b"\n\n #EXTM3U\n",
    "dash": b'<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"></MPD>',
    "bare dash": b"<MPD></MPD>",
    "smooth": b"<?xml version='1.0'?><SmoothStreamingMedia/>",
    "sdp": b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\n",
}


@pytest.mark.parametrize("content", SCRIPTS.values(), ids=SCRIPTS.keys())
def test_what_names_other_files_is_refused_by_content(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    path.write_bytes(content)
    with pytest.raises(ForbiddenFormat, match="none was opened"):
        open_source(path)


@pytest.mark.parametrize("head", [b"\x00\x00\x00\x18ftypisom", b"\x1aE\xdf\xa3", b"<svg>", b"", b"v=00"])
def test_other_beginnings_pass(head: bytes) -> None:
    refuse_text(head)


NOT_MEDIA: dict[str, tuple[bytes, type[FarmError], str]] = {
    "empty": (b"", NotAVideo, "is empty"),
    "jpeg": (b"\xff\xd8\xff\xe0" + bytes(100), NotAVideo, "JPEG"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(100), NotAVideo, "PNG"),
    "webp": (b"RIFF\x10\0\0\0WEBPVP8 " + bytes(100), NotAVideo, "WebP"),
    "heic": (b"\x00\x00\x00\x18ftypheic\0\0\0\0mif1heic", NotAVideo, "HEIF"),
    "zip": (b"PK\x03\x04" + bytes(100), NotAVideo, "ZIP"),
    "page": (b"  <!doctype html><html>", NotAVideo, "web page"),
    "script": (b"#!/bin/sh\nexit 0\n", NotAVideo, "script"),
    "noise": (bytes(range(256)) * 20, NotAVideo, "no media file"),
    "mp4 without an index": (b"\x00\x00\x00\x18ftypisom\0\0\0\0isommp42" + bytes(64), Damaged, "index is missing"),
    "one segment of a stream": (b"\x00\x00\x00\x08styp\x00\x00\x00\x08moof" + bytes(64), Damaged, "piece of a stream"),
    "mkv without anything": (b"\x1aE\xdf\xa3" + bytes(200), Damaged, "index is missing"),
}


@pytest.mark.parametrize(("content", "error", "words"), NOT_MEDIA.values(), ids=NOT_MEDIA.keys())
def test_what_is_no_video_is_told_what_it_looks_like(
    content: bytes, error: type[FarmError], words: str, tmp_path: Path
) -> None:
    path = tmp_path / "-x.mp4"
    path.write_bytes(content)
    with pytest.raises(error, match=words):
        open_source(path)


def test_unknown_bytes_look_like_nothing() -> None:
    assert looks_like(b"\x00\x01\x02\x03") is None
