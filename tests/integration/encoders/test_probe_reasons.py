"""Reasons that only a file's own header knows: protection, and codecs that are not known here."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
from clips import write_clip

from encoders.containers.moov import sample_descriptions
from encoders.errors import Encrypted, NoPlayableTrack
from encoders.probe import probe_source


def renamed(path: Path, *codes: tuple[bytes, bytes]) -> Path:
    """The file with four-character codes of its sample descriptions changed."""
    data = path.read_bytes()
    for old, new in codes:
        at = data.index(b"stsd")
        data = data[:at] + data[at:].replace(old, new)
    path.write_bytes(data)
    return path


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "clip.mp4", container="mp4", sound_start_s=Fraction(0))


def test_codes_are_read_by_track(clip: Path) -> None:
    assert sorted(sample_descriptions(clip).values()) == ["avc1", "mp4a"]


@pytest.mark.parametrize("codes", [[(b"avc1", b"drmi"), (b"mp4a", b"drms")], [(b"mp4a", b"drms")]])
def test_bought_films_and_music_are_said_to_be_protected(clip: Path, codes: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(Encrypted, match="FairPlay"):
        probe_source(renamed(clip, *codes), "0" * 64)


def test_a_picture_of_an_unknown_codec_is_named(clip: Path) -> None:
    with pytest.raises(NoPlayableTrack, match=r"picture track \(zz01\)"):
        probe_source(renamed(clip, (b"avc1", b"zz01")), "0" * 64)


def test_sound_of_an_unknown_codec_is_named(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", container="mp4", times=(), sound_start_s=Fraction(0))
    with pytest.raises(NoPlayableTrack, match=r"no picture, and its sound \(mhm1\)"):
        probe_source(renamed(clip, (b"mp4a", b"mhm1"), (b"esds", b"free")), "0" * 64)


@pytest.mark.parametrize("kept", [0, 8, 40, 200, 400])
def test_a_header_cut_short_says_what_it_holds(clip: Path, kept: int) -> None:
    data = clip.read_bytes()
    at = data.index(b"moov") - 4
    clip.write_bytes(data[:at] + (8 + kept).to_bytes(4, "big") + b"moov" + data[at + 8 : at + 8 + kept])
    assert sample_descriptions(clip) == {}
