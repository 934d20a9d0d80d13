"""Presets and tunings: what a profile may name, and what it means for a rendition."""

from __future__ import annotations

import pytest

from encoders.tuning import OWN_PRESETS, PRESETS, STOCK_PRESETS, Tuning, tuning_of, tunings_of


def test_a_tuning_is_written_as_it_is_read() -> None:
    tuning = Tuning.parse("veryfast:trellis=1:ref=2")
    assert (tuning.base, tuning.options) == ("veryfast", (("trellis", "1"), ("ref", "2")))
    assert str(tuning) == "veryfast:trellis=1:ref=2"


@pytest.mark.parametrize("wrong", ["", "swift", ":trellis=1", "veryfast:trellis", "veryfast:=1", "veryfast:trellis="])
def test_what_x264_does_not_have_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="want"):
        Tuning.parse(wrong)


@pytest.mark.parametrize(
    ("text", "references", "lookahead"),
    [("veryfast", 1, 10), ("veryfast:ref=3:rc-lookahead=25", 3, 25), ("medium", 3, 40), ("veryslow", 4, 60)],
)
def test_references_and_lookahead_are_those_of_the_preset_unless_said_otherwise(
    text: str, references: int, lookahead: int
) -> None:
    tuning = Tuning.parse(text)
    assert (tuning.references, tuning.lookahead_frames) == (references, lookahead)


def test_x264s_presets_mean_themselves_at_every_size() -> None:
    for name in STOCK_PRESETS:
        assert {tuning_of(name, side, side) for side in (2, 480, 4096)} == {Tuning(base=name)}


def test_own_presets_have_a_tuning_for_every_size_and_names_of_their_own() -> None:
    assert not set(OWN_PRESETS) & set(STOCK_PRESETS)
    assert set(PRESETS) == set(OWN_PRESETS) | set(STOCK_PRESETS)
    for name in OWN_PRESETS:
        sides = [longest for longest, _ in tunings_of(name)]
        assert sides == sorted(set(sides))
        # Portrait and landscape get the same.
        assert tuning_of(name, 4096, 2160) == tuning_of(name, 2160, 4096) == tunings_of(name)[-1][1]
        assert tuning_of(name, 256, 144) == tunings_of(name)[0][1]
