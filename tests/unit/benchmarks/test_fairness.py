"""What the fairness benchmark claims, on a small farm in simulated time: the same code, seeds, less of it."""

from __future__ import annotations

import pytest

from benchmarks.fairness import POLICIES, BoundCheck, run_paid_alone, score_estimates, summarise
from benchmarks.simulate import Simulation, Traffic, first_come_first_served, make_jobs, percentile, strict_priority
from scheduler.engine import Scheduler
from scheduler.jobs import JobState, Tier
from scheduler.settings import SchedulerSettings

SLOTS = 16
SPAN_S = 1200.0
OVERLOAD = Traffic(load=3.0, span_s=SPAN_S, users=60)


def test_every_policy_ends_every_job_when_the_rush_is_over() -> None:
    traffic = Traffic(load=1.5, span_s=120.0, users=20)
    for make in POLICIES.values():
        simulation = Simulation(make(), slots=4, nodes=2, seed=5)
        simulation.run(make_jobs(traffic, slots=4, seed=5), until=5000.0)
        assert len(simulation.jobs) > 5
        assert {job.state for job in simulation.jobs.values()} == {JobState.COMPLETED}


def test_the_same_seed_is_the_same_hour() -> None:
    results = []
    for _ in range(2):
        simulation = Simulation(Scheduler(SchedulerSettings()), slots=4, nodes=2, seed=5)
        simulation.run(make_jobs(Traffic(load=1.0, span_s=300.0), slots=4, seed=5), until=300.0)
        results.append(simulation.served)
    assert results[0] == results[1]


def test_under_threefold_load_paid_jobs_hardly_notice_and_nobody_starves() -> None:
    alone = summarise(run_paid_alone(OVERLOAD, slots=SLOTS, seed=2), SPAN_S)
    scheduler = Scheduler(SchedulerSettings())
    simulation = Simulation(scheduler, slots=SLOTS, seed=2)
    check = BoundCheck(scheduler, SchedulerSettings())
    simulation.observe = check.observe
    simulation.run(make_jobs(OVERLOAD, slots=SLOTS, seed=2), until=SPAN_S)
    crowded = summarise(simulation, SPAN_S)
    assert crowded[Tier.PAID].wait_p95_s <= 1.5 * alone[Tier.PAID].wait_p95_s
    assert crowded[Tier.PAID].wait_p50_s < crowded[Tier.VERIFIED].wait_p50_s < crowded[Tier.FREE].wait_p50_s
    assert crowded[Tier.FREE].share > 0.05
    assert sum(result.share for result in crowded.values()) == pytest.approx(1.0, abs=0.05)
    longest_s, bound_s, largest_ratio = check.worst(simulation, Tier.FREE, SPAN_S)
    assert 0.0 < longest_s <= bound_s
    assert largest_ratio <= 1.0
    simulations = {"reelmill": simulation}
    for name, make in (("fifo", first_come_first_served), ("strict", strict_priority)):
        other = simulations[name] = Simulation(make(), slots=SLOTS, seed=2)
        other.run(make_jobs(OVERLOAD, slots=SLOTS, seed=2), until=SPAN_S)
    fifo = summarise(simulations["fifo"], SPAN_S)
    strict = summarise(simulations["strict"], SPAN_S)
    assert fifo[Tier.PAID].wait_p95_s > 5 * crowded[Tier.PAID].wait_p95_s
    assert strict[Tier.FREE].share < 0.2 * crowded[Tier.FREE].share


def test_estimates_are_about_right_on_an_ordinary_day() -> None:
    scores = score_estimates(slots=SLOTS, hours=0.75, seed=4, sizes=True)
    assert scores["planned"]["median_error"] <= 0.27
    assert scores["all"]["median_error"] <= 0.32
    assert abs(scores["all"]["median_bias"]) <= 0.15
    assert 0.7 <= scores["all"]["within_interval"] <= 0.9


def test_percentiles_by_nearest_rank() -> None:
    assert percentile([], 0.5) == 0.0
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile([3.0, 1.0, 2.0], 0.95) == 3.0
