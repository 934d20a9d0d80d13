"""A job as tasks."""

from __future__ import annotations

from planned import INFO, plan_of

from cluster.breakdown import inspect_task, part_of, planned_tasks, switch_encoder
from scheduler.jobs import TaskKind


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


def test_another_encoder_means_other_keys_and_always_the_same_ones() -> None:
    plan = plan_of(2, 1)
    switched = switch_encoder(plan, "x264")
    assert switched.asset_key != plan.asset_key
    assert switched == switch_encoder(plan, "x264")
    assert (switched.segments, switched.audio) == (plan.segments, plan.audio)
