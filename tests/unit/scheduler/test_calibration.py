"""Intervals learn from the errors of past estimates how wide they must be."""

from __future__ import annotations

import random

import pytest
from farm_driver import Farm, task

from scheduler.calibration import COVERAGE, FIRST_FACTORS, KEPT_NOTES, Calibration, Stage


@pytest.mark.parametrize("sigma", [0.1, 0.5, 1.5])
@pytest.mark.parametrize("bias", [0.5, 1.0, 2.0])
def test_intervals_come_to_hold_what_they_promise(sigma: float, bias: float) -> None:
    calibration, chance, held = Calibration(), random.Random(1), 0
    for number in range(6000):
        low, high = calibration.factors(Stage.UNDER_WAY)
        assert low <= 1.0 <= high
        truth_s = 10.0 * bias * chance.lognormvariate(0.0, sigma)
        calibration.note("a", Stage.UNDER_WAY, 100.0, 10.0)
        calibration.learn("a", 100.0 + truth_s)
        if number >= 2000:
            held += low * 10.0 <= truth_s <= high * 10.0
    # An interval always holds its own estimate, so with little spread around a biased one it holds more.
    assert held / 4000 >= COVERAGE - 0.03
    assert held / 4000 <= COVERAGE + 0.03 or bias != 1.0


def test_stages_learn_apart() -> None:
    calibration = Calibration()
    for _ in range(100):
        calibration.note("a", Stage.LAST, 0.0, 1.0)
        calibration.learn("a", 100.0)
    assert calibration.factors(Stage.LAST)[1] > 10 * FIRST_FACTORS[Stage.LAST][1]
    assert calibration.factors(Stage.OPEN) == pytest.approx(FIRST_FACTORS[Stage.OPEN])


def test_what_ended_otherwise_teaches_nothing_and_notes_are_bounded() -> None:
    calibration = Calibration()
    for at in range(10 * KEPT_NOTES):
        for job in ("failed", "lost", "kept"):
            calibration.note(job, Stage.OPEN, float(at), 1.0)
    calibration.forget("failed")
    calibration.keep_only({"kept"})
    for job in ("failed", "lost"):
        calibration.learn(job, 1e9)
    assert calibration.factors(Stage.OPEN) == pytest.approx(FIRST_FACTORS[Stage.OPEN])
    calibration.learn("kept", 1e9)
    widest = FIRST_FACTORS[Stage.OPEN][1] * 2.8  # 16 steps of 4.5 % each
    assert FIRST_FACTORS[Stage.OPEN][1] < calibration.factors(Stage.OPEN)[1] < widest


def width_after(seconds: list[float]) -> float:
    """How wide the engine's interval is, for its length, once jobs took so long."""
    farm = Farm()
    farm.join()
    for index, took_s in enumerate(seconds):
        farm.submit(f"j{index}", (task(f"j{index}/s0"),))
        for _ in range(int(took_s // 6)):
            farm.wait(6.0)
        farm.done(f"j{index}/s0", after=took_s % 6)
    farm.submit("asked", (task("asked/s0"),))
    found = farm.scheduler.explain("asked", farm.now)
    assert found is not None
    assert found.end is not None
    return (found.end.latest - found.end.earliest) / (found.end.at - farm.now)


def test_a_farm_whose_tasks_vary_tells_wider_intervals_than_one_whose_tasks_are_alike() -> None:
    assert width_after([30.0] * 40) < 0.8 * width_after([12.0, 75.0] * 20)
