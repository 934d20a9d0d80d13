"""Budgets of memory: never overdrawn by two tasks, and a task that is too large for what is free has its turn."""

from __future__ import annotations

import pytest
from farm_driver import Farm, plan, task

from scheduler.events import JobPaused
from scheduler.jobs import Tier
from scheduler.placement import PASSED_OVER_LIMIT

NODE_BYTES = 1000


def node_of(slots: int, **settings: object) -> Farm:
    farm = Farm(twins=False, **settings)
    for index in range(slots):
        farm.join(f"w{index}", device_memory_bytes=NODE_BYTES)
    return farm


def finish_oldest(farm: Farm) -> None:
    farm.done(next(iter(farm.running.values())).task_id)


def memory_taken(farm: Farm, needs: dict[str, int]) -> int:
    return sum(needs[start.job_id] for start in farm.running.values() if "/s" in start.task_id)


@pytest.mark.parametrize("wide_bytes", [700, 4 * NODE_BYTES])
def test_small_tasks_do_not_keep_a_large_one_out_for_ever(wide_bytes: int) -> None:
    farm = node_of(4)
    needs: dict[str, int] = {}

    def small() -> None:
        name = f"small{len(needs)}"
        needs[name] = 224
        farm.submit(name, (task(f"{name}/s0", host_memory_bytes=224),), user=name, tier=Tier.PAID)

    for _ in range(8):
        small()
    needs["wide"] = wide_bytes
    farm.submit("wide", (task("wide/s0", host_memory_bytes=wide_bytes),), user="wide", tier=Tier.PAID)
    rounds = 0
    while not farm.runs("wide/s0"):
        finish_oldest(farm)
        small()
        rounds += 1
        assert rounds < 4 * PASSED_OVER_LIMIT, "the large task starves"
        taken = memory_taken(farm, needs)
        assert taken <= NODE_BYTES or len(farm.running) == 1
    farm.done("wide/s0")
    assert len(farm.running) == 4


def test_a_job_larger_than_the_node_runs_alone() -> None:
    farm = node_of(2)
    farm.submit("wide", plan("wide", 3, host_memory_bytes=5 * NODE_BYTES))
    for left in (3, 2, 1):
        assert len(farm.running) == 1, left
        finish_oldest(farm)
    farm.done("wide/package")
    assert farm.finished["wide"].failure is None


def test_a_large_task_whose_job_is_paused_keeps_no_place_empty() -> None:
    farm = node_of(2)
    farm.submit("long", (task("long/s0", host_memory_bytes=224),))
    farm.submit("wide", (task("wide/s0", host_memory_bytes=960),), user="w")
    for index in range(2 * PASSED_OVER_LIMIT):
        farm.submit(f"j{index}", (task(f"j{index}/s0", host_memory_bytes=224),), user="s")
    farm.handle(JobPaused(at=farm.now, job_id="wide"))
    for _ in range(2 * PASSED_OVER_LIMIT):
        assert len(farm.running) == 2
        farm.done(next(start.task_id for start in farm.running.values() if start.job_id != "long"))
