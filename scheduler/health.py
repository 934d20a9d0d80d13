"""Whether a device may be given work: a circuit breaker per device, with an eye for black holes and for slow ones.

A failure alone does not say whether the task or the device is ill. So failures count per *job* (ten segments of one bad
source are one witness), a success or a passed canary wipes them out, and only several jobs in a row open the circuit.
A device that fails fast is worse than one that fails slowly, since it draws work towards itself (the black hole): fewer
witnesses suffice. While the circuit is open the device gets nothing; after a cool-down it is half open: a canary (a
known clip) decides, and where none answers, one task does.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum

from scheduler.jobs import TaskSpec
from scheduler.settings import SchedulerSettings

SLOW_WINDOW = 8
"""Results whose median speed judges a device."""


class Circuit(StrEnum):
    """State of a device's circuit."""

    CLOSED = "closed"
    """Healthy: gets work."""
    OPEN = "open"
    HALF_OPEN = "half_open"
    """A canary runs on it; it gets no work until that passes."""
    TRIAL = "trial"
    """No canary answered: it gets one task at a time until one succeeds."""


@dataclass(slots=True, kw_only=True)
class Device:
    """A device and what is known of its health.

    Attributes:
        workers: ids of its live workers, draining ones left out.
        backends: what it has ever offered.
        jobs_failed: jobs whose tasks failed on it by DEVICE since the last success or passed canary.
        jobs_failed_fast: those which failed in a fraction of the predicted time.
        speed: ratios of actual to predicted time of its last results.
        opened: how often in a row the circuit opened; the cool-down doubles with it.
        changes_at: when an OPEN circuit becomes half open, or a HALF_OPEN one gives up waiting for its canary.
        expected: its last worker went a moment ago, and it is expected back.
        asked_at: when a canary was last asked for.
        sessions_used, memory_used: of its budgets, by what runs.
        passed_over: class of tasks (its bit) -> how often another was started while it did not fit into what was free.
        kept_for: the class that the device takes nothing else before; 0 = none.
    """

    device_id: str
    workers: set[str] = field(default_factory=set)
    backends: frozenset[str] = frozenset()
    circuit: Circuit = Circuit.CLOSED
    jobs_failed: set[str] = field(default_factory=set)
    jobs_failed_fast: set[str] = field(default_factory=set)
    speed: deque[float] = field(default_factory=lambda: deque(maxlen=SLOW_WINDOW))
    opened: int = 0
    changes_at: float = 0.0
    expected: bool = False
    asked_at: float | None = None
    running: int = 0
    sessions_used: int = 0
    memory_used: int = 0
    passed_over: dict[int, int] = field(default_factory=dict)
    kept_for: int = 0

    @property
    def is_gpu(self) -> bool:
        """Whether it is a GPU, by the form of its id."""
        return not self.device_id.startswith("cpu:")

    def take(self, spec: TaskSpec, backend: str, step: int) -> None:
        """A task came (+1) or went (-1): what it takes of the budgets. On cores that is the node's memory."""
        if backend != "cpu":
            self.sessions_used += step * spec.renditions
            self.memory_used += step * spec.memory_bytes
        elif not self.is_gpu:
            self.memory_used += step * spec.host_memory_bytes

    def takes_work(self) -> bool:
        """Whether it may be given a task now."""
        return self.circuit is Circuit.CLOSED or (self.circuit is Circuit.TRIAL and self.running == 0)

    def can_be_waited_for(self) -> bool:
        """Whether work that only it can do should wait for it: it is here, and not out for a second time."""
        return bool(self.workers) and not (self.circuit is Circuit.OPEN and self.opened > 1)

    def succeeded(self, ratio: float) -> bool:
        """A task succeeded on it, in `ratio` times the predicted time. Returns whether that closed its circuit."""
        if self.circuit not in (Circuit.CLOSED, Circuit.TRIAL):
            return False
        closed = self.circuit is Circuit.TRIAL
        self._heal()
        self.speed.append(ratio)
        return closed

    def failed(self, job_id: str, *, fast: bool, settings: SchedulerSettings) -> str | None:
        """A task failed on it by DEVICE. Returns why its circuit must open, or None."""
        self.jobs_failed.add(job_id)
        if fast:
            self.jobs_failed_fast.add(job_id)
        if self.circuit is Circuit.TRIAL:
            return "the task that tested it failed"
        if self.circuit is not Circuit.CLOSED:
            return None
        if len(self.jobs_failed_fast) >= settings.fast_failures_to_open:
            return f"tasks of {len(self.jobs_failed_fast)} jobs in a row failed fast (a black hole)"
        if len(self.jobs_failed) >= settings.failures_to_open:
            return f"tasks of {len(self.jobs_failed)} jobs in a row failed"
        return None

    def checked(self, healthy: bool) -> str | None:
        """A canary came back. Returns why the circuit must open, or None."""
        if healthy:
            if self.circuit is not Circuit.OPEN:
                self._heal()
            return None
        return "the canary failed"

    def median_speed(self) -> float | None:
        """Median ratio of actual to predicted time, once there are enough results."""
        if len(self.speed) < SLOW_WINDOW:
            return None
        return sorted(self.speed)[SLOW_WINDOW // 2]

    def open(self, now: float, settings: SchedulerSettings) -> float:
        """Takes it out until the returned time; longer each time in a row."""
        self.circuit = Circuit.OPEN
        cooldown_s = min(settings.device_cooldown_cap_s, settings.device_cooldown_s * 2.0 ** min(self.opened, 16))
        self.opened += 1
        self.speed.clear()
        self.changes_at = now + cooldown_s
        return self.changes_at

    def half_open(self, now: float, settings: SchedulerSettings) -> float:
        """Lets a canary try. Returns until when its answer is waited for."""
        self.circuit = Circuit.HALF_OPEN
        self.asked_at = now
        self.changes_at = now + settings.check_timeout_s
        return self.changes_at

    def try_out(self) -> None:
        """No canary answered: one task at a time tells."""
        self.circuit = Circuit.TRIAL
        self.asked_at = None

    def _heal(self) -> None:
        self.circuit = Circuit.CLOSED
        self.jobs_failed.clear()
        self.jobs_failed_fast.clear()
        self.opened = 0
