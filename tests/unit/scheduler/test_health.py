"""The circuit breaker: who is a witness, what opens it, what closes it."""

from __future__ import annotations

from scheduler.health import SLOW_WINDOW, Circuit, Device
from scheduler.settings import SchedulerSettings

SETTINGS = SchedulerSettings()


def device() -> Device:
    return Device(device_id="GPU-1", workers={"w"})


def fail(it: Device, job: str, *, fast: bool = False) -> str | None:
    return it.failed(job, fast=fast, settings=SETTINGS)


def test_one_bad_source_is_one_witness() -> None:
    it = device()
    assert [fail(it, "a") for _ in range(20)] == [None] * 20


def test_several_jobs_in_a_row_open_it() -> None:
    it = device()
    assert fail(it, "a") is None
    assert fail(it, "b") is None
    assert fail(it, "c") == "tasks of 3 jobs in a row failed"


def test_a_success_or_a_canary_wipes_failures_out() -> None:
    for clear in (lambda it: it.succeeded(1.0), lambda it: it.checked(True)):
        it = device()
        fail(it, "a")
        fail(it, "b")
        clear(it)
        assert fail(it, "c") is None


def test_a_black_hole_needs_fewer_witnesses() -> None:
    it = device()
    assert fail(it, "a", fast=True) is None
    assert "black hole" in (fail(it, "b", fast=True) or "")


def test_an_open_circuit_takes_no_work_and_hears_no_witness() -> None:
    it = device()
    assert it.open(100.0, SETTINGS) == 130.0
    assert not it.takes_work()
    assert [fail(it, job) for job in "abcd"] == [None] * 4
    assert not it.succeeded(1.0)
    assert it.checked(True) is None
    assert it.circuit is Circuit.OPEN


def test_cool_down_doubles_until_a_success() -> None:
    it = device()
    times = []
    for _ in range(8):
        times.append(it.open(0.0, SETTINGS))
    assert times == [30.0, 60.0, 120.0, 240.0, 480.0, 600.0, 600.0, 600.0]
    it.half_open(0.0, SETTINGS)
    assert not it.takes_work()
    assert it.checked(True) is None
    assert it.takes_work()
    assert it.open(0.0, SETTINGS) == 30.0


def test_a_failed_canary_opens_it() -> None:
    it = device()
    assert it.checked(False) == "the canary failed"


def test_a_trial_is_one_task_at_a_time() -> None:
    it = device()
    it.open(0.0, SETTINGS)
    it.half_open(30.0, SETTINGS)
    it.try_out()
    assert it.takes_work()
    it.running = 1
    assert not it.takes_work()
    assert fail(it, "a") == "the task that tested it failed"
    assert it.succeeded(1.0)
    assert it.circuit is Circuit.CLOSED


def test_speed_is_judged_by_the_median_of_enough_results() -> None:
    it = device()
    for index in range(SLOW_WINDOW):
        assert it.median_speed() is None
        it.succeeded(4.0 if index else 100.0)
    assert it.median_speed() == 4.0


def test_what_can_be_waited_for() -> None:
    it = device()
    assert it.can_be_waited_for()
    it.open(0.0, SETTINGS)
    assert it.can_be_waited_for()
    it.open(0.0, SETTINGS)
    assert not it.can_be_waited_for()
    gone = Device(device_id="cpu:n0")
    assert not gone.can_be_waited_for()
    assert not gone.is_gpu
