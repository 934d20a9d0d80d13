"""A source and plans of chosen sizes, for tests that need the values and no media."""

from __future__ import annotations

from fractions import Fraction

from encoders.ladder import AudioSettings, Rendition, StillSettings
from encoders.media import Colour, MediaInfo, VideoTrack
from encoders.plan import AudioRendition, Grid, Plan, Segment

INFO = MediaInfo(
    container="mov,mp4",
    size_bytes=1,
    sha256="0" * 64,
    video=VideoTrack(
        stream=0,
        codec="hevc",
        profile=None,
        width=640,
        height=360,
        pixel_format="yuv420p",
        bit_depth=8,
        sar=Fraction(1),
        rotation=0,
        mirrored=False,
        colour=Colour(),
        interlaced=False,
        time_base=Fraction(1, 25),
        first_pts=0,
        end_pts=250,
        frame_rate=Fraction(25),
        average_rate=Fraction(25),
        frames=250,
        keyframe_pts=(0,),
    ),
    audio=(),
)


def plan_of(segments: int, sounds: int) -> Plan:
    grid = Grid(
        fps=Fraction(25), frames=100 * max(1, segments), origin_s=Fraction(0), gop_frames=50, media_segment_frames=100
    )
    return Plan(
        source_sha256="0" * 64,
        profile="default",
        preset="veryfast",
        grid=grid if segments else None,
        renditions=tuple(
            Rendition(name=f"{side}p", width=side * 2, height=side, crf=23, maxrate_bps=9, bufsize_bits=9, mp4=False)
            for side in (144, 360)
        ),
        segments=tuple(Segment(index=i, start=100 * i, end=100 * i + 100, first_media=i) for i in range(segments)),
        audio=tuple(
            AudioRendition(name=f"audio-{i}", stream=i, language=None, label="", default=i == 0) for i in range(sounds)
        ),
        text=(),
        audio_settings=AudioSettings(),
        still_settings=StillSettings(),
        duration_s=Fraction(4 * segments or 10),
        origin_s=Fraction(0),
        encoder="x",
        asset_key="k",
    )
