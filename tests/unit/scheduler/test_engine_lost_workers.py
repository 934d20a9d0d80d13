"""Workers that die or hang: one attempt is lost and no finished work, and late results are welcome."""

from __future__ import annotations

import pytest
from farm_driver import Farm, plan, replaced, starts, stops, task, two_nodes

from encoders.errors import Failure, Fault
from scheduler import events
from scheduler.jobs import JobState, TaskState


def test_a_lost_worker_costs_one_attempt_and_no_finished_segment() -> None:
    farm = two_nodes()
    farm.submit(tasks=plan("a", 3))
    farm.done("a/s0")
    victim = farm.start_of("a/s1")
    out = farm.lose(victim.worker_id)
    assert ("a/s1", 2) not in starts(out)
    farm.finish_all()
    farm.join(victim.worker_id, node_id="n0" if victim.worker_id == "w0" else "n1")
    farm.finish_all()
    assert farm.over() is JobState.COMPLETED
    assert sum(1 for entry in farm.log if entry == farm.saved_tasks["a/s0"]) == 1


@pytest.mark.parametrize("reason", ["node_lost", "drained", "stopped", "hung"])
def test_a_loss_that_is_not_the_tasks_fault_is_not_held_against_it(reason: str) -> None:
    farm = Farm()
    farm.submit(tasks=(task("a/s0"),))
    for index in range(6):
        farm.join(f"w{index}", node_id=f"n{index}")
        farm.lose(f"w{index}", reason)
    farm.join("last")
    farm.done("a/s0")
    assert farm.over() is JobState.COMPLETED
    assert farm.saved_tasks["a/s0"].attempt == 7


def test_a_late_result_of_a_lost_attempt_is_welcome() -> None:
    farm = Farm()
    farm.join("w0")
    farm.submit(tasks=plan("a", 1))
    lost = farm.start_of("a/s0")
    farm.lose("w0")
    assert farm.done("a/s0", start=lost) != []
    assert farm.state("a/s0") is TaskState.DONE
    farm.join("w1")
    farm.finish_all()
    assert farm.over() is JobState.COMPLETED


def test_a_late_result_stops_the_attempt_that_replaced_it() -> None:
    farm = two_nodes()
    farm.submit(tasks=plan("a", 1))
    lost = farm.start_of("a/s0")
    farm.lose(lost.worker_id, "node_lost")
    again = farm.start_of("a/s0")
    assert stops(farm.done("a/s0", start=lost)) == [("a/s0", again.attempt)]
    assert farm.done("a/s0", start=lost) == []
    farm.fail("a/s0", start=again)
    farm.finish_all()
    assert farm.over() is JobState.COMPLETED


def test_a_late_result_from_somebody_else_is_not() -> None:
    farm = Farm()
    farm.join("w0")
    farm.submit(tasks=plan("a", 1))
    farm.lose("w0")
    event = events.TaskDone(at=farm.now, task_id="a/s0", attempt=1, worker_id="w9", engine_s=1.0)
    assert farm.handle(event) == []


def test_a_worker_that_joins_again_lost_what_it_ran() -> None:
    farm = Farm()
    farm.join("w0")
    farm.submit(tasks=plan("a", 1))
    assert starts(farm.join("w0")) == [("a/s0", 2)]


def test_a_hung_task_is_stopped_goes_elsewhere_and_its_worker_is_replaced() -> None:
    farm = two_nodes(twins=False)
    farm.submit(tasks=(task("a/s0"),))
    first = farm.start_of("a/s0")
    assert farm.wait(first.timeout_s) == []
    out = farm.wait(31.0)
    assert stops(out) == [("a/s0", 1)]
    assert starts(out) == [("a/s0", 2)]
    assert replaced(farm.wait(31.0)) == [first.worker_id]
    assert replaced(farm.wait(61.0)) == [first.worker_id]
    farm.lose(first.worker_id, "hung")
    assert farm.wait(61.0) == []
    assert farm.start_of("a/s0").timeout_s == 2 * first.timeout_s
    farm.done("a/s0")
    assert farm.over() is JobState.COMPLETED


def test_a_stopped_task_that_ends_in_time_costs_no_worker() -> None:
    farm = two_nodes(twins=False)
    farm.submit(tasks=(task("a/s0"),))
    first = farm.start_of("a/s0")
    farm.wait(first.timeout_s + 31.0)
    farm.fail("a/s0", start=first)
    assert replaced(farm.wait(100.0)) == []


def test_a_staged_task_of_a_lost_worker_is_not_blamed() -> None:
    farm = Farm()
    farm.join("w0", depth=2)
    farm.submit(tasks=plan("a", 2))
    farm.lose("w0")
    assert farm.saved_tasks["a/s0"].deaths == 1
    assert farm.saved_tasks["a/s1"].deaths == 0


def test_a_failure_with_a_stage_behind_it_moves_on() -> None:
    farm = Farm()
    farm.join("w0", depth=2)
    farm.submit(tasks=plan("a", 2))
    staged = farm.start_of("a/s1")
    farm.done("a/s1", start=staged)
    assert farm.fail("a/s0", Failure(code="x", fault=Fault.CALLER, detail="no")) != []
    assert farm.over() is JobState.FAILED
