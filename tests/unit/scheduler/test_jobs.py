"""Values check themselves."""

from __future__ import annotations

import pytest
from farm_driver import task
from pydantic import TypeAdapter

from scheduler.events import JobReprioritised, JobSubmitted
from scheduler.jobs import CostFeatures, TaskKind, TaskSpec, Tier, WorkerSpec
from scheduler.settings import SchedulerSettings


def test_a_task_without_a_backend_is_refused() -> None:
    with pytest.raises(ValueError, match="no backend"):
        task("a", backends=())


@pytest.mark.parametrize("wrong", [{"renditions": -1}, {"memory_bytes": -1}])
def test_negative_budgets_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="not negative"):
        task("a", **wrong)


@pytest.mark.parametrize(("pixels", "frames"), [(-1, 1), (1, -1)])
def test_negative_counts_are_refused(pixels: int, frames: int) -> None:
    with pytest.raises(ValueError, match="counts"):
        CostFeatures(kind=TaskKind.SEGMENT, codec="h264", pixels=pixels, frames=frames, preset="p")


def test_a_worker_offers_something_and_takes_something() -> None:
    with pytest.raises(ValueError, match="no backend"):
        WorkerSpec(worker_id="w", node_id="n", device_id="d", backends=())
    with pytest.raises(ValueError, match="depth"):
        WorkerSpec(worker_id="w", node_id="n", device_id="d", backends=("cpu",), depth=0)


def test_weights_are_positive() -> None:
    with pytest.raises(ValueError, match="positive"):
        JobSubmitted(at=0.0, job_id="a", user_id="u", tier=Tier.FREE, tasks=(), weight=0.0)
    with pytest.raises(ValueError, match="positive"):
        JobReprioritised(at=0.0, job_id="a", weight=-1.0)
    with pytest.raises(ValueError, match="every tier"):
        SchedulerSettings(tier_weights={Tier.PAID: 1.0})
    with pytest.raises(ValueError, match="every tier"):
        SchedulerSettings(tier_weights=dict.fromkeys(Tier, 0.0))
    with pytest.raises(ValueError, match="counted from 1"):
        SchedulerSettings(device_attempts=0)


def test_a_task_survives_json() -> None:
    adapter = TypeAdapter(TaskSpec)
    spec = task("a", needs=("b",), backends=("nvenc", "cpu"), memory_bytes=5)
    assert adapter.validate_json(adapter.dump_json(spec)) == spec
