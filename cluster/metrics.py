"""Every metric of the farm: its name, help, labels and buckets. The core counts; only this file names.

Each process has a registry of its own, so that two farms in one process (tests) do not meet.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from encoders.errors import Failure
from scheduler.reports import SchedulerStats

REQUEST_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Around the target that an API answers within 200 ms."""

ALERTS = ("device_fenced", "device_out", "encoder_switched", "poison_suspected", "poison_task", "task_dead")
"""What the engine alerts about. Each is counted from 0, as a series that begins with 1 shows Prometheus no increase."""


class DispatcherMetrics:
    """What one dispatcher tells Prometheus."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._jobs = Counter(
            "reelmill_jobs_finished",
            "Jobs that ended, by state and failure code.",
            ["state", "code"],
            registry=self.registry,
        )
        self._tasks = Counter(
            "reelmill_attempts_finished",
            "Attempts that ended, by outcome.",
            ["outcome", "backend"],
            registry=self.registry,
        )
        self._alerts = Counter("reelmill_alerts", "Alerts that a person should see.", ["name"], registry=self.registry)
        for name in ALERTS:
            self._alerts.labels(name=name)
        self._fall_backs = Counter(
            "reelmill_fall_backs",
            "Jobs that went on with less than they were begun with, by what was given up, for what, and why.",
            ["given_up", "to", "reason"],
            registry=self.registry,
        )
        self._wanted = Gauge("reelmill_workers_wanted", "Workers that would be of use now.", registry=self.registry)
        self._live = Gauge("reelmill_jobs", "Live jobs, by tier and state.", ["tier", "state"], registry=self.registry)
        self._waiting = Gauge(
            "reelmill_waiting_engine_seconds", "Predicted work of live jobs.", ["tier"], registry=self.registry
        )
        self._served = Gauge(
            "reelmill_served_engine_seconds", "Work done since the start.", ["tier"], registry=self.registry
        )
        self._slots = Gauge("reelmill_slots", "Slots and attempts, by what they do.", ["state"], registry=self.registry)
        self._devices = Gauge(
            "reelmill_device_open", "1 where a device's circuit is not closed.", ["device"], registry=self.registry
        )

    def job_finished(self, state: str, failure: Failure | None) -> None:
        """A job ended."""
        self._jobs.labels(state=state, code=failure.code if failure else "").inc()

    def task_finished(self, outcome: str, backend: str) -> None:
        """An attempt ended; `outcome` is "done" or the failure's code."""
        self._tasks.labels(outcome=outcome, backend=backend).inc()

    def alert(self, name: str) -> None:
        """The engine raised an alert."""
        self._alerts.labels(name=name).inc()

    def fell_back(self, given_up: str, to: str, reason: str) -> None:
        """A job changed its backend or encoder; `reason` is a failure's code or "device_gone"."""
        self._fall_backs.labels(given_up=given_up, to=to, reason=reason).inc()

    def wanted_workers(self, count: int) -> None:
        """The engine could use so many workers more."""
        self._wanted.set(count)

    def observe(self, stats: SchedulerStats) -> None:
        """The engine's counts, once in a while: gathering them is linear in users and slots."""
        for tier, each in stats.tiers.items():
            for state, count in each.jobs.items():
                self._live.labels(tier=tier, state=state).set(count)
            self._waiting.labels(tier=tier).set(each.waiting_s)
            self._served.labels(tier=tier).set(each.served_s)
        for name in ("workers", "draining", "idle", "running", "twins", "stopping"):
            self._slots.labels(state=name).set(getattr(stats, name))
        for device, circuit in stats.devices.items():
            self._devices.labels(device=device).set(circuit != "closed")


class GatewayMetrics:
    """What one gateway tells Prometheus."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "reelmill_http_requests", "HTTP requests answered.", ["route", "method", "status"], registry=self.registry
        )
        self.request_s = Histogram(
            "reelmill_http_request_seconds",
            "Time to answer an HTTP request, by route.",
            ["route", "method"],
            buckets=REQUEST_BUCKETS_S,
            registry=self.registry,
        )
        self.uploads = Counter(
            "reelmill_uploads", "Upload sessions, by what became of them.", ["outcome"], registry=self.registry
        )
        self.webhooks = Counter(
            "reelmill_webhooks", "Tries to deliver an event, by outcome.", ["outcome"], registry=self.registry
        )
        self.part_bytes = Counter(
            "reelmill_part_bytes", "Bytes of parts received by the data plane.", registry=self.registry
        )
