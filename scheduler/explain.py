"""Why a job waits and until when: position, the rule that holds it, and an estimate of its start and end.

The estimate lets the queue's own rules run as a fluid. Until its last task starts, this job's owner is served X: the
owner's jobs with earlier finish tags, and this one. Meanwhile every other user of the tier is served until its counter
is level with the owner's (fairness.py), and every other tier likewise, none more than it has; work that arrives
meanwhile counts at the rate at which it came lately. The sum, divided by the farm's speed, is the time to the start of
the last task; its own duration and that of what follows it come on top.

Cost: linear in the tier's users, the owner's jobs and the slots; nothing is stored for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log, sqrt

from scheduler.fairness import JobLeaf, TierShare, User
from scheduler.health import Circuit
from scheduler.jobs import TaskKind, TaskState
from scheduler.ledger import Attempt, Job, Ledger, Task
from scheduler.reports import Explanation, Interval, Rule

ROUNDS = 12
"""Iterations of the fixed point between waiting time and what arrives meanwhile."""
NARROW, WIDE = 0.5, 2.0
"""The interval as factors of the time to go. Source: `benchmarks fairness`, 5 % and 95 % of actual / estimate."""
OVERDUE_PART = 0.25
"""What is left of a task that runs as long as predicted, or longer, as a part of its prediction: about the mean
residual life of a lognormal time with sigma 0.3, which is what segments of unlike sources show."""
TYPICAL_SPREAD = 1.7
"""p95 / median of segments of a job whose plan is not known: a lognormal with the sigma of 0.3 named above."""
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
        end = _interval(ledger.now, _time_to_end_s(ledger, farm, job, own_ahead_s))
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
    frees_per_s = sum(1.0 / attempt.estimate.wall_s for worker in usable for attempt in worker.attempts[:1])
    return _Farm(
        slots=max(1, len(usable)),
        idle=sum(1 for worker in usable if not worker.attempts),
        pace=ledger.pace,
        first_free_s=1.0 / frees_per_s if frees_per_s else 0.0,
        in_flight=in_flight,
    )


def _precedes(other: JobLeaf, leaf: JobLeaf) -> bool:
    return not other.paused and bool(other.key < leaf.key)


def _queued_s(farm: _Farm, place: JobLeaf | User | TierShare) -> float:
    """Predicted work of a place in the queue that has not started."""
    return max(0.0, place.work_s - farm.in_flight.get(id(place), 0.0))


def _wait_s(ledger: Ledger, farm: _Farm, leaf: JobLeaf, own_s: float) -> tuple[float, float]:
    """Seconds until the owner was served `own_s` from now on, and what others are served meanwhile."""
    user = leaf.user
    tier = user.tier
    speed = farm.slots * farm.pace
    in_tier_s = 0.0
    all_s = roomy_s = room_s = 0.0
    for other in tier.users.values():
        if other is not user and other.jobs:
            level_s = max(0.0, own_s + user.key - other.key)
            here_s = _queued_s(farm, other)
            in_tier_s += min(here_s, level_s)
            all_s += here_s
            if here_s < level_s:
                roomy_s += here_s
                room_s += level_s - here_s
    free_s = farm.idle * ledger.typical_wall_s * farm.pace
    fresh = ledger.arrivals_s(tier.tier, fresh=True)
    more = (ledger.arrivals_s(tier.tier, fresh=False) - fresh) * (roomy_s / all_s if all_s else 0.0)
    newcomers = fresh * _newcomers_part(own_s, ledger.typical_plan_s)
    wait_s = 0.0
    others_s = in_tier_s
    for _ in range(ROUNDS):
        others_s = in_tier_s + newcomers * wait_s + min(room_s, more * wait_s)
        tier_s = own_s + others_s
        for share in ledger.queue.tiers.values():
            if share is not tier:
                level_s = share.weight * (tier_s / tier.weight + tier.key - share.key)
                here_s = _queued_s(farm, share) + ledger.arrivals_s(share.tier, fresh=False) * wait_s
                others_s += max(0.0, min(here_s, level_s))
        wait_s = min(MAX_WAIT_S, max(0.0, own_s + others_s - free_s) / speed)
    return wait_s + (farm.first_free_s if not farm.idle else 0.0), others_s


def _newcomers_part(own_s: float, typical_s: float) -> float:
    """Which part of the work of users that arrive meanwhile is served before the owner got `own_s`.

    A newcomer that arrives halfway is served half of what the owner gets, or its work if that is less; averaged over
    arrival times.
    """
    if own_s <= typical_s:
        return own_s / (2.0 * typical_s)
    return 1.0 - typical_s / (2.0 * own_s)


def _time_to_end_s(ledger: Ledger, farm: _Farm, job: Job, own_ahead_s: float) -> float:
    """Seconds until the job is over."""
    waiting = [task for task in job.tasks if task.state is not TaskState.DONE]
    queued = [task for task in waiting if not task.in_flight]
    running = [task.in_flight[0] for task in waiting if task.in_flight]
    running_s = max((_left_s(ledger, attempt, len(running)) for attempt in running), default=0.0)
    parallel = [task.predicted_s for task in queued if task.spec.kind is not TaskKind.PACKAGE]
    chain_s = _chain_s(ledger, farm, job, queued)
    if not farm.idle:
        chain_s += _wait_s(ledger, farm, job.leaf, 0.0)[0]
    wait_s = 0.0
    if parallel or job.open:
        before_last_s = max(0.0, sum(parallel) + job.expected_s - max(parallel, default=0.0))
        wait_s, _ = _wait_s(ledger, farm, job.leaf, own_ahead_s + before_last_s)
    return max(running_s, wait_s) + chain_s


def _chain_s(ledger: Ledger, farm: _Farm, job: Job, queued: list[Task]) -> float:
    """Seconds of the longest chain of what has not started: the last of the parallel tasks, then the packaging."""
    by_kind: dict[TaskKind, float] = {}
    segments = sum(1 for task in queued if task.spec.kind is TaskKind.SEGMENT)
    for task in queued:
        estimate = ledger.costs.estimate(ledger.allowed_backends(task)[0], task.spec.cost)
        wall_s = estimate.wall_s
        if task.spec.kind is TaskKind.SEGMENT:
            wall_s *= _largest_of(min(segments, farm.idle), estimate.p95_s / estimate.wall_s)
        by_kind[task.spec.kind] = max(by_kind.get(task.spec.kind, 0.0), wall_s)
    if job.open:
        number = max(1.0, job.expected_s / (ledger.typical_wall_s * farm.pace))
        stretch = _largest_of(min(number, farm.idle), TYPICAL_SPREAD)
        by_kind.setdefault(TaskKind.SEGMENT, min(ledger.typical_wall_s * stretch, max(job.expected_s / farm.pace, 1.0)))
        by_kind.setdefault(TaskKind.PACKAGE, ledger.packaging_s)
    parallel_s = max(by_kind.get(TaskKind.SEGMENT, 0.0) * job.difficulty, by_kind.get(TaskKind.AUDIO, 0.0))
    return by_kind.get(TaskKind.INSPECT, 0.0) + parallel_s + by_kind.get(TaskKind.PACKAGE, 0.0)


def _largest_of(number: float, p95_ratio: float) -> float:
    """How much longer than the median the longest of so many tasks of one job takes.

    Half of the spread lies between jobs and half within one; the largest of n lognormal times is about
    exp(0.65 * sigma * sqrt(2 ln n)) medians, for the n of segments that run at once (fitted for n up to 100).
    """
    sigma = 0.5 * log(max(1.0, p95_ratio)) / 1.645
    return exp(0.65 * sigma * sqrt(2.0 * log(max(1, number))))


def _left_s(ledger: Ledger, attempt: Attempt, beside: int) -> float:
    """Predicted seconds until the last of so many attempts of a job, this one among them, is over."""
    elapsed_s = 0.0 if attempt.begun_at is None else ledger.now - attempt.begun_at
    wall_s = attempt.estimate.wall_s
    if attempt.task.spec.kind is TaskKind.SEGMENT:
        wall_s *= attempt.task.job.difficulty * _largest_of(beside, attempt.estimate.p95_s / wall_s)
    return max(wall_s - elapsed_s, OVERDUE_PART * wall_s)


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
