"""What goes to a worker comes out of its parcel as it was, and a job's plan is pickled once."""

from __future__ import annotations

import pickle
from dataclasses import replace

from planned import INFO, plan_of

from cluster import parcel
from cluster.parcel import Packer
from cluster.tasks import TaskRequest
from scheduler.jobs import TaskKind

PLAN = plan_of(4, 1)
REQUEST = TaskRequest(
    job_id="j",
    task_id="j/segment/00001",
    attempt=1,
    kind=TaskKind.SEGMENT,
    video_id="v",
    source_key="sources/v",
    profile="default",
    backend="cpu",
    threads=1,
    slots=2,
    timeout_s=60.0,
    part=1,
    plan=PLAN,
    info=INFO,
)


def test_a_request_arrives_as_it_was() -> None:
    first = replace(REQUEST, kind=TaskKind.INSPECT, part=None, plan=None, info=None)
    packer = Packer()
    for request in (first, REQUEST):
        assert pickle.loads(pickle.dumps(packer.pack(request))).unpack() == request


def test_a_plan_is_pickled_once_until_it_changes() -> None:
    packer = Packer()
    once, again = packer.pack(REQUEST), packer.pack(replace(REQUEST, part=2))
    assert once.source is again.source
    other = replace(PLAN, notes=("fell back",))
    changed = packer.pack(replace(REQUEST, plan=other))
    assert changed.unpack().plan == other


def test_jobs_that_were_not_asked_for_are_forgotten() -> None:
    packer = Packer()
    first = packer.pack(REQUEST)
    for number in range(parcel.KEPT_JOBS):
        packer.pack(replace(REQUEST, job_id=str(number)))
    assert packer.pack(REQUEST).source is not first.source
