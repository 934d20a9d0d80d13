"""What the scheduler tells about itself: values, safe to keep and to send."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from scheduler.jobs import JobState, Tier


@dataclass(frozen=True, slots=True, kw_only=True)
class TierStats:
    """One tier.

    Attributes:
        jobs: live jobs per state (QUEUED, RUNNING).
        users: users with live jobs.
        waiting_s: predicted engine-seconds of its live jobs that are not done.
        served_s: engine-seconds served since the scheduler started.
        virtual_s: its counter: service per weight, lifted over idle times.
    """

    jobs: Mapping[JobState, int]
    users: int
    waiting_s: float
    served_s: float
    virtual_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerStats:
    """The whole farm as the scheduler sees it.

    Attributes:
        workers: slots that are here, draining ones included.
        draining: those that take nothing new.
        idle: slots without a task that may take one.
        running: attempts on slots, twins and staged ones included.
        twins: attempts that are twins.
        stopping: attempts that were told to stop and have not ended.
        devices: circuit per device ("closed", "open", ...).
    """

    tiers: Mapping[Tier, TierStats]
    workers: int
    draining: int
    idle: int
    running: int
    twins: int
    stopping: int
    devices: Mapping[str, str]


class Rule(StrEnum):
    """What holds a job. Stable codes; the sentence beside it says the same to a person."""

    RUNNING = "running"
    NEXT = "next"
    PAUSED = "paused"
    BACKOFF = "backoff"
    PLANNING = "planning"
    NO_WORKER = "no_worker"
    DEVICE_OUT = "device_out"
    OWN_JOBS = "own_jobs"
    FAIR_SHARE = "fair_share"


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An estimated time with the interval that is to hold it four times of five; on the events' clock.

    Attributes:
        at: the estimate.
        earliest, latest: the interval; `earliest <= at <= latest`.
    """

    earliest: float
    at: float
    latest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Where a job stands and why.

    Attributes:
        position: 1 + jobs of its owner that go before it, within its tier: 1 is the owner's next job.
        jobs_ahead: live jobs in all tiers that are expected to get service before this one starts.
        ahead_s: engine-seconds expected to be served to others before this one is done.
        rule: what holds it, stable.
        sentence: the same for a person.
        start: when its first task starts (or started: then the three are equal); None when nothing can run it.
        end: when it is over; None when nothing can run it.
    """

    job_id: str
    state: JobState
    tier: Tier
    position: int
    jobs_ahead: int
    ahead_s: float
    rule: Rule
    sentence: str
    start: Interval | None
    end: Interval | None
