"""How far estimates were off so far, and so how wide the interval around the next must be.

Now and then the engine notes what it would tell the owner of one job, each live job in turn, and learns from it when
the job is over. Per stage of a job two factors of the time to go are tracked, below and above which a tenth of the
truths lie: each truth outside moves its factor outwards by nine parts, each inside moves it inwards by one, so that in
the long run a tenth lies outside whatever the errors are distributed like.
Source: Gibbs and Candès, "Adaptive Conformal Inference Under Distribution Shift" (2021), section 2.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container
from enum import StrEnum
from math import exp, log

from scheduler.ledger import Job

COVERAGE = 0.8
"""Part of the truths that intervals are to hold."""
GAIN = 0.05
"""Of a step, in log units: a few hundred truths settle a factor, and single ones move it by 5 %."""
KEPT_NOTES = 16
"""Of one job, the last ones: bounded, however long it waits."""


class Stage(StrEnum):
    """What is known of a job."""

    OPEN = "open"
    """Its inspection has not told how much there is to do."""
    FRESH = "fresh"
    """Planned; none of what was planned is done."""
    UNDER_WAY = "under_way"
    LAST = "last"
    """One task is left."""


FIRST_FACTORS = {
    Stage.OPEN: (0.60, 1.75),
    Stage.FRESH: (0.68, 1.62),
    Stage.UNDER_WAY: (0.55, 2.0),
    Stage.LAST: (0.3, 1.6),
}
"""Before anything was learned. Source: `benchmarks fairness`, 10 % and 90 % of actual / estimate."""


def stage_of(job: Job) -> Stage:
    """Where a job stands."""
    if job.open:
        return Stage.OPEN
    if job.done_count == len(job.tasks) - 1:
        return Stage.LAST
    return Stage.FRESH if job.done_count <= 1 else Stage.UNDER_WAY  # its inspection is a task, too


class Calibration:
    """Notes of estimates whose jobs live, and what was learned of those whose jobs are over."""

    def __init__(self) -> None:
        self._logs = {stage: [log(factor) for factor in factors] for stage, factors in FIRST_FACTORS.items()}
        self._notes: dict[str, deque[tuple[Stage, float, float]]] = {}

    def factors(self, stage: Stage) -> tuple[float, float]:
        """The interval as factors of the time to go: (at most 1, at least 1)."""
        low, high = self._logs[stage]
        return exp(min(0.0, low)), exp(max(0.0, high))

    def note(self, job_id: str, stage: Stage, at: float, to_go_s: float) -> None:
        """At that time the job was estimated to take so much longer."""
        if to_go_s > 0:
            self._notes.setdefault(job_id, deque(maxlen=KEPT_NOTES)).append((stage, at, to_go_s))

    def learn(self, job_id: str, ended_at: float) -> None:
        """A job was completed: compare what was noted of it."""
        step, inside = GAIN * (1 + COVERAGE) / 2, GAIN * (1 - COVERAGE) / 2
        for stage, at, to_go_s in self._notes.pop(job_id, ()):
            if ended_at <= at:
                continue
            truth, factors = log((ended_at - at) / to_go_s), self._logs[stage]
            factors[0] += -step if truth < factors[0] else inside
            factors[1] += step if truth > factors[1] else -inside

    def keep_only(self, job_ids: Container[str]) -> None:
        """Forget jobs that are not among these: they were given up without an end."""
        for job_id in [noted for noted in self._notes if noted not in job_ids]:
            del self._notes[job_id]

    def forget(self, job_id: str) -> None:
        """A job ended otherwise: it teaches nothing."""
        self._notes.pop(job_id, None)
