"""Why a job waits and until when: position, the rule that holds it, and an estimate of its start and end.

The estimate lets the queue's own rules run as a fluid. Until its last task starts, this job's owner is served X: the
owner's jobs with earlier finish tags, and this one. Meanwhile every other user of the tier is served until its counter
is level with the owner's (fairness.py), and every other tier likewise, none more than it has; work that arrives
meanwhile counts at the rate at which it came lately. The sum, divided by the farm's speed, is the time to the start of
the last task; its own duration and that of what follows it come on top.

Cost: linear in the tier's users, the owner's jobs and the slots; nothing is stored for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from scheduler.fairness import JobLeaf, TierShare, User
from scheduler.health import Circuit
from scheduler.jobs import TaskKind, TaskState
from scheduler.ledger import Attempt, Job, Ledger, Task
from scheduler.reports import Explanation, Interval, Rule

ROUNDS = 12
"""Iterations of the fixed point between waiting time and what arrives meanwhile."""
NARROW, WIDE = 0.6, 1.7
"""The interval as factors of the time to go. Source: `benchmarks fairness`, 5 % and 95 % of actual / estimate."""
MAX_WAIT_S = 30 * 86400.0
"""An estimate is never longer: on an overloaded farm the fixed point has none."""


@dataclass(slots=True)
class _Farm:
    """Slots and what runs on them, gathered once per explanation."""

    slots: int
    idle: int
    pace: float
    first_free_s: float
    in_flight: dict[int, float]


def explain(ledger: Ledger, job: Job) -> Explanation:
    """Where the job stands."""
    farm = _gather(ledger, job)
    leaf = job.leaf
    ahead = [other for other in leaf.user.jobs.values() if other is not leaf and _precedes(other, leaf)]
    rule, sentence = _rule(ledger, job, farm, len(ahead))
    own_ahead_s = sum(_queued_s(farm, other) for other in ahead)
    own_s = _queued_s(farm, leaf)
    start: Interval | None = None
    end: Interval | None = None
    started = job.started_at
    _, others_s = _wait_s(ledger, farm, leaf, own_ahead_s + own_s)
    if rule not in (Rule.PAUSED, Rule.NO_WORKER):
        wait_s, _ = _wait_s(ledger, farm, leaf, own_ahead_s)
        start = _interval(ledger.now, wait_s) if started is None else _known(started)
        end = _interval(ledger.now, _time_to_end_s(ledger, farm, job, own_ahead_s, own_s))
    return Explanation(
        job_id=job.job_id,
        state=job.state,
        tier=job.tier,
        position=1 + len(ahead),
        jobs_ahead=_jobs_ahead(ledger, job, len(ahead)),
        ahead_s=own_ahead_s + others_s,
        rule=rule,
        sentence=sentence,
        start=start,
        end=end,
    )


def _gather(ledger: Ledger, job: Job) -> _Farm:
    usable = [
        worker
        for worker in ledger.workers.values()
        if worker.drain_at is None and worker.device.circuit is not Circuit.OPEN
    ]
    in_flight: dict[int, float] = {}
    for attempt in ledger.attempts.values():
        if not attempt.twin and not attempt.stopping:
            for place in (attempt.leaf, attempt.leaf.user, attempt.leaf.user.tier):
                in_flight[id(place)] = in_flight.get(id(place), 0.0) + attempt.task.predicted_s
    free = min((_left_s(ledger, worker.attempts) for worker in usable), default=0.0)
    return _Farm(
        slots=max(1, len(usable)),
        idle=sum(1 for worker in usable if not worker.attempts),
        pace=ledger.pace,
        first_free_s=free,
        in_flight=in_flight,
    )


def _left_s(ledger: Ledger, attempts: Iterable[Attempt]) -> float:
    """Predicted seconds until a worker's attempts are over."""
    total = 0.0
    for attempt in attempts:
        elapsed_s = 0.0 if attempt.begun_at is None else ledger.now - attempt.begun_at
        total += max(attempt.estimate.wall_s - elapsed_s, 0.1 * attempt.estimate.wall_s)
    return total


def _precedes(other: JobLeaf, leaf: JobLeaf) -> bool:
    return not other.paused and bool(other.key < leaf.key)


def _queued_s(farm: _Farm, place: JobLeaf | User | TierShare) -> float:
    """Predicted work of a place in the queue that has not started."""
    return max(0.0, place.work_s - farm.in_flight.get(id(place), 0.0))


def _wait_s(ledger: Ledger, farm: _Farm, leaf: JobLeaf, own_s: float) -> tuple[float, float]:
    """Seconds until the owner was served `own_s` from now on, and what others are served meanwhile."""
    user = leaf.user
    tier = user.tier
    in_tier = 0.0
    for other in tier.users.values():
        if other is not user and other.jobs:
            in_tier += max(0.0, min(_queued_s(farm, other), own_s + user.key - other.key))
    free_s = farm.idle * ledger.typical_wall_s * farm.pace
    wait_s = 0.0
    others_s = in_tier
    for _ in range(ROUNDS):
        new_in_tier = ledger.arrivals_s(tier.tier) * wait_s * min(1.0, own_s / ledger.typical_plan_s)
        tier_s = own_s + in_tier + new_in_tier
        others_s = in_tier + new_in_tier
        for share in ledger.queue.tiers.values():
            if share is not tier:
                level_s = share.weight * (tier_s / tier.weight + max(tier.key, 0.0) - share.key)
                here_s = _queued_s(farm, share) + ledger.arrivals_s(share.tier) * wait_s
                others_s += max(0.0, min(here_s, level_s))
        total_s = max(0.0, own_s + others_s - free_s)
        wait_s = min(MAX_WAIT_S, total_s / (farm.slots * farm.pace))
    return wait_s + (farm.first_free_s if not farm.idle else 0.0), others_s


def _time_to_end_s(ledger: Ledger, farm: _Farm, job: Job, own_ahead_s: float, own_s: float) -> float:
    """Seconds until the job is over."""
    waiting = [task for task in job.tasks if task.state is not TaskState.DONE]
    queued = [task for task in waiting if not task.in_flight]
    running_s = max((_left_s(ledger, task.in_flight[:1]) for task in waiting if task.in_flight), default=0.0)
    chain_s = _chain_s(ledger, job, queued)
    if own_s <= 0.0 and not job.open:
        return running_s
    parallel = [task.predicted_s for task in queued if task.spec.kind is not TaskKind.PACKAGE]
    last_s = parallel[-1] if parallel else 0.0
    wait_s, _ = _wait_s(ledger, farm, job.leaf, own_ahead_s + max(0.0, own_s - last_s))
    return max(running_s, wait_s if parallel or job.open else 0.0) + chain_s


def _chain_s(ledger: Ledger, job: Job, queued: list[Task]) -> float:
    """Seconds of the longest chain of what has not started: the last of the parallel tasks, then the packaging."""
    by_kind: dict[TaskKind, float] = {}
    for task in queued:
        wall_s = ledger.costs.estimate(ledger.allowed_backends(task)[0], task.spec.cost).wall_s
        by_kind[task.spec.kind] = max(by_kind.get(task.spec.kind, 0.0), wall_s)
    if job.open:
        by_kind.setdefault(TaskKind.SEGMENT, ledger.typical_wall_s)
    parallel_s = max(by_kind.get(TaskKind.SEGMENT, 0.0), by_kind.get(TaskKind.AUDIO, 0.0))
    return by_kind.get(TaskKind.INSPECT, 0.0) + parallel_s + by_kind.get(TaskKind.PACKAGE, 0.0)


def _interval(now: float, seconds: float) -> Interval:
    return Interval(earliest=now + NARROW * seconds, at=now + seconds, latest=now + WIDE * seconds)


def _known(at: float) -> Interval:
    return Interval(earliest=at, at=at, latest=at)


def _jobs_ahead(ledger: Ledger, job: Job, own: int) -> int:
    """Jobs that are expected to be served before this one starts: the owner's, and one of each user in turn."""
    if job.started_at is not None:
        return 0
    user = job.leaf.user
    others = 0
    for share in ledger.queue.tiers.values():
        for other in share.users.values():
            if other is not user and other.mask and (share is not user.tier or other.key <= user.key):
                others += 1
    return own + others


def _rule(ledger: Ledger, job: Job, farm: _Farm, own_ahead: int) -> tuple[Rule, str]:
    if job.leaf.paused:
        return Rule.PAUSED, "The operator paused it."
    if any(task.in_flight for task in job.tasks):
        running = sum(1 for task in job.tasks if task.in_flight)
        return Rule.RUNNING, f"{running} of its tasks run; {job.done_count} of {len(job.tasks)} are done."
    ready = [task for task in job.tasks if task.bit]
    if not ready:
        return Rule.BACKOFF, "A task failed and is tried again after a pause."
    backends = sorted({backend for task in ready for backend in ledger.allowed_backends(task)})
    fitting = [w for w in ledger.workers.values() if w.drain_at is None and set(w.spec.backends) & set(backends)]
    if not fitting:
        return Rule.NO_WORKER, f"No worker offers what it needs: {', '.join(backends)}."
    if all(worker.device.circuit is not Circuit.CLOSED for worker in fitting):
        return Rule.DEVICE_OUT, "All devices that could run it are out of service; they are tested again shortly."
    if own_ahead:
        return Rule.OWN_JOBS, f"{own_ahead} jobs of the same owner end sooner and go first."
    if ledger.queue.is_next(job.leaf):
        return Rule.NEXT, "It is next: the first slot that fits takes it."
    return Rule.FAIR_SHARE, f"The slots are busy; tier {job.tier} is served by weight, and within it each user in turn."
