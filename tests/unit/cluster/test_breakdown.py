"""A job as tasks."""

from __future__ import annotations

from fractions import Fraction

from cluster.breakdown import inspect_task, part_of, planned_tasks
from encoders.ladder import AudioSettings, Rendition, StillSettings
from encoders.media import Colour, MediaInfo, VideoTrack
from encoders.plan import AudioRendition, Grid, Plan, Segment
from scheduler.jobs import TaskKind

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


def test_packaging_needs_every_other_task() -> None:
    tasks = planned_tasks("j", plan_of(3, 2), INFO, ("cpu",))
    *others, package = tasks
    assert [task.kind for task in others] == [TaskKind.AUDIO] * 2 + [TaskKind.SEGMENT] * 3
    assert package.kind is TaskKind.PACKAGE
    assert set(package.needs) == {task.task_id for task in others}
    assert all(not task.needs for task in others)


def test_segments_cost_by_pixels_of_all_renditions_and_by_frames() -> None:
    segment = planned_tasks("j", plan_of(1, 0), INFO, ("nvenc",))[0]
    assert segment.cost.pixels == 288 * 144 + 720 * 360
    assert segment.cost.frames == 100
    assert segment.cost.codec == "hevc"
    assert segment.backends == ("nvenc",)
    assert segment.renditions == 2


def test_positions_keep_the_order_of_playback() -> None:
    tasks = planned_tasks("j", plan_of(4, 1), INFO, ("cpu",))
    assert [task.position for task in tasks] == list(range(6))


def test_an_audio_only_source_has_no_segments() -> None:
    tasks = planned_tasks("j", plan_of(0, 1), INFO, ("cpu",))
    assert [task.kind for task in tasks] == [TaskKind.AUDIO, TaskKind.PACKAGE]


def test_the_part_is_read_back_from_the_id() -> None:
    tasks = planned_tasks("j", plan_of(2, 1), INFO, ("cpu",))
    assert [part_of(task.task_id) for task in tasks] == ["audio-0", 0, 1, None]
    assert part_of(inspect_task("j").task_id) is None
