"""A job as tasks: what the scheduler gets to see of an inspected source, and what an attempt's request holds. Pure.

inspect ─► audio × sound renditions ─┐
        └► segment × segments ───────┴► package
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import replace

from encoders.ladder import Codec
from encoders.media import MediaInfo
from encoders.memory import device_memory, host_memory
from encoders.plan import Plan
from scheduler.instructions import FellBack
from scheduler.jobs import CostFeatures, GpuPolicy, TaskKind, TaskSpec

BACKENDS = ("nvenc", "hybrid", "cpu")
"""Backends that may encode, best first; the engine leaves out those that a job's policy or its past forbids."""


def inspect_task(job_id: str) -> TaskSpec:
    """The one task of a job whose source nobody has looked at."""
    cost = CostFeatures(kind=TaskKind.INSPECT, codec="", pixels=0, frames=1, preset="")
    return TaskSpec(task_id=f"{job_id}/inspect", kind=TaskKind.INSPECT, cost=cost, position=0, renditions=0)


def planned_tasks(
    job_id: str, plan: Plan, info: MediaInfo, backends: tuple[str, ...], threads: int = 1
) -> tuple[TaskSpec, ...]:
    """All tasks that follow inspection.

    Args:
        backends: that may encode the segments, best first; one that cannot encode a codec of the plan says so, and the
            next takes over.
        threads: of each slot, which all take memory.
    """
    codecs = sorted({each.codec for each in plan.renditions} - {Codec.H264})
    pixels = sum(each.width * each.height for each in plan.renditions)
    codec = info.video.codec if info.video else ""
    on_cores = host_memory(info.video, plan.renditions, plan.preset, threads) if info.video else 0
    on_gpu = device_memory(info.video, plan.renditions) if info.video else 0
    tasks = [
        TaskSpec(
            task_id=f"{job_id}/audio/{rendition.name}",
            kind=TaskKind.AUDIO,
            cost=CostFeatures(kind=TaskKind.AUDIO, codec="", pixels=0, frames=int(plan.duration_s) + 1, preset=""),
            position=index,
            renditions=0,
        )
        for index, rendition in enumerate(plan.audio)
    ]
    tasks += [
        TaskSpec(
            task_id=f"{job_id}/segment/{segment.index:05d}",
            kind=TaskKind.SEGMENT,
            cost=CostFeatures(
                kind=TaskKind.SEGMENT,
                codec=codec,
                pixels=pixels,
                frames=segment.frames,
                preset="+".join([plan.preset, *codecs]),  # what HEVC and AV1 take is learned apart
            ),
            position=len(plan.audio) + segment.index,
            backends=backends,
            renditions=len(plan.renditions),
            memory_bytes=on_gpu,
            host_memory_bytes=on_cores,
        )
        for segment in plan.segments
    ]
    frames = plan.grid.frames if plan.grid else int(plan.duration_s) + 1
    package = TaskSpec(
        task_id=f"{job_id}/package",
        kind=TaskKind.PACKAGE,
        needs=tuple(task.task_id for task in tasks),
        cost=CostFeatures(kind=TaskKind.PACKAGE, codec="", pixels=pixels, frames=frames, preset=""),
        position=len(tasks),
        renditions=0,
    )
    return (*tasks, package)


def inspecting_backend(gpu: str, offered: Collection[str]) -> str:
    """The backend whose encoder's identity goes into a plan: the best that the farm has and the job may use."""
    allowed = BACKENDS if gpu != GpuPolicy.NEVER else ("cpu",)
    return next((backend for backend in allowed if backend in offered), "cpu")


def plan_for(plan: Plan, before: str | None, encoder: str | None) -> Plan:
    """The plan of a job whose segments come from an encoder from now on; the same where that is nothing new.

    The first encoder may be new too: workers that join after the inspection can be better than what it was made for.

    Args:
        before: the encoder until now, "nvenc" or "x264" as the scheduler names them; None: not chosen yet.
    """
    made_for = plan.encoder.rpartition(" -> ")[2]
    fits = made_for.startswith("nvenc") == (encoder == "nvenc")
    if encoder is None or (before in (None, encoder) and fits):
        return plan
    return switch_encoder(plan, encoder)


def note_fall_back(plan: Plan, fell: FellBack) -> Plan:
    """The plan with a sentence for the asset's owner."""
    note = f"encoded with {fell.to} where {fell.given_up} was begun: {fell.reason}"
    return plan if note in plan.notes else replace(plan, notes=(*plan.notes, note))


def switch_encoder(plan: Plan, encoder: str) -> Plan:
    """The plan for another encoder, after the first gave out: all is made anew, under keys of its own."""
    label = f"{plan.encoder} -> {encoder}"
    digest = hashlib.sha256(f"{plan.asset_key} {label}".encode()).hexdigest()
    return replace(plan, encoder=label, asset_key=digest[: len(plan.asset_key)])


def part_of(task_id: str) -> int | str | None:
    """Which segment (index) or sound rendition (name) a task makes; None for `inspect` and `package`."""
    _, kind, *rest = task_id.split("/")
    if kind == TaskKind.SEGMENT:
        return int(rest[0])
    return rest[0] if rest else None
