"""Text in MP4: samples without holes, cues where they belong."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from encoders.boxes import find_box, find_boxes, read_fragments
from encoders.mux import box
from encoders.vtt import Cue
from encoders.wvtt import NOTHING, text_samples, write_text_track


def cue(start_s: float, end_s: float, text: str) -> Cue:
    return Cue(start_s=Fraction(start_s), end_s=Fraction(end_s), text=text)


def said(*texts: str) -> bytes:
    return b"".join(box(b"vttc", box(b"payl", text.encode())) for text in texts)


def test_samples_change_where_cues_come_and_go() -> None:
    durations, samples = text_samples([cue(1, 4, "a & b"), cue(2, 3, "c"), cue(9, 12, "d")], 0, 10_000)
    assert durations == [1000, 1000, 1000, 1000, 5000, 1000]
    assert samples == [NOTHING, said("a &amp; b"), said("a &amp; b", "c"), said("a &amp; b"), NOTHING, said("d")]


def test_settings_come_before_the_text() -> None:
    above = Cue(start_s=Fraction(0), end_s=Fraction(1), text="a", settings="line:0 align:end")
    _, samples = text_samples([above], 0, 1000)
    assert samples == [box(b"vttc", box(b"sttg", b"line:0 align:end"), box(b"payl", b"a"))]


def test_no_cue_is_one_empty_sample() -> None:
    assert text_samples([], 5000, 8000) == ([3000], [NOTHING])


def test_a_cue_across_a_boundary_is_in_both_media_segments(tmp_path: Path) -> None:
    track = write_text_track("text", "pt-BR", [cue(59, 61, "over")], Fraction(125, 2), tmp_path)
    assert [(piece.start, piece.duration) for piece in track.pieces] == [(0, 60_000), (60_000, 2500)]
    contents = []
    for piece in track.pieces:
        data = (tmp_path / f"{piece.number:05d}.m4s").read_bytes()
        (fragment,) = read_fragments(data)
        contents += [
            (sample.decode_time, data[sample.offset : sample.offset + sample.size]) for sample in fragment.samples
        ]
    assert contents == [(0, NOTHING), (59_000, said("over")), (60_000, said("over")), (61_000, NOTHING)]
    init = (tmp_path / "init.mp4").read_bytes()
    assert b"pt-BR\0" in init
    entry = find_box(init, "moov/trak/mdia/minf/stbl/stsd")
    assert init[entry.body + 8 + 4 : entry.body + 8 + 8] == b"wvtt"
    assert list(find_boxes(init, "moov/mvex/trex"))
