"""A dispatcher dies and its workers go on: the next one counts on what they run, and runs none of it again."""

from __future__ import annotations

from farm_driver import DEVICE, Farm, plan, replaced, starts, stops, task

from encoders.errors import Failure, Fault
from scheduler import events
from scheduler.events import Survivor
from scheduler.instructions import Instruction, StartTask
from scheduler.jobs import JobState, TaskKind

S0 = Survivor(task_id="a/s0", attempt=1, backend="cpu", elapsed_s=4.0)


def answer(farm: Farm, survivor: Survivor, worker_id: str) -> list[Instruction]:
    """The survivor's result."""
    event = events.TaskDone(
        at=farm.now, task_id=survivor.task_id, attempt=survivor.attempt, worker_id=worker_id, engine_s=5.0
    )
    return farm.handle(event)


def known(farm: Farm, survivor: Survivor, worker_id: str) -> None:
    """The driver did not see the survivor start: tell it."""
    start = StartTask(
        job_id="a",
        task_id=survivor.task_id,
        attempt=survivor.attempt,
        worker_id=worker_id,
        backend="cpu",
        timeout_s=9.0,
    )
    farm.running[(survivor.task_id, survivor.attempt)] = start


def test_a_survivor_goes_on_and_its_task_is_not_started_again() -> None:
    farm = Farm()
    farm.join("w0", survivors=(S0,))
    farm.join("w1")
    out = farm.submit("a", plan("a", 3), encoder="x264", attempts={"a/s0": 1})
    assert starts(out) == [("a/s1", 1)]
    out = answer(farm, S0, "w0")
    assert starts(out) == [("a/s2", 1)]
    farm.done("a/s1")
    farm.done("a/s2")
    farm.done("a/package")
    assert farm.over() is JobState.COMPLETED


def test_its_place_is_held_until_its_job_is_known() -> None:
    farm = Farm()
    farm.join("w0", survivors=(S0,))
    assert starts(farm.submit("b", (task("b/s0"),))) == []
    assert starts(answer(farm, S0, "w0")) == [("b/s0", 1)]


def test_a_survivor_that_fails_is_tried_again() -> None:
    farm = Farm()
    farm.join("w0", survivors=(S0,))
    farm.submit("a", plan("a", 1), encoder="x264", attempts={"a/s0": 1})
    known(farm, S0, "w0")
    assert starts(farm.fail("a/s0", DEVICE)) == [("a/s0", 2)]


def test_a_survivor_whose_worker_dies_is_tried_again_elsewhere() -> None:
    farm = Farm()
    farm.join("w0", survivors=(S0, Survivor(task_id="other/s0", attempt=1, backend="cpu")), depth=2)
    farm.submit("a", plan("a", 1), encoder="x264", attempts={"a/s0": 1})
    farm.lose("w0")
    assert starts(farm.join("w1", node_id="n1")) == [("a/s0", 2)]
    farm.finish_all()
    assert farm.over() is JobState.COMPLETED


def test_what_is_of_no_use_is_stopped_and_frees_its_place_when_it_ends() -> None:
    farm = Farm()
    farm.join("w0", survivors=(S0,))
    out = farm.submit("a", plan("a", 2), encoder="x264", done=frozenset({"a/s0"}), attempts={"a/s0": 1})
    assert (stops(out), starts(out)) == ([("a/s0", 1)], [])
    stopped = Failure(code="stopped", fault=Fault.INFRASTRUCTURE, detail="stopped")
    out = farm.handle(events.TaskFailed(at=1.0, task_id="a/s0", attempt=1, worker_id="w0", failure=stopped))
    assert starts(out) == [("a/s1", 1)]


def test_what_another_encoder_made_is_of_no_use() -> None:
    farm = Farm()
    farm.join("w0", survivors=(Survivor(task_id="a/s0", attempt=1, backend="nvenc"),), backends=("nvenc", "cpu"))
    assert stops(farm.submit("a", plan("a", 1, backends=("nvenc", "cpu")), encoder="x264")) == [("a/s0", 1)]


def test_a_job_nobody_asks_for_is_given_up_and_a_silent_worker_replaced() -> None:
    farm = Farm(survivor_patience_s=60.0, stop_grace_s=30.0)
    farm.join("w0", survivors=(S0,))
    farm.join("w1", survivors=(Survivor(task_id="b/s0", attempt=1, backend="cpu"),))
    assert stops(farm.wait(61.0)) == [("a/s0", 1), ("b/s0", 1)]
    answer(farm, S0, "w0")
    assert replaced(farm.wait(31.0)) == ["w1"]
    farm.lose("w1", "hung")
    assert stops(farm.wait(100.0)) == []


def test_nothing_is_given_up_that_was_claimed_in_time() -> None:
    farm = Farm(survivor_patience_s=60.0)
    farm.join("w0", survivors=(S0,))
    farm.submit("a", plan("a", 1), encoder="x264", attempts={"a/s0": 1})
    assert stops(farm.wait(61.0)) == []


def test_a_worker_that_joins_late_brings_a_twin_of_what_was_started_again() -> None:
    farm = Farm()
    farm.join("w1")
    farm.submit("a", plan("a", 1), encoder="x264", attempts={"a/s0": 1})
    assert farm.runs("a/s0")
    farm.join("w0", node_id="n0", survivors=(S0, Survivor(task_id="gone/s0", attempt=3, backend="cpu")), depth=3)
    out = answer(farm, S0, "w0")
    assert stops(out) == [("a/s0", 2)]


def test_an_inspection_survives_too() -> None:
    farm = Farm()
    inspect = Survivor(task_id="a/inspect", attempt=1, backend="cpu")
    farm.join("w0", survivors=(inspect,))
    assert starts(farm.submit("a", (task("a/inspect", TaskKind.INSPECT),), still_open=True)) == []
    answer(farm, inspect, "w0")
    out = farm.handle(events.TasksAdded(at=farm.now, job_id="a", tasks=plan("a", 1)))
    assert starts(out) == [("a/s0", 1)]


def test_reports_of_strangers_change_nothing() -> None:
    farm = Farm()
    farm.join("w0", survivors=(S0,))
    answer(farm, S0, "w9")
    answer(farm, Survivor(task_id="a/s0", attempt=2, backend="cpu"), "w0")
    assert starts(farm.submit("b", (task("b/s0"),))) == []


def test_a_straggler_and_its_twin_both_survive() -> None:
    farm = Farm()
    farm.join("w0", survivors=(S0,))
    farm.join("w1", node_id="n1", survivors=(Survivor(task_id="a/s0", attempt=2, backend="cpu"),))
    assert starts(farm.submit("a", plan("a", 1), encoder="x264", attempts={"a/s0": 2})) == []
    assert stops(answer(farm, S0, "w0")) == [("a/s0", 2)]


def test_what_was_staged_behind_a_survivor_goes_on_after_it() -> None:
    farm = Farm()
    behind = Survivor(task_id="a/s1", attempt=1, backend="cpu")
    farm.join("w0", depth=2, survivors=(S0, behind))
    farm.submit("a", plan("a", 2), encoder="x264", attempts={"a/s0": 1, "a/s1": 1})
    answer(farm, S0, "w0")
    assert starts(answer(farm, behind, "w0")) == [("a/package", 1)]
