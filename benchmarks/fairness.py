"""Whose segment is next, measured: waits and shares under overload against other policies, and how good estimates are.

All in simulated time with the production scheduler (simulate.py):

- *overload*: three times the capacity arrives for an hour; the production scheduler against first come first served
  and strict priority;
- *alone*: the paid jobs of the same hour with the farm to themselves: what the overload costs them is the difference;
- *day*: a day's wave that peaks at nine tenths of the capacity; `explain` is asked for every job when it was submitted,
  when it was planned, and for random jobs all the time, and compared with what came.
"""

from __future__ import annotations

import random
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from benchmarks.environment import write_results
from benchmarks.simulate import (
    Policy,
    SimulatedJob,
    Simulation,
    Traffic,
    first_come_first_served,
    make_jobs,
    percentile,
    strict_priority,
    true_segment_s,
)
from scheduler.bounds import burst_of, own_jobs_bound_s, wait_bound_s
from scheduler.engine import Scheduler
from scheduler.jobs import Tier
from scheduler.settings import SchedulerSettings

POLICIES: dict[str, Callable[[], Policy]] = {
    "reelmill": lambda: Scheduler(SchedulerSettings()),
    "fifo": first_come_first_served,
    "strict": strict_priority,
}
SEGMENT_BYTES = {"1080p": 20_000_000, "720p": 9_000_000, "480p": 4_000_000}
"""Of the upload, per segment of about 10 s: 16, 7 and 3 Mbit/s, as phones and cameras write them."""
SIZE_SIGMA = 0.5
"""How far uploads of the same length and height differ in size, lognormal: a 95th percentile of 2.3 medians."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TierResult:
    """Waits of one tier in one run, in seconds; jobs that were not over count with the time they had waited.

    Attributes:
        wait_p95_s: submission to READY, what an owner waits.
        start_p95_s: submission to the first task.
        share: of the farm's time that the tier got.
    """

    jobs: int
    done: int
    wait_p50_s: float
    wait_p95_s: float
    start_p50_s: float
    start_p95_s: float
    start_max_s: float
    share: float


def run_paid_alone(traffic: Traffic, *, slots: int, seed: int) -> Simulation:
    """The paid jobs of a traffic, and nobody else's."""
    simulation = Simulation(POLICIES["reelmill"](), slots=slots, seed=seed)
    jobs = make_jobs(traffic, slots=slots, seed=seed)
    simulation.run((job for job in jobs if job.tier is Tier.PAID), until=traffic.span_s)
    return simulation


def summarise(simulation: Simulation, span_s: float) -> dict[Tier, TierResult]:
    """Per tier."""
    results = {}
    for tier in Tier:
        jobs = [job for job in simulation.jobs.values() if job.tier is tier]
        waits = [(span_s if job.ended_at is None else job.ended_at) - job.submitted_at for job in jobs]
        starts = [(span_s if job.started_at is None else job.started_at) - job.submitted_at for job in jobs]
        served_s = sum(seconds for _, served, seconds in simulation.served if served is tier)
        results[tier] = TierResult(
            jobs=len(jobs),
            done=sum(1 for job in jobs if job.ended_at is not None),
            wait_p50_s=percentile(waits, 0.5),
            wait_p95_s=percentile(waits, 0.95),
            start_p50_s=percentile(starts, 0.5),
            start_p95_s=percentile(starts, 0.95),
            start_max_s=max(starts, default=0.0),
            share=served_s / (simulation.slots * span_s),
        )
    return results


class BoundCheck:
    """Watches a run for what the bound on waiting (scheduler/bounds.py) is made of, and compares afterwards."""

    def __init__(self, scheduler: Scheduler, settings: SchedulerSettings) -> None:
        self._scheduler = scheduler
        self._settings = settings
        self._ahead_s: dict[str, float] = {}
        self._own_s: dict[str, float] = {}
        self._live: dict[str, int] = defaultdict(int)
        self._most_live: dict[str, int] = defaultdict(int)

    def observe(self, _simulation: Simulation, job: SimulatedJob, moment: str) -> None:
        """Notes, for every job, the work of its owner when it came and the most jobs its owner ever had at once."""
        live = sum(1 for other in _simulation.jobs.values() if other.user_id == job.user_id and other.ended_at is None)
        self._most_live[job.user_id] = max(self._most_live[job.user_id], live)
        work_s = true_segment_s(job.height) * job.segments * job.difficulty + 10.0
        if moment == "submitted":
            self._own_s[job.job_id] = work_s
            self._ahead_s[job.job_id] = sum(
                self._own_s[other.job_id]
                for other in _simulation.jobs.values()
                if other.user_id == job.user_id and other.ended_at is None and other is not job
            )

    def worst(self, simulation: Simulation, tier: Tier, span_s: float) -> tuple[float, float, float]:
        """Of a tier: the longest wait for a start of a job whose owner had no other at any time, its bound, and the
        largest wait / bound of all jobs."""
        longest = (0.0, 0.0)
        largest_ratio = 0.0
        users = len({job.user_id for job in simulation.jobs.values() if job.tier is tier})
        largest_s = max(running for _, _, running in simulation.served)
        for job in simulation.jobs.values():
            if job.tier is not tier:
                continue
            wait_s = (span_s if job.started_at is None else job.started_at) - job.submitted_at
            own_s = own_jobs_bound_s(
                self._own_s[job.job_id],
                ahead_s=self._ahead_s[job.job_id],
                live_weight=float(self._most_live[job.user_id]),
                largest_task_s=largest_s,
            )
            bound_s = wait_bound_s(
                tier,
                own_s,
                users=users,
                tier_weights=self._settings.tier_weights,
                largest_task_s=largest_s,
                slots=simulation.slots,
                error_s=0.0,
                bursts_s={other: burst_of(other, self._settings, simulation.slots) for other in Tier},
            )
            largest_ratio = max(largest_ratio, wait_s / bound_s)
            if self._most_live[job.user_id] == 1:
                longest = max(longest, (wait_s, bound_s))
        return (*longest, largest_ratio)


def score_estimates(*, slots: int, hours: float, seed: int, sizes: bool) -> dict[str, dict[str, float]]:
    """`explain` against reality over a day: per moment of asking, the median relative error of the time to READY.

    Returns:
        Per moment ("submitted", "planned", "anytime", "all"): asked, median error, median bias (positive: it took less
        than estimated), and the share of jobs that ended within the stated interval.
    """
    scheduler = Scheduler(SchedulerSettings())
    simulation = Simulation(scheduler, slots=slots, seed=seed)
    asked: list[tuple[str, float, SimulatedJob, float, float, float]] = []
    chance = random.Random(seed)

    def ask(at: Simulation, job: SimulatedJob, moment: str) -> None:
        told = scheduler.explain(job.job_id, at.now)
        if told is not None and told.end is not None:
            asked.append((moment, at.now, job, told.end.earliest, told.end.at, told.end.latest))

    def ask_somebody(at: Simulation) -> None:
        live = [job for job in at.jobs.values() if job.ended_at is None]
        for job in chance.sample(live, min(2, len(live))):
            ask(at, job, "anytime")

    def with_sizes(jobs: Iterator[SimulatedJob]) -> Iterator[SimulatedJob]:
        for job in jobs:
            if sizes:
                spread = chance.lognormvariate(0.0, SIZE_SIGMA)
                job.size_bytes = round(SEGMENT_BYTES[job.height] * job.segments * spread)
            yield job

    span_s = hours * 3600.0
    simulation.observe = ask
    jobs = make_jobs(Traffic(load=0.6, swing=0.5, span_s=span_s), slots=slots, seed=seed)
    simulation.run(with_sizes(jobs), until=span_s + 7200.0, watch=ask_somebody, watch_every_s=30.0)
    errors: dict[str, list[float]] = defaultdict(list)
    inside: dict[str, list[bool]] = defaultdict(list)
    for moment, at, job, earliest, estimate, latest in asked:
        if job.ended_at is None or job.ended_at - at < 0.5:
            continue
        for name in (moment, "all"):
            errors[name].append((estimate - job.ended_at) / (job.ended_at - at))
            inside[name].append(earliest <= job.ended_at <= latest)
    return {
        name: {
            "asked": float(len(values)),
            "median_error": statistics.median(abs(value) for value in values),
            "median_bias": statistics.median(values),
            "within_interval": statistics.fmean(inside[name]),
        }
        for name, values in errors.items()
    }


def draw(simulations: dict[str, Simulation], span_s: float, folder: Path) -> list[Path]:
    """Plots of the overload: shares of the farm over time, and distributions of waiting times, per policy."""
    import matplotlib

    matplotlib.use("Agg")
    # Text stays text and names are fixed, so that the same run writes the same small file.
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "fairness", "path.simplify_threshold": 1.0})
    from matplotlib import pyplot

    folder.mkdir(parents=True, exist_ok=True)
    colours = {Tier.PAID: "#2a6f97", Tier.VERIFIED: "#e09f3e", Tier.FREE: "#9e2a2b"}
    shares, axes = pyplot.subplots(1, len(simulations), figsize=(5 * len(simulations), 3.4), sharey=True)
    for axis, (name, simulation) in zip(axes, simulations.items(), strict=True):
        bins = int(span_s // 60)
        per_minute = {tier: [0.0] * (bins + 1) for tier in Tier}
        for at, tier, seconds in simulation.served:
            per_minute[tier][min(bins, int(at // 60))] += seconds / (60.0 * simulation.slots)
        axis.stackplot(
            range(bins), *(per_minute[tier][:bins] for tier in Tier), labels=[str(tier) for tier in Tier],
            colors=[colours[tier] for tier in Tier],
        )  # fmt: skip
        axis.set(title=name, xlabel="minutes")
    axes[0].set_ylabel("share of the farm")
    axes[0].legend(loc="lower right")
    waits, axes = pyplot.subplots(1, len(simulations), figsize=(5 * len(simulations), 3.4), sharey=True)
    for axis, (name, simulation) in zip(axes, simulations.items(), strict=True):
        for tier in Tier:
            jobs = [job for job in simulation.jobs.values() if job.tier is tier]
            times = sorted((span_s if job.ended_at is None else job.ended_at) - job.submitted_at for job in jobs)
            parts = [(index + 1) / len(times) for index in range(len(times))]
            axis.plot(times, parts, label=str(tier), color=colours[tier])
        axis.set(title=name, xlabel="seconds from submission to READY", xscale="log")
    axes[0].set_ylabel("part of the jobs")
    axes[0].legend(loc="lower right")
    paths = [folder / "fairness-shares.svg", folder / "fairness-waits.svg"]
    for figure, path in zip((shares, waits), paths, strict=True):
        figure.tight_layout()
        figure.savefig(path, metadata={"Date": None})
        pyplot.close(figure)
    return paths


def _print(name: str, results: dict[Tier, TierResult]) -> None:
    for tier, it in results.items():
        print(
            f"{name:>10} {tier:>9} {it.jobs:>6} {it.done:>6} {it.wait_p50_s:>9.1f} {it.wait_p95_s:>9.1f} "
            f"{it.start_p50_s:>9.1f} {it.start_p95_s:>9.1f} {it.start_max_s:>9.1f} {it.share:>7.3f}"
        )


@click.command()
@click.option("--load", default=3.0, show_default=True, help="Arriving work as a multiple of the farm's capacity.")
@click.option("--slots", default=32, show_default=True)
@click.option("--hours", default=1.0, show_default=True, help="Length of the overload, simulated.")
@click.option("--day-hours", default=6.0, show_default=True, help="Length of the day for estimates, simulated.")
@click.option("--seed", default=1, show_default=True)
@click.option("--plots", type=click.Path(path_type=Path), help="Folder for the plots.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the figures here.")
def command(
    load: float, slots: int, hours: float, day_hours: float, seed: int, plots: Path | None, json_path: Path | None
) -> None:
    """Waits and shares under overload against other policies; estimates against reality."""
    span_s = hours * 3600.0
    print(f"{'':>10} {'tier':>9} {'jobs':>6} {'READY':>6} {'wait p50':>9} {'p95':>9} {'start p50':>9} {'p95':>9} "
          f"{'max':>9} {'share':>7}   (seconds)")  # fmt: skip
    traffic = Traffic(load=load, span_s=span_s)
    alone = summarise(run_paid_alone(traffic, slots=slots, seed=seed), span_s)
    _print("alone", {Tier.PAID: alone[Tier.PAID]})
    simulations: dict[str, Simulation] = {}
    overload: dict[str, dict[Tier, TierResult]] = {}
    bound: tuple[float, float, float] = (0.0, 0.0, 0.0)
    for name, make in POLICIES.items():
        policy = make()
        simulation = Simulation(policy, slots=slots, seed=seed)
        check = BoundCheck(policy, SchedulerSettings()) if isinstance(policy, Scheduler) else None
        if check is not None:
            simulation.observe = check.observe
        simulation.run(make_jobs(traffic, slots=slots, seed=seed), until=span_s)
        simulations[name] = simulation
        overload[name] = summarise(simulation, span_s)
        _print(name, overload[name])
        if check is not None:
            bound = check.worst(simulation, Tier.FREE, span_s)
    ratio = overload["reelmill"][Tier.PAID].wait_p95_s / alone[Tier.PAID].wait_p95_s
    print(f"paid p95 wait under {load:g}x load: {ratio:.2f} x its wait with the farm to itself")
    print(
        f"free users of one job at a time: longest wait for a start {bound[0]:.0f} s, stated bound {bound[1]:.0f} s; "
        f"largest wait / bound of any free job: {bound[2]:.3f}"
    )
    scores: dict[str, Any] = {}
    for sizes in (True, False):
        name = "with sizes" if sizes else "without sizes"
        scores[name] = score_estimates(slots=slots, hours=day_hours, seed=seed, sizes=sizes)
        for moment, score in scores[name].items():
            print(
                f"estimates {name}, asked {moment:>9}: median error {score['median_error']:.1%}, "
                f"bias {score['median_bias']:+.1%}, {score['within_interval']:.0%} within the interval"
            )
    if plots is not None:
        for path in draw(simulations, span_s, plots):
            print(path)
    if json_path is not None:
        results = {
            "load": load, "slots": slots, "seed": seed, "alone": _plain(alone),
            "overload": {name: _plain(result) for name, result in overload.items()},
            "paid_p95_ratio": ratio, "free_longest_s": bound[0], "free_bound_s": bound[1],
            "free_largest_ratio": bound[2], "estimates": scores,
        }  # fmt: skip
        write_results(json_path, "fairness", results)


def _plain(results: dict[Tier, TierResult]) -> dict[str, dict[str, float]]:
    return {
        str(tier): {name: getattr(result, name) for name in TierResult.__dataclass_fields__}
        for tier, result in results.items()
    }
