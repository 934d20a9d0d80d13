"""The decision table, row by row."""

from __future__ import annotations

import pytest

from encoders.errors import Failure, Fault
from scheduler.retry import Decision, History, Step, backoff_s, chance_of, next_step
from scheduler.settings import SchedulerSettings

SETTINGS = SchedulerSettings()


@pytest.mark.parametrize(
    ("fault", "history", "step"),
    [
        (Fault.CALLER, History(), Step.DEAD),
        (Fault.INPUT, History(), Step.DEAD),
        (Fault.INPUT, History(deaths=2, device_failures=2), Step.DEAD),
        (Fault.DEVICE, History(device_failures=1), Step.ELSEWHERE),
        (Fault.DEVICE, History(device_failures=2), Step.NEXT_BACKEND),
        (Fault.DEVICE, History(device_failures=3), Step.DEAD),
        (Fault.DEVICE, History(device_failures=1, deaths=1), Step.ELSEWHERE),
        (Fault.DEVICE, History(device_failures=2, deaths=2), Step.CONFINED),
        (Fault.DEVICE, History(device_failures=3, deaths=2), Step.CONFINED),
        (Fault.DEVICE, History(device_failures=3, deaths=2, was_confined=True), Step.DEAD),
        (Fault.INFRASTRUCTURE, History(infrastructure_failures=1), Step.LATER),
        (Fault.INFRASTRUCTURE, History(infrastructure_failures=1, was_confined=True), Step.LATER),
        (Fault.INFRASTRUCTURE, History(infrastructure_failures=13), Step.LATER),
        (Fault.INFRASTRUCTURE, History(infrastructure_failures=14), Step.DEAD),
    ],
)
def test_decisions(fault: Fault, history: History, step: Step) -> None:
    failure = Failure(code="x", fault=fault, detail="")
    assert next_step(failure, history, SETTINGS, 0.5).step is step


def test_a_device_that_is_full_is_not_ill() -> None:
    failure = Failure(code="encode_sessions_exhausted", fault=Fault.DEVICE, detail="")
    decision = next_step(failure, History(infrastructure_failures=2), SETTINGS, 0.0)
    assert decision == Decision(step=Step.LATER, delay_s=1.0)


def test_back_off_doubles_to_its_cap_and_chance_moves_its_upper_half() -> None:
    assert [backoff_s(n, SETTINGS, 0.0) for n in (1, 2, 3, 4)] == [0.5, 1.0, 2.0, 4.0]
    assert backoff_s(1, SETTINGS, 1.0) == 1.0
    assert backoff_s(500, SETTINGS, 1.0) == SETTINGS.backoff_cap_s


def test_all_attempts_together_sit_out_minutes() -> None:
    total = sum(backoff_s(n, SETTINGS, 0.0) for n in range(1, SETTINGS.infrastructure_attempts))
    assert total > 200.0


def test_chance_is_even_and_repeatable() -> None:
    values = [chance_of(1, f"job{index}/s{index % 7}", index % 5) for index in range(4000)]
    assert values == [chance_of(1, f"job{index}/s{index % 7}", index % 5) for index in range(4000)]
    assert all(0.0 <= value < 1.0 for value in values)
    for tenth in range(10):
        assert 300 < sum(1 for value in values if tenth <= value * 10 < tenth + 1) < 500
    assert chance_of(1, "a", 1) != chance_of(2, "a", 1)
