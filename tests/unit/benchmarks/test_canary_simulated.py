"""The canary beside files of an attacker, on simulated slots that run the production scheduler.

Inspections there take from milliseconds to half a minute, which nobody can know before, segments from half a second to
ten; four files are always in the farm. Whatever they are, no slot begins one of their tasks while one of the canary's
could begin: all that it waits for had begun before.
"""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

from benchmarks import simulate
from benchmarks.farm_log import Attempt, FarmLog
from benchmarks.simulate import SimulatedJob, Simulation
from scheduler.engine import Scheduler
from scheduler.events import Event
from scheduler.instructions import Instruction, StartTask
from scheduler.jobs import Tier
from scheduler.settings import SchedulerSettings

AT_ONCE = 4
SPAN_S = 300.0
KINDS = {"s": "segment", "a": "audio", "i": "inspect", "p": "package"}


class OneByOne(Scheduler):
    """Tells the scheduler of an inspection's end before it tells what the inspection found."""

    def handle_all(self, happened: Iterable[Event]) -> list[Instruction]:
        return [each for event in happened for each in super(OneByOne, self).handle_all((event,))]


class Beside(Simulation):
    """A canary that comes again a second after it is done, and so many hostile jobs that follow each other."""

    def __init__(self, policy: Scheduler, seed: int) -> None:
        self.log = FarmLog()
        self.chance = random.Random(seed)
        self.numbers = 0
        super().__init__(policy, slots=2, nodes=1, seed=seed)
        self._at(0.0, lambda: self.come(Tier.PAID))
        for index in range(AT_ONCE):
            self._at(1.0 + 0.1 * index, lambda: self.come(Tier.FREE))

    def come(self, tier: Tier) -> None:
        self.numbers += 1
        segments = 2 if tier is Tier.PAID else self.chance.choice((0, 0, 1, 3, 9))
        job = SimulatedJob(
            job_id=f"{tier}{self.numbers}",
            user_id=tier,
            tier=tier,
            submitted_at=self.now,
            segments=segments,
            height="480p",
            difficulty=0.1 if tier is Tier.PAID else self.chance.choice((0.1, 0.5, 3.0)),
        )
        self.log.claimed_at[job.job_id] = self.now
        self._submit(job)

    def _handle(self, *happened: Event) -> None:
        before = {job_id for job_id, job in self.jobs.items() if job.ended_at is None}
        super()._handle(*happened)
        for job_id in before:
            job = self.jobs[job_id]
            if job.ended_at is not None and self.now < SPAN_S:
                pause_s = 1.0 if job.tier is Tier.PAID else 0.05
                self._at(self.now + pause_s, lambda tier=job.tier: self.come(tier))  # type: ignore[misc]

    def _start(self, start: StartTask) -> None:
        job_id, name = start.task_id.split("/")
        attempt = Attempt(
            task=f"{job_id}/{KINDS[name[0]]}/{name}",
            number=start.attempt,
            worker=start.worker_id,
            started_at=self.now,
        )
        self.log.attempts.append(attempt)
        super()._start(start)
        attempt.ended_at = self._running[(start.task_id, start.attempt)].ends_at


def run(monkeypatch: pytest.MonkeyPatch, policy: Scheduler, seed: int) -> Beside:
    true_s = simulate._true_s

    def surprising(job: SimulatedJob, task_id: str) -> float:
        chance = random.Random(f"{seed}/{task_id}")
        if job.tier is Tier.FREE and task_id.endswith("/inspect"):
            return chance.choice((0.05, 0.1, 0.3, 3.0, 12.0, 30.0))
        return true_s(job, task_id) * (0.2 if job.tier is Tier.PAID else 1.0)

    with monkeypatch.context() as patch:
        patch.setattr(simulate, "_true_s", surprising)
        farm = Beside(policy, seed)
        farm.run(iter(()), until=SPAN_S)
    canary = [job_id for job_id, job in farm.jobs.items() if job.tier is Tier.PAID]
    assert len(canary) > 5
    return farm


def most_begun_meanwhile(farm: Beside) -> int:
    """Tasks of others, of any kind and length, that one slot began while one of the canary's could begin."""
    worst = 0
    others = [each for each in farm.log.attempts if farm.jobs[each.job].tier is Tier.FREE]
    for attempt in farm.log.attempts:
        if farm.jobs[attempt.job].tier is Tier.PAID:
            ready_at = farm.log.ready_at(attempt)
            begun = [each.worker for each in others if ready_at <= each.started_at < attempt.started_at]
            worst = max([worst, *(begun.count(worker) for worker in set(begun))])
    return worst


@pytest.mark.parametrize("seed", range(6))
def test_nothing_of_others_begins_where_the_canary_could(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    assert most_begun_meanwhile(run(monkeypatch, Scheduler(SchedulerSettings()), seed)) == 0


def test_news_told_one_by_one_lets_others_before_the_canary(monkeypatch: pytest.MonkeyPatch) -> None:
    assert most_begun_meanwhile(run(monkeypatch, OneByOne(SchedulerSettings()), seed=0)) == 1
