"""Descriptions of sources for tests of planning: a plain one, to be changed by `dataclasses.replace`."""

from __future__ import annotations

from fractions import Fraction

from encoders.media import AudioTrack, Colour, MediaInfo, VideoTrack


def video(fps: Fraction = Fraction(30), frames: int = 300, **changes: object) -> VideoTrack:
    """A 1920x1080 track of constant rate from time 0, one tick a frame, a key frame each second."""
    values: dict[str, object] = {
        "stream": 0,
        "codec": "h264",
        "profile": "High",
        "width": 1920,
        "height": 1080,
        "pixel_format": "yuv420p",
        "bit_depth": 8,
        "sar": Fraction(1),
        "rotation": 0,
        "mirrored": False,
        "colour": Colour(),
        "interlaced": False,
        "time_base": 1 / fps,
        "first_pts": 0,
        "end_pts": frames,
        "frame_rate": fps,
        "average_rate": fps,
        "frames": frames,
        "keyframe_pts": tuple(range(0, frames, max(1, round(fps)))),
    }
    return VideoTrack(**(values | changes))  # type: ignore[arg-type]


def audio(start_s: Fraction = Fraction(0), end_s: Fraction = Fraction(10), **changes: object) -> AudioTrack:
    """An AAC track."""
    values: dict[str, object] = {
        "stream": 1,
        "codec": "aac",
        "sample_rate": 48_000,
        "channels": 2,
        "layout": "stereo",
        "language": None,
        "title": None,
        "default": False,
        "start_s": start_s,
        "end_s": end_s,
    }
    return AudioTrack(**(values | changes))  # type: ignore[arg-type]


def source(picture: VideoTrack | None, *sound: AudioTrack, **changes: object) -> MediaInfo:
    """A source of these tracks."""
    values: dict[str, object] = {
        "container": "mov,mp4,m4a,3gp,3g2,mj2",
        "size_bytes": 1_000_000,
        "sha256": "ab" * 32,
        "video": picture,
        "audio": sound,
    }
    return MediaInfo(**(values | changes))  # type: ignore[arg-type]
