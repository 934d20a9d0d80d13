"""The farm at one moment, gathered once for any number of explanations.

A dispatcher explains hundreds of jobs a second. What they share is gathered here: the slots, what is in flight, and per
tier the total service of its users up to a level as a function of that level, which is piecewise linear: two sorted
lists with running sums answer it in O(log users).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from itertools import accumulate
from typing import Any

from scheduler.fairness import JobLeaf, TierShare, User
from scheduler.health import Circuit
from scheduler.jobs import Tier
from scheduler.ledger import Ledger


class Sharing:
    """What users at counters k with work w are served until all counters are level: sum of min(w, level - k)."""

    def __init__(self, users: Iterable[tuple[float, float]]) -> None:
        begins = sorted(key for key, _ in users)
        ends = sorted((key + work_s, work_s) for key, work_s in users)
        self._begins = begins
        self._begin_sums = [0.0, *accumulate(begins)]
        self._ends = [end for end, _ in ends]
        self._end_sums = [0.0, *accumulate(self._ends)]
        self._work_sums = [0.0, *accumulate(work_s for _, work_s in ends)]

    def served_s(self, level: float) -> float:
        """Engine-seconds until the level is reached."""
        begun = bisect_left(self._begins, level)
        return begun * level - self._begin_sums[begun] - self.room_s(level)

    def room_s(self, level: float) -> float:
        """What those whose work ends before the level could be served besides."""
        ended = bisect_left(self._ends, level)
        return ended * level - self._end_sums[ended]

    def ending_part(self, level: float) -> float:
        """Which part of all work belongs to those whose work ends before the level."""
        total_s = self._work_sums[-1]
        return self._work_sums[bisect_left(self._ends, level)] / total_s if total_s else 0.0


class OwnJobs:
    """The jobs of one user in their order."""

    def __init__(self, jobs: Iterable[tuple[Any, float]]) -> None:
        ordered = sorted(jobs, key=lambda entry: entry[0])
        self._keys = [key for key, _ in ordered]
        self._sums = [0.0, *accumulate(work_s for _, work_s in ordered)]

    def ahead(self, leaf: JobLeaf) -> tuple[int, float]:
        """(jobs, their engine-seconds that have not started) before a job."""
        before = bisect_left(self._keys, leaf.key)
        return before, self._sums[before]


class Outlook:
    """See the module. Holds as long as no event was handled."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._in_flight: dict[int, float] = {}
        for attempt in ledger.attempts.values():
            if not attempt.twin and not attempt.stopping:
                for place in (attempt.leaf, attempt.leaf.user, attempt.leaf.user.tier):
                    self._in_flight[id(place)] = self._in_flight.get(id(place), 0.0) + attempt.task.predicted_s
        self._here = [worker for worker in ledger.workers.values() if worker.drain_at is None]
        self._usable = [worker for worker in self._here if worker.device.circuit is not Circuit.OPEN]
        frees_per_s = sum(1.0 / attempt.estimate.wall_s for worker in self._usable for attempt in worker.attempts[:1])
        self.first_free_s = 1.0 / frees_per_s if frees_per_s else 0.0
        self._sharing: dict[Tier, Sharing] = {}
        self._waiting: dict[Tier, list[float]] = {}
        self._own: dict[tuple[Tier, str], OwnJobs] = {}
        self._slots: dict[tuple[str, ...], tuple[int, int, int]] = {}

    def queued_s(self, place: JobLeaf | User | TierShare) -> float:
        """Predicted work of a place in the queue that has not started."""
        return max(0.0, place.work_s - self._in_flight.get(id(place), 0.0))

    def slots_for(self, backends: tuple[str, ...]) -> tuple[int, int, int]:
        """(slots that offer one of the backends, those of them on devices in service, those of them that are idle)."""
        found = self._slots.get(backends)
        if found is None:
            fitting = [worker for worker in self._here if not set(backends).isdisjoint(worker.spec.backends)]
            usable = [worker for worker in fitting if worker.device.circuit is not Circuit.OPEN]
            idle = sum(1 for worker in usable if not worker.attempts and not worker.survivors)
            found = self._slots[backends] = (len(fitting), len(usable), idle)
        return found

    def sharing(self, tier: TierShare) -> Sharing:
        """How a tier's users with jobs share."""
        found = self._sharing.get(tier.tier)
        if found is None:
            users = [(user.key, self.queued_s(user)) for user in tier.users.values() if user.jobs]
            found = self._sharing[tier.tier] = Sharing(users)
        return found

    def own_jobs(self, user: User) -> OwnJobs:
        """The order of a user's jobs, paused ones left out."""
        key = (user.tier.tier, user.user_id)
        found = self._own.get(key)
        if found is None:
            jobs = [(leaf.key, self.queued_s(leaf)) for leaf in user.jobs.values() if not leaf.paused]
            found = self._own[key] = OwnJobs(jobs)
        return found

    def users_before(self, user: User) -> int:
        """Users with work to start that are served before this one: of its tier by their counters, all of others."""
        total = 0
        for tier, share in self._ledger.queue.tiers.items():
            keys = self._waiting.get(tier)
            if keys is None:
                keys = self._waiting[tier] = sorted(other.key for other in share.users.values() if other.mask)
            total += len(keys) if share is not user.tier else bisect_right(keys, user.key)
        return total - (1 if user.mask else 0)
