"""Similar short videos are batched onto workers that have their profile warm, and that delays nobody.

The same traffic runs twice through the production scheduler: once with the rank by warmth, once without. Warmth chooses
among free slots of one device only, so every job must start and end at the very same moment; only the slots differ.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from benchmarks import simulate
from benchmarks.simulate import SimulatedJob, Simulation, Traffic, make_jobs
from scheduler.engine import Scheduler
from scheduler.jobs import TaskKind, TaskSpec
from scheduler.placement import SlotPool
from scheduler.settings import SchedulerSettings

SLOTS = 24
SPAN_S = 300.0
Moments = dict[str, tuple[float | None, float | None]]


def run(monkeypatch: pytest.MonkeyPatch, traffic: Traffic, seed: int, *, by_warmth: bool) -> tuple[Moments, float]:
    """When each job started and ended, and the share of segments that met a worker which ran their profile last."""
    pick, spec_of = SlotPool.pick, simulate._spec
    met: list[bool] = []

    def profiled(job: SimulatedJob, name: str, kind: TaskKind, *rest: Any) -> TaskSpec:
        spec = spec_of(job, name, kind, *rest)
        return replace(spec, cost=replace(spec.cost, preset=job.height if kind is TaskKind.SEGMENT else ""))

    def watched(self: Any, bit: int, *, near: Any, warm: str, avoid: Any = None) -> Any:
        chosen = pick(self, bit, near=near, warm=warm if by_warmth else "nothing ran this", avoid=avoid)
        if warm and chosen is not None:
            met.append(chosen.warm == warm)
        return chosen

    with monkeypatch.context() as patch:
        patch.setattr(simulate, "_spec", profiled)
        patch.setattr(SlotPool, "pick", watched)
        simulation = Simulation(Scheduler(SchedulerSettings()), slots=SLOTS, nodes=2, seed=seed)
        simulation.run(make_jobs(traffic, slots=SLOTS, seed=seed), until=SPAN_S)
    moments = {name: (job.started_at, job.ended_at) for name, job in simulation.jobs.items()}
    return moments, sum(met) / len(met)


@pytest.mark.parametrize(("load", "seed"), [(0.5, 1), (0.5, 2), (2.0, 3)])
def test_batching_similar_short_videos_delays_nobody(monkeypatch: pytest.MonkeyPatch, load: float, seed: int) -> None:
    traffic = Traffic(load=load, span_s=SPAN_S, users=20, median_segments=2.0, spread=0.5)
    batched, warm_share = run(monkeypatch, traffic, seed, by_warmth=True)
    plain, chance_share = run(monkeypatch, traffic, seed, by_warmth=False)
    assert len(batched) > 50
    assert batched == plain
    if load < 1.0:
        assert warm_share > 1.5 * chance_share
