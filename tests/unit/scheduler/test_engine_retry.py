"""How often and where a task is tried again, by whose fault it failed."""

from __future__ import annotations

import pytest
from farm_driver import BUSY, DEVICE, INPUT, STORE, Farm, checks, starts, stops, task, two_nodes

from encoders.errors import Failure
from scheduler.jobs import JobState, TaskKind, TaskState


def test_a_device_failure_goes_elsewhere_at_once() -> None:
    farm = two_nodes()
    farm.submit(tasks=(task("a/s0"),))
    first = farm.start_of("a/s0").worker_id
    out = farm.fail("a/s0", DEVICE)
    assert starts(out) == [("a/s0", 2)]
    assert farm.start_of("a/s0").worker_id != first
    assert checks(out) == ["cpu:n0"]


def test_three_attempts_then_the_dead_letter_list() -> None:
    farm = two_nodes()
    farm.join("w2", node_id="n2")
    farm.join("w3", node_id="n3", backends=("other",))
    farm.submit(tasks=(task("a/s0"), task("a/s1", backends=("other",))))
    seen = set()
    for _ in range(3):
        seen.add(farm.start_of("a/s0").worker_id)
        out = farm.fail("a/s0", DEVICE)
    assert seen == {"w0", "w1", "w2"}
    assert farm.over() is JobState.FAILED
    assert farm.finished["a"].failure == DEVICE
    assert farm.state("a/s0") is TaskState.DEAD
    assert farm.alerts() == ["task_dead"]
    assert stops(out) == [("a/s1", 1)]


def test_never_twice_on_a_device_even_when_the_other_is_away_for_a_moment() -> None:
    farm = two_nodes()
    farm.submit(tasks=(task("a/s0"),))
    other = "w1" if farm.start_of("a/s0").worker_id == "w0" else "w0"
    node = "n1" if other == "w1" else "n0"
    farm.lose(other)
    assert starts(farm.fail("a/s0", DEVICE)) == []
    assert starts(farm.wait(3.0)) == []
    assert starts(farm.join(other, node_id=node)) == [("a/s0", 2)]


def test_on_a_farm_of_one_device_the_same_one_must_do() -> None:
    farm = Farm()
    farm.join()
    farm.submit(tasks=(task("a/s0"),))
    assert starts(farm.fail("a/s0", DEVICE)) == [("a/s0", 2)]


def test_when_the_other_device_does_not_come_back_the_same_one_must_do() -> None:
    farm = two_nodes()
    farm.submit(tasks=(task("a/s0"),))
    first = farm.start_of("a/s0").worker_id
    farm.lose("w1" if first == "w0" else "w0")
    farm.fail("a/s0", DEVICE)
    assert starts(farm.wait(20.0)) == [("a/s0", 2)]


def test_a_bad_source_is_never_tried_again_and_alerts_nobody() -> None:
    farm = two_nodes()
    farm.submit(tasks=(task("a/inspect", TaskKind.INSPECT),), still_open=True)
    farm.fail("a/inspect", INPUT)
    assert farm.over() is JobState.FAILED
    assert farm.finished["a"].failure == INPUT
    assert farm.alerts() == []


@pytest.mark.parametrize("failure", [STORE, BUSY])
def test_infrastructure_and_busy_devices_are_sat_out_with_back_off(failure: Failure) -> None:
    farm = Farm(infrastructure_attempts=4)
    farm.join()
    farm.submit(tasks=(task("a/s0"),))
    waits = []
    for _ in range(3):
        assert starts(farm.fail("a/s0", failure)) == []
        assert farm.state("a/s0") is TaskState.WAITING_RETRY
        waited = 0.0
        while not farm.runs("a/s0"):
            waited += 0.25
            farm.wait(0.25)
        waits.append(waited)
    assert waits[0] <= 1.25 < waits[1] + 0.5 <= waits[2] + 0.5
    farm.fail("a/s0", failure)
    assert farm.over() is JobState.FAILED
    assert "device_out" not in farm.alerts()


def test_back_off_differs_by_task_but_not_by_run() -> None:
    def first_retry(seed: int, name: str) -> float:
        farm = Farm(seed=seed)
        farm.join()
        farm.submit(name, (task(f"{name}/s0"),))
        farm.fail(f"{name}/s0", STORE)
        waited = 0.0
        while not farm.runs(f"{name}/s0"):
            waited += 0.01
            farm.wait(0.01)
        return waited

    assert first_retry(1, "a") == first_retry(1, "a")
    assert len({first_retry(1, "a"), first_retry(1, "b"), first_retry(2, "a")}) > 1


def test_sound_that_fails_everywhere_fails_the_job() -> None:
    farm = two_nodes()
    farm.submit(tasks=(task("a/audio", TaskKind.AUDIO),))
    farm.fail("a/audio")
    farm.fail("a/audio")
    farm.fail("a/audio")
    assert farm.over() is JobState.FAILED
