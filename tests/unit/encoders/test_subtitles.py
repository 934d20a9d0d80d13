"""Text tracks become WebVTT on the asset's clock, and nothing but text."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import pytest
from sound_clips import sound_plan

from encoders.plan import Plan, TextRendition
from encoders.subtitles import encode_text, plain_text
from encoders.vtt import Cue, document, escaped, timestamp

SRT = """1
00:00:01,000 --> 00:00:02,500
<i>Hello</i> & <script>alert(1)</script>
second line

2
00:00:04,000 --> 00:00:09,000
{\\an8}Fran\u00e7ais \u4f60\u597d --> 1 < 2

3
00:00:11,000 --> 00:00:12,000
after the end
"""


def text_plan(duration_s: int = 10, origin_s: Fraction = Fraction(0), streams: tuple[int, ...] = (0,)) -> Plan:
    text = tuple(
        TextRendition(name=f"text-{n}", stream=n, language="en", label="English", default=False, forced=False)
        for n in streams
    )
    return replace(sound_plan(Fraction(duration_s), origin_s=origin_s), text=text)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A Matroska file with one SubRip track."""
    (tmp_path / "in.srt").write_text(SRT, encoding="utf-8")
    path = tmp_path / "text.mkv"
    with av.open(str(tmp_path / "in.srt")) as source, av.open(str(path), "w") as out:
        track = out.add_stream_from_template(source.streams.subtitles[0])
        for packet in source.demux(subtitles=0):
            if packet.size:
                packet.stream = track
                out.mux(packet)
    return path


ASS = """[Script Info]
ScriptType: v4.00+
PlayResX: 640
PlayResY: 360

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline,\
 StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding
Style: Default,Arial,20,&H0,&H0,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,1
Style: Sign,Arial,20,&H0,&H0,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,9,10,10,10,1

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
Dialogue: 0,0:00:01.00,0:00:02.00,Default,,0,0,0,,{\\b1}Hello{\\b0}
Dialogue: 0,0:00:03.00,0:00:04.00,Sign,,0,0,0,,EXIT
Dialogue: 0,0:00:05.00,0:00:06.00,Sign,,0,0,0,,{\\an5\\pos(160,90)}STOP
"""


def test_scripts_keep_the_places_of_their_lines(tmp_path: Path) -> None:
    (tmp_path / "in.ass").write_text(ASS.replace("\\\n", ""), encoding="utf-8")
    path = tmp_path / "text.mkv"
    with av.open(str(tmp_path / "in.ass")) as source, av.open(str(path), "w") as out:
        track = out.add_stream_from_template(source.streams.subtitles[0])
        for packet in source.demux(subtitles=0):
            if packet.size:
                packet.stream = track
                out.mux(packet)
    (result,) = encode_text(path, text_plan())
    assert [(cue.text, cue.settings) for cue in result.cues] == [
        ("Hello", ""),
        ("EXIT", "line:0 align:end"),
        ("STOP", "line:25%,center position:25%"),
    ]
    assert "00:00:05.000 --> 00:00:06.000 line:25%,center position:25%\nSTOP" in result.vtt


def test_cues_keep_their_times_and_lose_their_markup(clip: Path) -> None:
    (result,) = encode_text(clip, text_plan())
    assert result.vtt == (
        "WEBVTT\n\n00:00:01.000 --> 00:00:02.500\nHello &amp; alert(1)\nsecond line\n\n"
        "00:00:04.000 --> 00:00:09.000 line:0\nFran\u00e7ais \u4f60\u597d --&gt; 1 &lt; 2\n"
    )
    assert (len(result.cues), result.warnings) == (2, ())


def test_times_are_on_the_asset_s_clock(clip: Path) -> None:
    (result,) = encode_text(clip, text_plan(5, Fraction(3, 2)))
    assert "00:00:00.000 --> 00:00:01.000\nHello" in result.vtt
    assert "00:00:02.500 --> 00:00:05.000 line:0\nFran" in result.vtt


def test_a_plan_without_text_opens_nothing(tmp_path: Path) -> None:
    assert encode_text(tmp_path / "absent.mkv", text_plan(streams=())) == ()


@pytest.mark.parametrize(
    ("dialogue", "text"),
    [
        ("plain", "plain"),
        (r"one\Ntwo\nthree\hfour", "one\ntwo\nthree four"),
        (r"{\i1}slanted{\i0} {\pos(1,2)}placed", "slanted placed"),
        (r"{\p1}m 0 0 l 100 0 100 100{\p0}after", "after"),
        ("<b>bold</b> <font color=red>red</font> <00:01.000>timed", "bold red timed"),
        ("1 < 2 and 3 > 2", "1 < 2 and 3 > 2"),
        ("{not an override}", "{not an override}"),
        (r"{with a word\i1}left out", "left out"),
        (r"{\p1}m 0 0{\i1} l 1 1{\p0}{\p2}m 0 0", ""),
        (r"an end} and {\i no end", r"an end} and {\i no end"),
        # Of those that follow, the first three took hours with patterns that are tried anew at each brace.
        ("{\\p1" * 20_000, ("{\\p1" * 20_000)[:1000]),
        ("{\\p1}{\\p0" * 20_000, ""),
        ("{\\i" * 20_000 + "}seen", "seen"),
        ("{" * 80_000, "{" * 1000),
        ("{a}" * 30_000, ("{a}" * 30_000)[:1000]),
        ("<b>" * 400 + "seen", "seen"),
        ("x" * 5000, "x" * 1000),
    ],
)
def test_dialogue_becomes_plain_text(dialogue: str, text: str) -> None:
    assert plain_text(dialogue) == text


def test_a_document_has_no_empty_cues_and_no_blank_lines_in_them() -> None:
    cues = [
        Cue(start_s=Fraction(0), end_s=Fraction(1), text="a\n\n\x00b\r\n"),
        Cue(start_s=Fraction(1), end_s=Fraction(1), text="no time"),
        Cue(start_s=Fraction(2), end_s=Fraction(3), text=" \n "),
    ]
    assert document(cues, "X: y") == "WEBVTT\nX: y\n\n00:00:00.000 --> 00:00:01.000\na\nb\n"
    assert escaped("-->") == "--&gt;"


def test_timestamps_have_hours_and_milliseconds() -> None:
    assert timestamp(Fraction(37_234_567, 10_000)) == "01:02:03.457"
    assert timestamp(Fraction(0)) == "00:00:00.000"
