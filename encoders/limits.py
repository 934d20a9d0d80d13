"""Whether a profile takes a source, and what became of it: pure checks against the profile's limits.

Rule: every refusal says what was found, what is allowed and what the owner can do. Standard library only.
"""

from __future__ import annotations

from encoders.errors import CodecNotAllowed, NoPlayableTrack, TooDamaged, TooLarge, TooLong
from encoders.ladder import Profile
from encoders.media import MediaInfo

LENGTH_TOLERANCE_S = 0.25
"""Cutting tools end at a whole frame or sound packet after the mark; half a beat over the limit is still the limit."""


def check_limits(info: MediaInfo, profile: Profile) -> None:
    """Let a source pass that the profile takes.

    Raises:
        TooLarge, TooLong, CodecNotAllowed, NoPlayableTrack: in this order, the first that holds.
    """
    limits = profile.limits
    if limits.max_bytes is not None and info.size_bytes > limits.max_bytes:
        raise TooLarge(
            f"the file has {info.size_bytes:,} bytes; profile {profile.name} takes up to {limits.max_bytes:,}: "
            "export it at a lower bitrate or cut it"
        )
    if limits.max_duration_s is not None and info.duration_s > limits.max_duration_s + LENGTH_TOLERANCE_S:
        raise TooLong(
            f"the file lasts {float(info.duration_s):.1f} s; profile {profile.name} takes up to "
            f"{limits.max_duration_s:g} s: cut it, or retry with a trim or another profile"
        )
    if limits.containers is not None and not set(info.container.split(",")) & set(limits.containers):
        raise CodecNotAllowed(
            f"the file is a {info.container} container; profile {profile.name} takes {_either(limits.containers)}: "
            "export it in one of these"
        )
    if info.video is None:
        if limits.require_video:
            raise NoPlayableTrack(f"the file has no picture; profile {profile.name} takes videos only")
        return
    if limits.video_codecs is not None and info.video.codec not in limits.video_codecs:
        raise CodecNotAllowed(
            f"the video is {info.video.codec}; profile {profile.name} takes {_either(limits.video_codecs)}: "
            "export it in one of these"
        )


def check_damage(concealed_frames: int, frames: int, profile: Profile) -> None:
    """Let an asset pass that shows enough of its source.

    Args:
        concealed_frames: sum over the asset's segments (`SegmentResult.concealed_frames`).
        frames: of the asset.

    Raises:
        TooDamaged: a larger share is concealed than the profile allows.
    """
    share = concealed_frames / frames
    if share > profile.limits.max_damaged_share:
        raise TooDamaged(
            f"{share:.0%} of the pictures are damaged; profile {profile.name} takes up to "
            f"{profile.limits.max_damaged_share:.0%}: export the video again, or upload the original"
        )


def check_sound_damage(lost_s: float, duration_s: float, profile: Profile) -> None:
    """Let a sound rendition pass of which enough is heard.

    Args:
        lost_s: of the source's sound that does not decode (`AudioResult.lost_s`).
        duration_s: of the rendition.

    Raises:
        TooDamaged: a larger share is lost than the profile allows.
    """
    share = lost_s / duration_s
    if share > profile.limits.max_damaged_share:
        raise TooDamaged(
            f"{share:.0%} of the sound does not decode; profile {profile.name} takes up to "
            f"{profile.limits.max_damaged_share:.0%}: export the video again, or upload the original"
        )


def _either(names: tuple[str, ...]) -> str:
    return " or ".join(names)
