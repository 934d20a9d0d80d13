"""After a failure: again elsewhere, again later, once more in isolation, or never.

Reads the fault and what happened before; knows no queue and no device. The caller supplies chance.

| fault | decision |
|---|---|
| CALLER, INPUT | dead: no retry mends it |
| DEVICE | at once on another device; the third try on the next backend; then dead |
| DEVICE, but the device only cannot do this work | at once on the next backend; as often as above, then dead |
| INFRASTRUCTURE, or a device that is merely full | the same again after an exponential back-off with jitter |
| (any) by a task that killed two workers | one last try in a confined slot, then dead |
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from encoders.errors import Failure, Fault
from scheduler.settings import SchedulerSettings


class Step(StrEnum):
    """What to do with a task after a failed attempt."""

    ELSEWHERE = "elsewhere"
    """Another device; the one where it failed is not asked again."""
    NEXT_BACKEND = "next_backend"
    """Another device, and if the task has another backend, that."""
    LATER = "later"
    CONFINED = "confined"
    DEAD = "dead"


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What a task has been through, this failure included.

    Attributes:
        device_failures: attempts that failed by DEVICE, lost workers included.
        infrastructure_failures: attempts that failed by INFRASTRUCTURE.
        deaths: workers that died while they ran it.
        was_confined: the attempt that failed was the last try.
    """

    device_failures: int = 0
    infrastructure_failures: int = 0
    deaths: int = 0
    was_confined: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The step, and how many seconds to wait before it."""

    step: Step
    delay_s: float = 0.0


def next_step(failure: Failure, history: History, settings: SchedulerSettings, chance: float) -> Decision:
    """What to do after a failure.

    Args:
        chance: in [0, 1), for the jitter.
    """
    if failure.fault in (Fault.CALLER, Fault.INPUT):
        return Decision(step=Step.DEAD)
    if failure.fault is Fault.INFRASTRUCTURE or failure.code in settings.busy_codes:
        if history.infrastructure_failures >= settings.infrastructure_attempts:
            return Decision(step=Step.DEAD)
        return Decision(step=Step.LATER, delay_s=backoff_s(history.infrastructure_failures, settings, chance))
    if history.was_confined:
        return Decision(step=Step.DEAD)
    if history.deaths >= settings.deaths_to_poison:
        return Decision(step=Step.CONFINED)
    if history.device_failures >= settings.device_attempts:
        return Decision(step=Step.DEAD)
    if history.device_failures >= settings.device_attempts - 1 or failure.code in settings.refusal_codes:
        return Decision(step=Step.NEXT_BACKEND)
    return Decision(step=Step.ELSEWHERE)


def backoff_s(failures: int, settings: SchedulerSettings, chance: float) -> float:
    """Seconds to wait after the n-th failure in a row: base * 2^(n-1) up to the cap, its upper half by chance.

    Half of it is certain, so a store that is down is not hammered; half is chance, so that a thousand tasks that failed
    together do not come back together. Source: "Exponential Backoff And Jitter" (equal jitter), AWS Architecture Blog.
    """
    full = min(settings.backoff_cap_s, settings.backoff_base_s * 2.0 ** min(failures - 1, 32))
    return full * (0.5 + 0.5 * chance)


def chance_of(seed: int, task_id: str, attempt: int) -> float:
    """A number in [0, 1) that depends on its arguments only: FNV-1a over them, finished by Murmur3's 64-bit mixer.

    Source: FNV (Fowler, Noll, Vo), 64-bit parameters; fmix64 of MurmurHash3 (Appleby). FNV alone spreads the last byte
    badly over the high bits, which are the ones used here.
    """
    value = 0xCBF29CE484222325
    for byte in f"{seed}/{task_id}/{attempt}".encode():
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    value ^= value >> 33
    value = (value * 0xFF51AFD7ED558CCD) & 0xFFFFFFFFFFFFFFFF
    value ^= value >> 33
    value = (value * 0xC4CEB9FE1A85EC53) & 0xFFFFFFFFFFFFFFFF
    value ^= value >> 33
    return (value >> 11) / float(1 << 53)
