"""Limits of a profile: what passes, and what a refusal says."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from encoders.errors import CodecNotAllowed, FarmError, NoPlayableTrack, TooDamaged, TooLarge, TooLong
from encoders.ladder import Profile
from encoders.limits import check_damage, check_limits, check_sound_damage
from encoders.media import AudioTrack, Colour, MediaInfo, VideoTrack
from encoders.profiles.load import load_profile

VIDEO = VideoTrack(
    stream=0,
    codec="h264",
    profile="High",
    width=1280,
    height=720,
    pixel_format="yuv420p",
    bit_depth=8,
    sar=Fraction(1),
    rotation=0,
    mirrored=False,
    colour=Colour(),
    interlaced=False,
    time_base=Fraction(1, 30),
    first_pts=0,
    end_pts=900,
    frame_rate=Fraction(30),
    average_rate=Fraction(30),
    frames=900,
    keyframe_pts=(0,),
)
SOUND = AudioTrack(
    stream=1,
    codec="aac",
    sample_rate=48_000,
    channels=2,
    layout="stereo",
    language=None,
    title=None,
    default=True,
    start_s=Fraction(0),
    end_s=Fraction(30),
)
GOOD = MediaInfo(container="mov,mp4,m4a,3gp,3g2,mj2", size_bytes=10**6, sha256="0" * 64, video=VIDEO, audio=(SOUND,))


@pytest.fixture
def profile() -> Profile:
    return load_profile("nextplay")


def test_what_is_within_all_limits_passes(profile: Profile) -> None:
    check_limits(GOOD, profile)
    check_limits(replace(GOOD, size_bytes=150_000_000), profile)
    check_limits(replace(GOOD, video=replace(VIDEO, codec="hevc", end_pts=906)), profile)


@pytest.mark.parametrize(
    ("bad", "error", "words"),
    [
        (replace(GOOD, size_bytes=150_000_001), TooLarge, ["150,000,001", "150,000,000"]),
        (replace(GOOD, audio=(replace(SOUND, end_s=Fraction(31)),)), TooLong, ["31.0 s", "30 s", "trim"]),
        (replace(GOOD, container="matroska,webm"), CodecNotAllowed, ["matroska", "mp4 or mov"]),
        (replace(GOOD, video=replace(VIDEO, codec="vp9")), CodecNotAllowed, ["vp9", "h264 or hevc"]),
        (replace(GOOD, video=None), NoPlayableTrack, ["no picture"]),
    ],
)
def test_a_refusal_says_what_was_found_and_what_is_taken(
    profile: Profile, bad: MediaInfo, error: type[FarmError], words: list[str]
) -> None:
    with pytest.raises(error) as caught:
        check_limits(bad, profile)
    for word in [*words, "nextplay"]:
        assert word in caught.value.detail


def test_a_profile_without_limits_takes_everything() -> None:
    profile = load_profile("default")
    check_limits(replace(GOOD, container="avi", size_bytes=10**12, video=replace(VIDEO, end_pts=10**9)), profile)
    check_limits(replace(GOOD, video=None), profile)


def test_damage_passes_up_to_the_profiles_share(profile: Profile) -> None:
    check_damage(0, 100, profile)
    check_damage(50, 100, profile)
    with pytest.raises(TooDamaged, match=r"51% of the pictures.*nextplay takes up to 50%"):
        check_damage(51, 100, profile)
    check_sound_damage(5.0, 10.0, profile)
    with pytest.raises(TooDamaged, match=r"51% of the sound.*nextplay takes up to 50%"):
        check_sound_damage(5.1, 10.0, profile)
