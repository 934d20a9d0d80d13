"""Profiles: the farm's own are valid; a mistake in an operator's is named with file, key and what was expected."""

from __future__ import annotations

from pathlib import Path

import pytest

from encoders.errors import Fault
from encoders.profiles.load import ProfileInvalid, load_profile, profile_names

GOOD = """
name: mine
description: one rung
rungs: [{ name: 240p, short_side: 240, crf: 23, maxrate_bps: 400_000, bufsize_bits: 400_000 }]
"""


def test_default_is_the_whole_ladder_for_any_video() -> None:
    profile = load_profile("default")
    assert [rung.short_side for rung in profile.rungs] == [144, 240, 360, 480, 720, 1080]
    assert [rung.name for rung in profile.rungs if rung.mp4] == ["360p", "720p"]
    assert profile.limits.max_duration_s is None
    assert profile.limits.video_codecs is None


def test_nextplay_is_what_the_app_was_promised() -> None:
    profile = load_profile("nextplay")
    assert {rung.name: rung.maxrate_bps for rung in profile.rungs} == {
        "240p": 400_000,
        "480p": 1_000_000,
        "720p": 2_500_000,
    }
    assert all(rung.mp4 for rung in profile.rungs)
    assert profile.limits.max_duration_s == 30
    assert profile.limits.max_bytes == 150_000_000
    assert profile.limits.video_codecs == ("h264", "hevc")
    assert profile.limits.content_types == ("video/mp4", "video/quicktime")
    assert profile.limits.require_video
    assert (profile.video.gop_s, profile.video.media_segment_s) == (2, 6)


def test_efficient_offers_every_codec_a_ladder_and_everyone_h264() -> None:
    profile = load_profile("efficient")
    sides = {codec: [rung.short_side for rung in profile.rungs if rung.codec == codec] for codec in profile.codecs}
    assert sides == {"h264": [240, 360, 480, 720], "hevc": [360, 720, 1080], "av1": [360, 720, 1080]}
    assert {rung.codec for rung in profile.rungs if rung.mp4} == {"h264"}
    for rung in profile.rungs:
        caps = [each.maxrate_bps for each in profile.rungs if each.short_side == rung.short_side]
        assert caps == sorted(caps, reverse=True), "a better codec gets less"


def test_names_hold_the_farms_and_the_operators(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(GOOD)
    assert profile_names(tmp_path) == ("default", "efficient", "mine", "nextplay")
    assert load_profile("mine", tmp_path).rungs[0].maxrate_bps == 400_000


def test_an_operators_profile_replaces_the_farms(tmp_path: Path) -> None:
    (tmp_path / "default.yaml").write_text(GOOD.replace("mine", "default"))
    assert len(load_profile("default", tmp_path).rungs) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("crf: 23", "crf: 23, preset: fast"), ["mine.yaml", "rungs.0.preset", "no known key", "short_side"]),
        (("crf: 23", "crf: high"), ["mine.yaml", "rungs.0.crf", "number", "'high'"]),
        (("description", "descripton"), ["mine.yaml", "descripton", "no known key", "description"]),
        (("short_side: 240", "short_side: 241"), ["mine.yaml", "rungs.0", "even"]),
        (("bufsize_bits: 400_000", "bufsize_bits: 900_000"), ["mine.yaml", "bufsize_bits", "2 x maxrate_bps"]),
        (("name: mine", "name: yours"), ["mine.yaml", "'yours'", "'mine'"]),
        (("rungs:", "limits: { max_length: 3 }\nrungs:"), ["mine.yaml", "limits.max_length", "max_duration_s"]),
        (("rungs:", "video: { gop_s: 0 }\nrungs:"), ["mine.yaml", "video", "gop_s"]),
        (("rungs:", "video: { preset: swift }\nrungs:"), ["mine.yaml", "video", "'swift'", "standard", "veryslow"]),
        (("description: one rung", ""), ["mine.yaml", "description", "required"]),
        (("rungs: [", "rungs: [["), ["mine.yaml", "YAML"]),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, change: tuple[str, str], words: list[str]) -> None:
    (tmp_path / "mine.yaml").write_text(GOOD.replace(*change))
    with pytest.raises(ProfileInvalid) as caught:
        load_profile("mine", tmp_path)
    for word in words:
        assert word in caught.value.detail
    assert caught.value.fault is Fault.CALLER


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(ProfileInvalid, match="default, efficient, nextplay"):
        load_profile("nope")
