"""Twins of stragglers: the first valid result wins, whatever becomes of the other."""

from __future__ import annotations

from farm_driver import INPUT, STORE, Farm, plan, starts, stops, task, two_nodes

from scheduler import events
from scheduler.jobs import JobState


def test_a_straggler_gets_a_twin_on_an_idle_slot_and_the_first_result_wins() -> None:
    farm = two_nodes()
    for index in range(5):
        farm.submit(f"w{index}", (task(f"w{index}/s0"),))
        farm.done(f"w{index}/s0", after=5.0)
    farm.submit(tasks=plan("a", 1))
    first = farm.start_of("a/s0")
    assert starts(farm.wait(4.0)) == []
    assert starts(farm.wait(20.0)) == [("a/s0", 2)]
    twin = farm.start_of("a/s0")
    assert twin.twin
    assert twin.worker_id != first.worker_id
    assert farm.scheduler.stats().twins == 1
    assert starts(farm.wait(10.0)) == []
    out = farm.done("a/s0", start=twin)
    assert stops(out) == [("a/s0", 1)]
    farm.fail("a/s0", start=first)
    farm.finish_all()
    assert farm.over() is JobState.COMPLETED


def straggling() -> tuple[Farm, object, object]:
    farm = two_nodes()
    for index in range(5):
        farm.submit(f"w{index}", (task(f"w{index}/s0"),))
        farm.done(f"w{index}/s0", after=5.0)
    farm.submit(tasks=plan("a", 1))
    first = farm.start_of("a/s0")
    farm.wait(30.0)
    return farm, first, farm.start_of("a/s0")


def test_when_the_straggler_fails_its_twin_goes_on() -> None:
    farm, first, twin = straggling()
    assert starts(farm.fail("a/s0", start=first)) == []
    farm.done("a/s0", start=twin)
    farm.finish_all()
    assert farm.over() is JobState.COMPLETED


def test_when_both_fail_the_task_is_tried_again() -> None:
    farm, first, twin = straggling()
    farm.fail("a/s0", start=first)
    assert starts(farm.fail("a/s0", STORE, start=twin)) == []
    farm.wait(5.0)
    assert farm.runs("a/s0")


def test_a_bad_source_found_by_one_stops_the_other() -> None:
    farm, first, twin = straggling()
    assert stops(farm.fail("a/s0", INPUT, start=first)) == [("a/s0", twin.attempt)]
    assert farm.over() is JobState.FAILED


def test_a_lost_worker_leaves_the_twin() -> None:
    farm, first, twin = straggling()
    assert starts(farm.lose(first.worker_id, "node_lost")) == []
    farm.done("a/s0", start=twin)
    farm.finish_all()
    assert farm.over() is JobState.COMPLETED


def test_no_twin_without_an_idle_slot_that_fits_and_none_of_a_paused_job() -> None:
    farm = Farm()
    farm.join("w0")
    for index in range(5):
        farm.submit(f"w{index}", (task(f"w{index}/s0"),))
        farm.done(f"w{index}/s0", after=5.0)
    farm.submit("a", (task("a/s0"),))
    farm.wait(30.0)
    farm.handle(events.JobPaused(at=farm.now, job_id="a"))
    farm.join("w1", node_id="n1")
    assert starts(farm.wait(1.0)) == []
    farm.handle(events.JobResumed(at=farm.now, job_id="a"))
    assert [name for name, _ in starts(farm.log)][-1] == "a/s0"
    farm.join("g", backends=("other",), node_id="n2")
    farm.finish_all()
