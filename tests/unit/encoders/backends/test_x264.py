"""x264's settings: presets and tunings, what is fixed, what changes the encoder's identity."""

from __future__ import annotations

from fractions import Fraction

import pytest

from encoders.backends.x264 import Tuning, tail_frames, tuning_of, x264_identity, x264_options
from encoders.ladder import Rendition
from encoders.plan import Grid

GRID = Grid(fps=Fraction(25), frames=100, origin_s=Fraction(0), gop_frames=50, media_segment_frames=100)


def rendition(short_side: int) -> Rendition:
    return Rendition(
        name=f"{short_side}p",
        width=2 * short_side,
        height=short_side,
        crf=23.5,
        maxrate_bps=1_000_000,
        bufsize_bits=1_500_000,
        mp4=False,
    )


def parameters(tuning: str, short_side: int = 360) -> dict[str, str]:
    text = x264_options(rendition(short_side), GRID, Tuning.parse(tuning), threads=2)["x264-params"]
    return dict(pair.split("=", 1) for pair in text.split(":"))


def test_a_tuning_is_written_as_it_is_read() -> None:
    tuning = Tuning.parse("veryfast:trellis=1:ref=2")
    assert (tuning.base, tuning.options) == ("veryfast", (("trellis", "1"), ("ref", "2")))
    assert str(tuning) == "veryfast:trellis=1:ref=2"
    for wrong in ("", "veryfast:trellis", ":trellis=1"):
        with pytest.raises(ValueError, match="want a preset"):
            Tuning.parse(wrong)


def test_what_segments_need_to_join_cannot_be_tuned_away() -> None:
    found = parameters("veryfast:trellis=1:open-gop=1:keyint=10:scenecut=40:stitchable=0")
    assert found["trellis"] == "1"
    assert (found["open-gop"], found["keyint"], found["min-keyint"]) == ("0", "50", "50")
    assert (found["scenecut"], found["stitchable"]) == ("0", "1")
    assert (found["crf"], found["vbv-maxrate"], found["vbv-bufsize"]) == ("23.5", "1000", "1500")


@pytest.mark.parametrize(
    ("tuning", "references"), [("veryfast", "1"), ("veryfast:ref=3", "3"), ("medium", "3"), ("slower", "4")]
)
def test_references_stay_within_the_level(tuning: str, references: str) -> None:
    assert parameters(tuning)["ref"] == references


def test_the_tail_covers_the_longest_lookahead() -> None:
    assert tail_frames("veryfast", 1) < tail_frames("faster", 1) < tail_frames("veryslow", 1)
    assert tail_frames("veryfast", 4) == tail_frames("veryfast", 1) + 3


def test_stock_presets_mean_themselves_at_every_size() -> None:
    assert {str(tuning_of("faster", rendition(side))) for side in (144, 1080, 2160)} == {"faster"}
    assert x264_identity("faster") != x264_identity("fast")
