"""A worker that drains ends what it can in time and hands the rest over."""

from __future__ import annotations

from farm_driver import Farm, plan, starts, stops, task, two_nodes

from scheduler import events
from scheduler.jobs import JobState


def test_draining_hands_over_what_would_not_end_in_time_and_lets_the_rest_end() -> None:
    farm = two_nodes()
    farm.submit(tasks=plan("a", 4))
    slow, quick = farm.start_of("a/s0"), farm.start_of("a/s1")
    out = farm.handle(events.WorkerDraining(at=farm.now, worker_id=slow.worker_id, deadline_at=farm.now + 1.0))
    assert stops(out) == [("a/s0", 1)]
    out = farm.handle(events.WorkerDraining(at=farm.now, worker_id=quick.worker_id, deadline_at=farm.now + 500.0))
    assert stops(out) == []
    farm.done("a/s1")
    assert farm.scheduler.stats().draining == 2
    farm.fail("a/s0", start=slow)
    assert farm.running == {}
    farm.lose(slow.worker_id, "drained")
    farm.join("new", node_id="n3")
    farm.finish_all()
    assert farm.over() is JobState.COMPLETED
    assert all(entry.deaths == 0 for entry in farm.saved_tasks.values())


def test_what_still_runs_at_the_deadline_is_handed_over_then() -> None:
    farm = two_nodes()
    farm.submit(tasks=(task("a/s0"),))
    start = farm.start_of("a/s0")
    drain = events.WorkerDraining(at=farm.now, worker_id=start.worker_id, deadline_at=farm.now + 200.0)
    assert stops(farm.handle(drain)) == []
    farm.handle(drain)
    out = farm.wait(201.0)
    assert stops(out) == [("a/s0", 1)]
    assert starts(out) == [("a/s0", 2)]
    assert farm.done("a/s0", start=start) != []
    assert farm.over() is JobState.COMPLETED
    farm.lose(start.worker_id, "drained")
    farm.join(start.worker_id)
    farm.wait(300.0)


def test_a_staged_task_starts_when_the_one_before_ends_and_is_handed_over_by_a_drain() -> None:
    farm = Farm()
    farm.join("w0", depth=2)
    farm.submit(tasks=plan("a", 3))
    assert {start.task_id for start in farm.running.values()} == {"a/s0", "a/s1"}
    farm.done("a/s0", after=10.0)
    farm.wait(5.0)
    farm.join("w1", node_id="n1", depth=2)
    out = farm.handle(events.WorkerDraining(at=farm.now, worker_id="w0", deadline_at=farm.now + 300.0))
    assert stops(out) == [("a/s2", 1)]
    assert starts(out) == [("a/s2", 2)]
    farm.fail("a/s2", start=next(s for s in farm.running.values() if s.worker_id == "w0" and s.task_id == "a/s2"))
    farm.finish_all()
    assert farm.over() is JobState.COMPLETED
