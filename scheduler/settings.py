"""The scheduler's policy as one value. Defaults are for a farm of tens to hundreds of slots."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from scheduler.jobs import Tier


def _tier_weights() -> Mapping[Tier, float]:
    return {Tier.PAID: 8.0, Tier.VERIFIED: 3.0, Tier.FREE: 1.0}


def _encoders() -> Mapping[str, str]:
    # hybrid and cpu both encode with x264, so their segments share one init segment; NVENC writes other SPS/PPS.
    return {"nvenc": "nvenc", "hybrid": "x264", "cpu": "x264"}


def _tier_bursts() -> Mapping[Tier, float]:
    return {Tier.PAID: 60.0, Tier.VERIFIED: 15.0, Tier.FREE: 0.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerSettings:
    """What a farm's operator may turn.

    Attributes:
        seed: of the jitter; the same seed and events give the same instructions.
        tier_weights: share of engine-seconds per tier while all are backlogged.
        tier_bursts_s: how far a tier that comes back from idleness starts behind those with work, in engine-seconds
            per unit of weight and per (1 + slots / sum of weights): what a burst of it may take at once. It lengthens
            the others' waits by no more than that (bounds.py).
        credit_s: engine-seconds (per unit of weight) that one whose work could not run (no slot fitted) may catch up.
        encoders: backend -> encoder; segments of one job all come from one encoder.
        device_attempts: tries before a task that fails by DEVICE is dead.
        infrastructure_attempts: tries before a task that fails by INFRASTRUCTURE is dead: with the back-off below, an
            outage of about eight minutes is sat out.
        backoff_base_s, backoff_cap_s: exponential back-off, full jitter in its upper half.
        deaths_to_poison: workers that a task may kill before it is isolated.
        busy_codes: failure codes of a device that is full, not ill: back-off, no blame.
        refusal_codes: failure codes of a device that cannot do this work, and is not ill: the next backend at once.
        fence_codes: failure codes after one of which a device gets nothing until a canary has passed on it.
        min_timeout_s: shortest timeout of a task. Source of the factor: go-livepeer, max(8 s, 4 x segment duration).
        timeout_factor: timeout = factor x p95 of the prediction.
        cold_timeout_s: shortest timeout while a cost is only guessed (fewer than cost.TRUSTED_SAMPLES results).
        inspect_timeout_s: shortest timeout of an inspection. What a source may cost there is bounded by processor time,
            which a busy host stretches; that is no fault of a device.
        stop_grace_s: how long a stopped or timed-out task may take to end before its worker is replaced.
        survivor_patience_s: how long an attempt that outlived its dispatcher goes on while nobody asks for its job.
        twins: start twins of stragglers on idle slots.
        failures_to_open: device failures in a row, of different jobs, that open the circuit.
        fast_failures_to_open: the same for failures in less than `fast_fraction` of the predicted time (a black hole).
        slow_ratio: median of actual / predicted time at which a device counts as slow while others do not.
        device_cooldown_s, device_cooldown_cap_s: first and longest time a circuit stays open; doubles in between.
        device_return_s: how long a device whose workers are all gone is expected back.
        check_timeout_s: how long a canary may take before its silence counts.
        check_every_s: period of canaries on GPU devices.
        ask_after_s: ask for workers when the farm needs longer than this for its queue; None never asks.
        ask_every_s: pause between two such requests.
    """

    seed: int = 0
    tier_weights: Mapping[Tier, float] = field(default_factory=_tier_weights)
    tier_bursts_s: Mapping[Tier, float] = field(default_factory=_tier_bursts)
    credit_s: float = 120.0
    encoders: Mapping[str, str] = field(default_factory=_encoders)
    device_attempts: int = 3
    infrastructure_attempts: int = 14
    backoff_base_s: float = 1.0
    backoff_cap_s: float = 60.0
    deaths_to_poison: int = 2
    busy_codes: frozenset[str] = frozenset({"encode_sessions_exhausted", "device_busy"})
    refusal_codes: frozenset[str] = frozenset({"gpu_unsupported", "gpu_bad_configuration"})
    fence_codes: frozenset[str] = frozenset({"gpu_device_fault", "gpu_no_device"})
    min_timeout_s: float = 60.0
    timeout_factor: float = 4.0
    cold_timeout_s: float = 600.0
    inspect_timeout_s: float = 300.0
    stop_grace_s: float = 30.0
    survivor_patience_s: float = 60.0
    twins: bool = True
    failures_to_open: int = 3
    fast_failures_to_open: int = 2
    fast_fraction: float = 0.2
    slow_ratio: float = 3.0
    device_cooldown_s: float = 30.0
    device_cooldown_cap_s: float = 600.0
    device_return_s: float = 10.0
    check_timeout_s: float = 60.0
    check_every_s: float = 600.0
    ask_after_s: float | None = 120.0
    ask_every_s: float = 30.0

    def __post_init__(self) -> None:
        missing = set(Tier) - set(self.tier_weights)
        if missing or not all(weight > 0 for weight in self.tier_weights.values()):
            raise ValueError("tier_weights must give every tier a positive weight")
        if min(self.device_attempts, self.infrastructure_attempts, self.deaths_to_poison, self.failures_to_open) < 1:
            raise ValueError("attempts, deaths and failures are counted from 1")
