"""Closed captions within pictures become text renditions: found by the probe, read in the order of display."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest
from caption_clips import (
    ERASE,
    NEW_LINE,
    POP_ON,
    ROLL_UP_2,
    ROW_15,
    SHOW,
    odd,
    spread,
    twice,
    write_captioned,
)

from encoders.captions import OWN_TRACK, CaptionTrack
from encoders.media import MediaInfo
from encoders.plan import Plan, plan_asset
from encoders.probe import probe_source
from encoders.profiles.load import load_profile
from encoders.remux import NAME, mend_source
from encoders.scan import codec_name
from encoders.subtitles import encode_text

FRAME = Fraction(1, 30)
HELLO = spread([*twice(POP_ON, ROW_15), *odd("HELLO <b>"), *twice(SHOW)], 3) | spread(twice(ERASE), 60)
"""Shown by the picture that carries SHOW for the first time: 3 + 4 + 5."""
SHOWN, GONE = 12, 60


def planned(path: Path) -> Plan:
    return laid_out(probe_source(path, "0" * 64))


def laid_out(info: MediaInfo) -> Plan:
    return plan_asset(info, load_profile("default"), 2, "x264")


@pytest.mark.parametrize(("codec", "suffix"), [("libx264", "ts"), ("libx264", "mkv"), ("mpeg2video", "ts")])
def test_captions_are_shown_when_the_source_shows_them(tmp_path: Path, codec: str, suffix: str) -> None:
    clip = write_captioned(tmp_path / f"clip.{suffix}", {1: HELLO}, codec)
    plan = planned(clip)
    assert [(each.name, each.label, each.captions) for each in plan.text] == [("text", "Closed captions", 1)]
    (result,) = encode_text(clip, plan, captions=True)
    (cue,) = result.cues
    assert cue.text.strip() == "HELLO"
    assert abs(cue.start_s - SHOWN * FRAME) < Fraction(2, 1000)
    assert abs(cue.end_s - GONE * FRAME) < Fraction(2, 1000)
    assert cue.settings.startswith("line:8"), "row 15 of 15, as a share of the picture's height"
    assert result.warnings == ()
    assert encode_text(clip, plan) == ()


def test_each_field_is_a_track_and_what_is_never_erased_ends_with_the_asset(tmp_path: Path) -> None:
    second = spread([*twice(ROLL_UP_2, NEW_LINE, ROW_15), *odd("HOLA")], 9)
    clip = write_captioned(tmp_path / "clip.ts", {1: HELLO, 2: second})
    plan = planned(clip)
    assert [each.label for each in plan.text] == ["Closed captions", "Closed captions (CC3)"]
    hello, hola = encode_text(clip, plan, captions=True)
    assert [cue.text.strip() for cue in hello.cues] == ["HELLO"]
    assert [cue.text.strip() for cue in hola.cues] == ["HOLA"]
    assert hola.cues[-1].end_s == plan.duration_s


def test_padding_and_programme_data_are_no_captions(tmp_path: Path) -> None:
    programme = spread([b"\x01\x83", *odd("NEWS AT NINE"), b"\x8f\x1a"], 5)
    clip = write_captioned(tmp_path / "clip.ts", {1: {}, 2: programme})
    assert planned(clip).text == ()


def test_recordings_joined_byte_by_byte_keep_the_captions_of_both(tmp_path: Path) -> None:
    clip = write_captioned(tmp_path / "clip.ts", {1: HELLO})
    joined = tmp_path / "joined.ts"
    joined.write_bytes(clip.read_bytes() * 2)
    info = mend_source(joined, tmp_path, probe_source(joined, "0" * 64))
    (result,) = encode_text(tmp_path / NAME, laid_out(info), captions=True)
    assert [cue.text.strip() for cue in result.cues] == ["HELLO", "HELLO"]
    first, second = result.cues
    assert abs(second.start_s - first.start_s - 3) < 2 * FRAME


def test_a_track_of_captions_alone_is_read_too(tmp_path: Path) -> None:
    """As SCC, the one container with such a track that FFmpeg writes here; QuickTime's has the same packets."""
    rows = "\n\n".join(f"00:00:00:{at:02d}\t{pair.hex()}" for at, pair in sorted(HELLO.items()) if at < 30)
    (tmp_path / "text.scc").write_text(f"Scenarist_SCC V1.0\n\n{rows}\n\n00:00:02:00\t942c 942c\n")
    with av.open(str(tmp_path / "text.scc")) as source:
        stream = source.streams[0]
        assert codec_name(stream) == OWN_TRACK
        track = CaptionTrack(1, OWN_TRACK)
        for packet in source.demux(stream):
            track.add(packet)
    ((start_s, end_s, text),) = track.lines(Fraction(10))
    assert "HELLO" in text
    assert float(start_s) == pytest.approx(SHOWN / 30, abs=0.01)
    assert float(end_s) == pytest.approx(2.0, abs=0.01)
