"""Where a source is cut into segments. Pure; standard library only."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from fractions import Fraction
from math import floor

from encoders.media import VideoTrack

_MODERN = "h264 hevc vvc av1 vp8 vp9 theora"
_OLDER = "mpeg1video mpeg2video mpeg4 h263 flv1 msmpeg4v1 msmpeg4v2 msmpeg4v3 wmv1 wmv2 wmv3 vc1"
_INTRA = "mjpeg prores dnxhd dvvideo ffv1 huffyuv ffvhuff utvideo jpeg2000 cfhd rawvideo v210 png"
RESTARTABLE = frozenset(f"{_MODERN} {_OLDER} {_INTRA}".split())
"""Codecs (FFmpeg's names) whose key frames owe nothing to what came before. Of the others, old ones mostly, some keep
tables over key frames (Cinepak), and every segment is decoded from the start of the file."""

REACH = 10
"""Frames that are decoded in the time in which one is decoded, scaled, encoded in all renditions and checked, at least.
Measured: a 720p film takes 43 ms a frame for its ladder, and 2 to 3 ms to decode."""


def worth_their_reach(shares: Sequence[int], media_frames: int, starts: Sequence[int]) -> list[int]:
    """Join segments until each is worth what must be decoded before it.

    Recordings of browsers and games, and films of one colour, may have one key frame at their beginning and no other:
    segments of equal length would decode half of the source each on average, so that ten times the length would cost
    a hundred times as much. These ones grow with the distance, up to the next key frame.

    Args:
        shares: media segments of each segment.
        media_frames: output frames of a media segment.
        starts: output frames at which decoding can start, ascending; from the first one at the latest.
    """
    joined: list[int] = []
    first = end = 0
    for share in shares:
        before = bisect_right(starts, first) - 1
        reach = first - (starts[before] if before >= 0 else 0)
        if joined and (end - first) * REACH < reach and bisect_right(starts, end) - 1 == before:
            joined[-1] += share
        else:
            joined.append(share)
            first = end
        end += share * media_frames
    return joined


def decoding_starts(video: VideoTrack, origin_s: Fraction, fps: Fraction) -> tuple[int, ...]:
    """Output frames at which decoding can start, ascending; empty where it cannot but at the file's beginning.

    Args:
        origin_s, fps: of the output's grid.
    """
    if video.codec not in RESTARTABLE:
        return ()
    return tuple(floor((pts * video.time_base - origin_s) * fps) for pts in video.keyframe_pts)
