"""x264's settings: what is fixed, what a tuning changes, what changes the encoder's identity."""

from __future__ import annotations

from fractions import Fraction

import pytest

from encoders import tuning as tunings
from encoders.backends.x264 import tail_frames, x264_identity, x264_options
from encoders.ladder import Rendition
from encoders.plan import Grid
from encoders.tuning import ANY_SIDE, Tuning

GRID = Grid(fps=Fraction(25), frames=100, origin_s=Fraction(0), gop_frames=50, media_segment_frames=100)
RENDITION = Rendition(
    name="360p", width=640, height=360, crf=23.5, maxrate_bps=1_000_000, bufsize_bits=1_500_000, mp4=False
)


def parameters(text: str) -> dict[str, str]:
    options = x264_options(RENDITION, GRID, Tuning.parse(text), threads=2)
    assert options["preset"] == text.split(":")[0]
    return dict(pair.split("=", 1) for pair in options["x264-params"].split(":"))


def test_what_segments_need_to_join_cannot_be_tuned_away() -> None:
    found = parameters("veryfast:trellis=1:open-gop=1:keyint=10:scenecut=40:stitchable=0")
    assert found["trellis"] == "1"
    assert (found["open-gop"], found["keyint"], found["min-keyint"]) == ("0", "50", "50")
    assert (found["scenecut"], found["stitchable"]) == ("0", "1")
    assert (found["crf"], found["vbv-maxrate"], found["vbv-bufsize"]) == ("23.5", "1000", "1500")
    assert found["threads"] == "2"


def test_references_stay_within_the_level() -> None:
    assert parameters("veryfast")["ref"] == "1"
    assert parameters("veryslow")["ref"] == "4"
    assert parameters("veryfast:ref=9")["ref"] == "4"


def test_the_tail_covers_the_longest_lookahead_of_all_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tail_frames("veryfast", 1) < tail_frames("faster", 1) < tail_frames("veryslow", 1)
    assert tail_frames("veryfast", 4) == tail_frames("veryfast", 1) + 3
    mixed = ((480, Tuning.parse("faster")), (ANY_SIDE, Tuning.parse("veryfast")))
    monkeypatch.setitem(tunings.OWN_PRESETS, "mixed", mixed)
    assert tail_frames("mixed", 1) == tail_frames("faster", 1)


def test_the_identity_changes_with_what_a_preset_means(monkeypatch: pytest.MonkeyPatch) -> None:
    assert x264_identity("faster") != x264_identity("fast")
    before = x264_identity("standard")
    assert before == x264_identity("standard")
    monkeypatch.setitem(tunings.OWN_PRESETS, "standard", ((ANY_SIDE, Tuning.parse("veryfast:trellis=2")),))
    assert x264_identity("standard") != before
