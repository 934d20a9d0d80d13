"""Every metric of the farm: its name, help, labels and buckets. The core counts; only this file names.

Each process has a registry of its own, so that two farms in one process (tests) do not meet.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from encoders.errors import Failure
from scheduler.engine import SchedulerStats

REQUEST_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Around the target that an API answers within 200 ms."""


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
        self._wanted = Gauge("reelmill_workers_wanted", "Workers that would be of use now.", registry=self.registry)
        self._stats = Gauge("reelmill_scheduler", "Counts of the scheduler, by name.", ["name"], registry=self.registry)

    def job_finished(self, state: str, failure: Failure | None) -> None:
        """A job ended."""
        self._jobs.labels(state=state, code=failure.code if failure else "").inc()

    def task_finished(self, outcome: str, backend: str) -> None:
        """An attempt ended; `outcome` is "done" or the failure's code."""
        self._tasks.labels(outcome=outcome, backend=backend).inc()

    def alert(self, name: str) -> None:
        """The engine raised an alert."""
        self._alerts.labels(name=name).inc()

    def wanted_workers(self, count: int) -> None:
        """The engine could use so many workers more."""
        self._wanted.set(count)

    def observe(self, stats: SchedulerStats) -> None:
        """The engine's counts after a batch of decisions."""
        for name, value in stats.gauges().items():
            self._stats.labels(name=name).set(value)


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
        self.part_bytes = Counter(
            "reelmill_part_bytes", "Bytes of parts received by the data plane.", registry=self.registry
        )
