"""Why a job waits and until when: position, the rule that holds it, and an estimate of its start and end.

The estimate lets the queue's own rules run as a fluid. Until its last task starts, this job's owner is served X: the
owner's jobs with earlier finish tags, and this one. Meanwhile every other user of the tier is served until its counter
is level with the owner's (fairness.py), and every other tier likewise, none more than it has; work that arrives
meanwhile counts at the rate at which it came lately. The sum, divided by the speed of the slots that fit, is the time
to the start of the last task; its own duration and that of what follows it come on top.
"""

from __future__ import annotations

from math import exp, log, sqrt

from scheduler.calibration import Calibration, stage_of
from scheduler.cost import Estimate
from scheduler.jobs import TaskKind, TaskState
from scheduler.ledger import Attempt, Job, Ledger, Task
from scheduler.outlook import Outlook
from scheduler.reports import Explanation, Interval, Rule

ROUNDS = 12
"""Iterations of the fixed point between waiting time and what arrives meanwhile."""
OVERDUE_PART = 0.15
"""What is left of a task that runs as long as predicted, or longer, as a part of its prediction: the
median of what is left then, between 0.1 for sources whose difficulty is known and 0.25 for others (`benchmarks
fairness`)."""
TYPICAL_SPREAD = 1.7
"""p95 / median of segments of a job whose plan is not known: a lognormal with the sigma of 0.3 named above."""
MAX_WAIT_S = 30 * 86400.0
"""An estimate is never longer: on an overloaded farm the fixed point has none."""


class _Case:
    """One job before the farm.

    Attributes:
        slots, idle: that could run what the job has left.
        speed: engine-seconds that those slots serve per second.
        ahead: jobs of the owner that go before it; `own_ahead_s`: their work.
    """

    def __init__(self, ledger: Ledger, outlook: Outlook, job: Job) -> None:
        self.ledger = ledger
        self.outlook = outlook
        self.job = job
        self.left = [task for task in job.tasks if task.state is not TaskState.DONE]
        waiting = [task for task in self.left if task.bit] or self.left
        lanes = {backend for task in waiting for backend in ledger.allowed_backends(task)}
        self.backends = tuple(sorted(lanes)) if lanes else ("cpu",)
        self.fitting, usable, self.idle = outlook.slots_for(self.backends)
        self.slots = usable
        self.speed = max(1, usable) * ledger.pace
        self.ahead, self.own_ahead_s = outlook.own_jobs(job.leaf.user).ahead(job.leaf)


def to_go_s(ledger: Ledger, outlook: Outlook, job: Job) -> float | None:
    """Seconds until the job is over, as `explain` would tell now; None when nothing can run it."""
    case = _Case(ledger, outlook, job)
    return None if job.leaf.paused or not case.slots else _time_to_end_s(case)


def explain(ledger: Ledger, outlook: Outlook, job: Job, calibration: Calibration) -> Explanation:
    """Where the job stands."""
    case = _Case(ledger, outlook, job)
    rule, sentence = _rule(case)
    start: Interval | None = None
    end: Interval | None = None
    _, others_s = _wait_s(case, case.own_ahead_s + outlook.queued_s(job.leaf))
    if rule not in (Rule.PAUSED, Rule.NO_WORKER):
        wait_s, _ = _wait_s(case, case.own_ahead_s)
        spread = calibration.factors(stage_of(job))
        start = _interval(ledger.now, wait_s, spread) if job.started_at is None else _known(job.started_at)
        end = _interval(ledger.now, _time_to_end_s(case), spread)
    return Explanation(
        job_id=job.job_id,
        state=job.state,
        tier=job.tier,
        position=1 + case.ahead,
        jobs_ahead=0 if job.started_at is not None else case.ahead + outlook.users_before(job.leaf.user),
        ahead_s=case.own_ahead_s + others_s,
        rule=rule,
        sentence=sentence,
        start=start,
        end=end,
    )


def _wait_s(case: _Case, own_s: float) -> tuple[float, float]:
    """Seconds until the owner was served `own_s` from now on, and what others are served meanwhile."""
    ledger, outlook = case.ledger, case.outlook
    user = case.job.leaf.user
    tier = user.tier
    sharing = outlook.sharing(tier)
    level_s = own_s + user.key
    in_tier_s = max(0.0, sharing.served_s(level_s) - min(own_s, outlook.queued_s(user)))
    room_s = sharing.room_s(level_s)
    fresh = ledger.arrivals_s(tier.tier, fresh=True)
    more = (ledger.arrivals_s(tier.tier, fresh=False) - fresh) * sharing.ending_part(level_s)
    newcomers = fresh * _newcomers_part(own_s, ledger.typical_plan_s)
    free_s = case.idle * ledger.typical_wall_s * ledger.pace
    wait_s = 0.0
    others_s = in_tier_s
    for _ in range(ROUNDS):
        others_s = in_tier_s + newcomers * wait_s + min(room_s, more * wait_s)
        tier_s = own_s + others_s
        for share in ledger.queue.tiers.values():
            if share is not tier:
                due_s = share.weight * (tier_s / tier.weight + tier.key - share.key)
                here_s = outlook.queued_s(share) + ledger.arrivals_s(share.tier, fresh=False) * wait_s
                others_s += max(0.0, min(here_s, due_s))
        wait_s = min(MAX_WAIT_S, max(0.0, own_s + others_s - free_s) / case.speed)
    return wait_s + (0.0 if case.idle else outlook.first_free_s), others_s


def _newcomers_part(own_s: float, typical_s: float) -> float:
    """Which part of the work of users that arrive meanwhile is served before the owner got `own_s`.

    A newcomer that arrives halfway is served half of what the owner gets, or its work if that is less; averaged over
    arrival times.
    """
    if own_s <= typical_s:
        return own_s / (2.0 * typical_s)
    return 1.0 - typical_s / (2.0 * own_s)


def _time_to_end_s(case: _Case) -> float:
    """Seconds until the job is over."""
    ledger, job = case.ledger, case.job
    queued = [task for task in case.left if not task.in_flight]
    running = [task.in_flight[0] for task in case.left if task.in_flight]
    running_s = max((_left_s(ledger, attempt, len(running)) for attempt in running), default=0.0)
    parallel = [task.predicted_s for task in queued if task.spec.kind is not TaskKind.PACKAGE]
    before_s, parallel_s, after_s = _chain_s(case, queued)
    if not case.idle:
        after_s += _wait_s(case, 0.0)[0]
    wait_s = 0.0
    if parallel or job.open:
        last_s = min(ledger.typical_wall_s * ledger.pace, job.expected_s) if job.open else max(parallel)
        before_last_s = max(0.0, sum(parallel) + job.expected_s - last_s)
        wait_s, _ = _wait_s(case, case.own_ahead_s + before_last_s)
    if job.open:  # what runs is its inspection, which everything else waits for
        return max(running_s, wait_s) + before_s + parallel_s + after_s
    return max(running_s, wait_s + before_s + parallel_s) + after_s


def _chain_s(case: _Case, queued: list[Task]) -> tuple[float, float, float]:
    """Seconds of the longest chain of what has not started: inspection, the last of the parallel tasks, packaging."""
    ledger, job = case.ledger, case.job
    by_kind: dict[TaskKind, float] = {}
    segments = sum(1 for task in queued if task.spec.kind is TaskKind.SEGMENT)
    estimates: dict[tuple[TaskKind, int], Estimate] = {}
    for task in queued:
        alike = (task.spec.kind, task.spec.cost.frames)  # all else is the same within a job
        if alike in estimates:
            continue
        estimate = estimates[alike] = ledger.costs.estimate(ledger.allowed_backends(task)[0], task.spec.cost)
        wall_s = estimate.wall_s
        if task.spec.kind is TaskKind.SEGMENT:
            wall_s *= _largest_of(min(segments, case.idle), estimate.p95_s / estimate.wall_s)
        by_kind[task.spec.kind] = max(by_kind.get(task.spec.kind, 0.0), wall_s)
    if job.open:
        expected_s = max(1.0, job.expected_s / ledger.pace)
        stretch = _largest_of(min(expected_s / ledger.typical_wall_s, case.idle), TYPICAL_SPREAD)
        by_kind.setdefault(TaskKind.SEGMENT, min(ledger.typical_wall_s * stretch, expected_s))
        by_kind.setdefault(TaskKind.PACKAGE, ledger.packaging_s)
    parallel_s = max(by_kind.get(TaskKind.SEGMENT, 0.0) * job.difficulty, by_kind.get(TaskKind.AUDIO, 0.0))
    return by_kind.get(TaskKind.INSPECT, 0.0), parallel_s, by_kind.get(TaskKind.PACKAGE, 0.0)


def _largest_of(number: float, p95_ratio: float) -> float:
    """How much longer than the median the longest of so many tasks of one job takes.

    Half of the spread lies between jobs and half within one; the largest of n lognormal times is about
    exp(0.9 * sigma * sqrt(2 ln n)) medians, for the n of segments that run at once (fitted for n up to 100).
    """
    sigma = 0.5 * log(max(1.0, p95_ratio)) / 1.645
    return exp(0.9 * sigma * sqrt(2.0 * log(max(1, number))))


def _left_s(ledger: Ledger, attempt: Attempt, beside: int) -> float:
    """Predicted seconds until the last of so many attempts of a job, this one among them, is over."""
    elapsed_s = 0.0 if attempt.begun_at is None else ledger.now - attempt.begun_at
    wall_s = attempt.estimate.wall_s
    if attempt.task.spec.kind is TaskKind.SEGMENT:
        wall_s *= attempt.task.job.difficulty * _largest_of(beside, attempt.estimate.p95_s / wall_s)
    return max(wall_s - elapsed_s, OVERDUE_PART * wall_s)


def _interval(now: float, seconds: float, spread: tuple[float, float]) -> Interval:
    return Interval(earliest=now + spread[0] * seconds, at=now + seconds, latest=now + spread[1] * seconds)


def _known(at: float) -> Interval:
    return Interval(earliest=at, at=at, latest=at)


def _rule(case: _Case) -> tuple[Rule, str]:
    job = case.job
    if job.leaf.paused:
        return Rule.PAUSED, "The operator paused it."
    running = sum(1 for task in case.left if task.in_flight)
    if running:
        return Rule.RUNNING, f"{running} of its tasks run; {job.done_count} of {len(job.tasks)} are done."
    if any(task.state is TaskState.WAITING_RETRY for task in case.left):
        return Rule.BACKOFF, "A task failed and is tried again after a pause."
    if not case.left:
        return Rule.PLANNING, "Its source was inspected; what is to be encoded follows in a moment."
    if not case.ledger.workers:
        return Rule.NO_WORKER, "No worker is there yet: it goes on when the first has joined a farm that starts."
    if not case.fitting:
        return Rule.NO_WORKER, f"No worker offers what it needs: {' or '.join(case.backends)}."
    if not case.slots:
        return Rule.DEVICE_OUT, "All devices that could run it are out of service; they are tested again shortly."
    if case.ahead:
        jobs = "1 job of the same owner ends" if case.ahead == 1 else f"{case.ahead} jobs of the same owner end"
        return Rule.OWN_JOBS, f"{jobs} sooner and goes first." if case.ahead == 1 else f"{jobs} sooner and go first."
    if case.ledger.queue.is_next(job.leaf):
        return Rule.NEXT, "It is next: the first slot that fits takes it."
    return Rule.FAIR_SHARE, f"The slots are busy; tier {job.tier} is served by weight, and within it each user in turn."
