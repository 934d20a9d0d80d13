"""Text in Matroska that FFmpeg has no name for."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from test_subtitles import text_plan

from encoders.containers.ebml import WEBVTT, codec_ids
from encoders.demux import open_source
from encoders.sidetracks import read_subtitles
from encoders.subtitles import encode_text


def element(kind: str, *parts: bytes) -> bytes:
    """An EBML element with a size of eight bytes."""
    body = b"".join(parts)
    return bytes.fromhex(kind) + (1 << 56 | len(body)).to_bytes(8, "big") + body


def cue(at_ms: int, duration_ms: int, text: str, beside: str = "") -> bytes:
    block = element("a1", b"\x81" + at_ms.to_bytes(2, "big") + b"\0" + text.encode())
    more = element("75a1", element("a6", element("ee", b"\1"), element("a5", beside.encode()))) if beside else b""
    return element("a0", block, element("9b", duration_ms.to_bytes(2, "big")), more)


def write_text(path: Path, codec: str) -> Path:
    """A Matroska file with one track of text, as mkvmerge writes WebVTT."""
    entry = element("ae", *(element(kind, b"\1") for kind in ("d7", "73c5")), element("83", b"\x11"))
    entry = element("ae", entry[9:], element("86", codec.encode()))
    cues = cue(1000, 500, "Tom &amp; <b>Jerry</b>", "line:0 align:end region:x\nname\n") + cue(2000, 500, "below")
    path.write_bytes(
        element("1a45dfa3", element("4282", b"matroska"), element("4287", b"\4"), element("4285", b"\2"))
        + element(
            "18538067",
            element("1549a966", element("2ad7b1", (1_000_000).to_bytes(3, "big"))),
            element("1654ae6b", entry),
            element("1f43b675", element("e7", b"\0"), cues),
        )
    )
    return path


def test_webvtt_of_mkvmerge_is_read(tmp_path: Path) -> None:
    path, warnings = write_text(tmp_path / "x.mkv", WEBVTT), list[str]()
    assert codec_ids(path) == [WEBVTT]
    with open_source(path) as container:
        [track] = read_subtitles(path, container, warnings)
    assert (track.codec, warnings) == ("webvtt", [])
    (result,) = encode_text(path, text_plan(duration_s=4))
    assert [(cue.start_s, cue.end_s, cue.text, cue.settings) for cue in result.cues] == [
        (Fraction(1), Fraction(3, 2), "Tom & Jerry", "line:0 align:end"),
        (Fraction(2), Fraction(5, 2), "below", ""),
    ]


def test_other_text_is_named(tmp_path: Path) -> None:
    path, warnings = write_text(tmp_path / "x.mkv", "S_TEXT/USF"), list[str]()
    with open_source(path) as container:
        assert read_subtitles(path, container, warnings) == ()
    assert warnings == ["Subtitle track 0 (S_TEXT/USF) has a format that is not known here; it was left out."]


def test_what_is_no_matroska_has_no_codecs(tmp_path: Path) -> None:
    path = tmp_path / "x"
    for content in (b"", b"\0" * 50, b"\x1a", b"\x1a\x45\xdf\xa3\xff", element("18538067", b"\xae\xff" * 40)):
        path.write_bytes(content)
        assert codec_ids(path) == []
