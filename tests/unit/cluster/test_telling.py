"""Whoever listens to explanations holds the dispatcher's loop up by nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cluster import telling
from cluster.metrics import DispatcherMetrics
from cluster.telling import Teller
from scheduler.engine import Scheduler
from scheduler.events import JobSubmitted
from scheduler.jobs import CostFeatures, TaskKind, TaskSpec, Tier
from scheduler.settings import SchedulerSettings


def engine() -> Scheduler:
    made = Scheduler(SchedulerSettings())
    cost = CostFeatures(kind=TaskKind.INSPECT, codec="", pixels=0, frames=1, preset="")
    task = TaskSpec(task_id="j/inspect", kind=TaskKind.INSPECT, cost=cost, position=0, renditions=0)
    made.handle(JobSubmitted(at=0.0, job_id="j", user_id="u", tier=Tier.FREE, tasks=(task,), open=True))
    return made


async def test_a_listener_that_hangs_is_told_nothing_more_until_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "TELL_EVERY_S", 0.0)
    told: list[dict[str, Any]] = []
    answers = asyncio.Event()

    async def publish(explanations: dict[str, Any]) -> None:
        told.append(explanations)
        await answers.wait()

    teller = Teller(engine(), DispatcherMetrics(), {"j": object()}, publish)  # type: ignore[dict-item]
    for _ in range(3):
        teller.tell()
        await asyncio.sleep(0)
    assert [list(each) for each in told] == [["j"]]
    answers.set()
    for _ in range(3):
        await asyncio.sleep(0)
    teller.tell()
    await asyncio.sleep(0)
    assert len(told) == 2


async def test_a_bug_in_publishing_is_heard_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "TELL_EVERY_S", 0.0)

    async def publish(_: dict[str, Any]) -> None:
        raise KeyError("a bug")

    teller = Teller(engine(), DispatcherMetrics(), {"j": object()}, publish)  # type: ignore[dict-item]
    teller.tell()
    await asyncio.sleep(0)
    with pytest.raises(KeyError):
        teller.tell()
