"""A job as tasks."""

from __future__ import annotations

from dataclasses import replace

import pytest
from planned import INFO, plan_of

from cluster.breakdown import (
    inspect_task,
    inspecting_backend,
    note_fall_back,
    part_of,
    plan_for,
    planned_tasks,
    switch_encoder,
)
from encoders.ladder import Codec
from scheduler.instructions import FellBack
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


@pytest.mark.parametrize(
    ("gpu", "offered", "backend"),
    [
        ("prefer", {"cpu", "hybrid"}, "hybrid"),
        ("require", {"cpu", "nvenc"}, "nvenc"),
        ("never", {"cpu", "nvenc"}, "cpu"),
        ("prefer", set(), "cpu"),
    ],
)
def test_a_plan_is_made_for_the_best_encoder_that_the_job_may_use(gpu: str, offered: set[str], backend: str) -> None:
    assert inspecting_backend(gpu, offered) == backend


@pytest.mark.parametrize(
    ("made_for", "before", "encoder", "changes"),
    [
        ("x264-165", None, "x264", False),
        ("nvenc-2.2.4", None, "nvenc", False),
        ("x264-165", None, "nvenc", True),
        ("nvenc-2.2.4", None, "x264", True),
        ("nvenc-2.2.4", "nvenc", "x264", True),
        ("nvenc-2.2.4 -> x264", None, "x264", False),
        ("nvenc-2.2.4 -> x264", "x264", "x264", False),
        ("x264-165", None, None, False),
    ],
)
def test_keys_are_those_of_the_encoder_that_the_segments_really_come_from(
    made_for: str, before: str | None, encoder: str | None, changes: bool
) -> None:
    plan = replace(plan_of(2, 1), encoder=made_for)
    assert (plan_for(plan, before, encoder).asset_key != plan.asset_key) is changes


def test_a_fall_back_is_noted_once_and_changes_no_key() -> None:
    plan = plan_of(2, 1)
    fell = FellBack(job_id="j", given_up="nvenc", to="cpu", reason="gpu_device_fault", detail="")
    noted = note_fall_back(plan, fell)
    assert noted.notes == ("encoded with cpu where nvenc was begun: gpu_device_fault",)
    assert note_fall_back(noted, fell) == noted
    assert noted.asset_key == plan.asset_key
    assert switch_encoder(noted, "x264").notes == noted.notes


def test_what_other_codecs_than_h264_cost_is_learned_apart() -> None:
    plan = plan_of(1, 0)
    coded = replace(plan, renditions=tuple(replace(each, codec=Codec.AV1) for each in plan.renditions))
    assert planned_tasks("j", coded, INFO, ("cpu",))[0].cost.preset == f"{plan.preset}+av1"
    assert planned_tasks("j", plan, INFO, ("cpu",))[0].cost.preset == plan.preset


def test_segments_take_memory_by_their_renditions_and_nothing_else_is_counted() -> None:
    plan = plan_of(1, 1)
    audio, segment, package = planned_tasks("j", plan, INFO, ("nvenc", "cpu"))
    (one,) = [
        each
        for each in planned_tasks("j", replace(plan, renditions=plan.renditions[:1]), INFO, ("cpu",))
        if each.kind is TaskKind.SEGMENT
    ]
    assert 0 < one.host_memory_bytes < segment.host_memory_bytes
    assert 0 < one.memory_bytes < segment.memory_bytes
    assert not audio.host_memory_bytes + audio.memory_bytes + package.host_memory_bytes + package.memory_bytes


def test_threads_of_a_slot_take_memory_too() -> None:
    one, many = (planned_tasks("j", plan_of(1, 0), INFO, ("cpu",), threads)[0] for threads in (1, 8))
    assert one.host_memory_bytes < many.host_memory_bytes
