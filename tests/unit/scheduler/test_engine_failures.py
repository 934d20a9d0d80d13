"""What happens when something dies, fails, hangs or goes: nothing is lost, nothing is repeated, and it ends."""

from __future__ import annotations

import pytest
from farm_driver import BUSY, DEVICE, INPUT, STORE, Farm, checks, plan, replaced, starts, stops, task

from encoders.errors import Failure, Fault
from scheduler import events
from scheduler.jobs import GpuPolicy, JobState, TaskKind, TaskState

LANES = ("nvenc", "hybrid", "cpu")


def two_nodes(**settings: object) -> Farm:
    farm = Farm(**settings)
    farm.join("w0", node_id="n0")
    farm.join("w1", node_id="n1")
    return farm


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


def test_a_task_that_kills_two_workers_gets_one_last_try_in_a_confined_slot() -> None:
    farm = two_nodes()
    farm.submit(tasks=(task("a/s0"),))
    for _ in range(2):
        farm.lose(farm.start_of("a/s0").worker_id)
    assert farm.saved_tasks["a/s0"].deaths == 2
    assert farm.alerts() == ["poison_suspected"]
    farm.join("w3", node_id="n3")
    farm.lose("w3")
    farm.finished.clear()
    farm = two_nodes()
    farm.join("safe", node_id="n9", confined=True)
    farm.submit(tasks=(task("a/s0"),))
    for _ in range(2):
        assert farm.start_of("a/s0").worker_id != "safe"
        farm.lose(farm.start_of("a/s0").worker_id)
    last = farm.start_of("a/s0")
    assert last.worker_id == "safe"
    assert last.confined
    assert last.backend == "cpu"
    farm.fail("a/s0", DEVICE)
    assert farm.over() is JobState.FAILED
    assert farm.alerts() == ["poison_suspected", "poison_task"]


def test_a_farm_without_a_confined_slot_gives_the_last_try_to_any() -> None:
    farm = Farm()
    for name in ("w0", "w1", "w2"):
        farm.join(name, node_id=name)
    farm.submit(tasks=(task("a/s0"),))
    for _ in range(2):
        farm.lose(farm.start_of("a/s0").worker_id)
    farm.done("a/s0")
    assert farm.over() is JobState.COMPLETED


def test_poison_is_remembered_over_a_restart() -> None:
    farm = two_nodes()
    farm.submit(tasks=(task("a/s0"),), deaths={"a/s0": 2}, attempts={"a/s0": 2})
    assert farm.start_of("a/s0").confined
    farm.lose(farm.start_of("a/s0").worker_id)
    assert farm.over() is JobState.FAILED


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


def test_sound_that_fails_everywhere_fails_the_job() -> None:
    farm = two_nodes()
    farm.submit(tasks=(task("a/audio", TaskKind.AUDIO),))
    farm.fail("a/audio")
    farm.fail("a/audio")
    farm.fail("a/audio")
    assert farm.over() is JobState.FAILED


def gpu_farm(gpus: int = 2) -> Farm:
    farm = Farm()
    for index in range(gpus):
        farm.join(f"g{index}", device_id=f"GPU-{index}", backends=("nvenc",), node_id=f"n{index}")
    farm.join("c", node_id="n9")
    return farm


def segments(number: int) -> tuple[object, ...]:
    return tuple(task(f"a/s{index}", position=index, backends=LANES) for index in range(number))


def test_the_third_try_is_on_the_next_backend_and_redoes_what_the_old_one_made() -> None:
    farm = gpu_farm(3)
    tasks = (*segments(3), task("a/package", TaskKind.PACKAGE, needs=("a/s0", "a/s1", "a/s2")))
    farm.submit(tasks=tasks)
    farm.done("a/s0")
    farm.fail("a/s1")
    out = farm.fail("a/s1")
    assert farm.saved_jobs["a"].encoder == "x264"
    assert "encoder_switched" in farm.alerts()
    assert farm.state("a/s0") is TaskState.READY or farm.runs("a/s0")
    assert stops(out) == [("a/s2", 1)]
    void = [start for start in farm.running.values() if start.backend == "nvenc"]
    for start in void:
        farm.done(start.task_id, start=start)
    assert farm.over() is None
    farm.finish_all()
    assert farm.over() is JobState.COMPLETED
    last = {}
    for entry in farm.log:
        if entry in farm.running.values() or getattr(entry, "backend", None):
            last[entry.task_id] = entry.backend
    assert set(last.values()) == {"cpu"}


def test_with_one_gpu_the_next_backend_comes_second() -> None:
    farm = gpu_farm(1)
    farm.submit(tasks=segments(1))
    assert farm.start_of("a/s0").backend == "nvenc"
    farm.fail("a/s0")
    assert farm.start_of("a/s0").backend == "cpu"
    farm.done("a/s0")
    assert farm.over() is JobState.COMPLETED


def test_hybrid_and_cpu_share_an_encoder_so_nothing_is_redone() -> None:
    farm = Farm()
    farm.join("h", device_id="GPU-0", backends=("hybrid",))
    farm.submit(tasks=(task("a/s0", backends=("hybrid", "cpu")), task("a/s1", backends=("hybrid", "cpu"), position=1)))
    farm.done("a/s0")
    farm.join("c", node_id="n9")
    farm.fail("a/s1")
    assert farm.start_of("a/s1").backend == "cpu"
    assert "encoder_switched" not in farm.alerts()
    farm.done("a/s1")
    assert farm.over() is JobState.COMPLETED


def test_a_job_that_requires_a_gpu_does_not_fall_back() -> None:
    farm = gpu_farm(1)
    farm.submit(tasks=segments(1), gpu=GpuPolicy.REQUIRE)
    farm.fail("a/s0")
    assert farm.start_of("a/s0").backend == "nvenc"


def test_packaging_that_became_ready_waits_again_when_a_segment_is_redone() -> None:
    farm = gpu_farm(1)
    tasks = (
        *segments(2),
        task("a/half", TaskKind.PACKAGE, needs=("a/s0",), position=9, backends=("other",)),
        task("a/package", TaskKind.PACKAGE, needs=("a/s0", "a/s1"), position=10),
    )
    farm.submit(tasks=tasks)
    farm.done("a/s0")
    farm.fail("a/s1")
    farm.join("o", backends=("other",), node_id="n8")
    assert not farm.runs("a/half")
    farm.finish_all()
    assert farm.over() is JobState.COMPLETED


def test_when_the_last_gpu_leaves_for_good_its_jobs_go_on_without() -> None:
    farm = gpu_farm(1)
    farm.submit(tasks=segments(3))
    farm.submit("b", (task("b/s0", backends=("nvenc",)),), gpu=GpuPolicy.REQUIRE)
    farm.done("a/s0")
    farm.lose("g0", "node_lost")
    assert not farm.runs("a/s0")
    farm.wait(2.0)
    farm.wait(11.0)
    assert farm.saved_jobs["a"].encoder == "x264"
    farm.finish_all()
    assert farm.over("a") is JobState.COMPLETED
    assert farm.over("b") is None


def test_a_gpu_that_comes_back_in_time_keeps_its_jobs() -> None:
    farm = gpu_farm(1)
    farm.submit(tasks=segments(2))
    farm.lose("g0", "node_lost")
    farm.join("g0", device_id="GPU-0", backends=("nvenc",), node_id="n0")
    farm.wait(11.0)
    assert farm.saved_jobs["a"].encoder == "nvenc"


def test_device_failures_of_several_jobs_open_the_circuit_and_a_canary_closes_it() -> None:
    farm = two_nodes()
    for index in range(9):
        farm.submit(f"j{index}", (task(f"j{index}/s0", TaskKind.AUDIO),), user=f"u{index}")
    failures = 0
    while "device_out" not in farm.alerts():
        start = next(start for start in farm.running.values() if start.worker_id == "w0")
        farm.fail(start.task_id, start=start, after=5.0)
        failures += 1
    assert failures == 3
    stats = farm.scheduler.stats()
    assert stats.devices == {"cpu:n0": "open", "cpu:n1": "closed"}
    assert {start.worker_id for start in farm.running.values()} == {"w1"}
    out = farm.wait(31.0)
    assert checks(out) == ["cpu:n0"]
    farm.handle(events.DeviceChecked(at=farm.now, device_id="cpu:n0", healthy=False, detail="PSNR 12 dB"))
    assert checks(farm.wait(31.0)) == []
    assert checks(farm.wait(31.0)) == ["cpu:n0"]
    farm.handle(events.DeviceChecked(at=farm.now, device_id="cpu:n0", healthy=True))
    assert farm.scheduler.stats().devices["cpu:n0"] == "closed"


def test_a_canary_that_keeps_silent_is_replaced_by_one_task() -> None:
    farm = two_nodes(failures_to_open=1, twins=False)
    farm.join("w0b", node_id="n0")
    farm.lose("w1", "node_lost")
    farm.submit(tasks=plan("a", 9))
    farm.fail("a/s0", after=5.0, start=next(s for s in farm.running.values() if s.worker_id == "w0"))
    farm.fail("a/s1", after=5.0)
    assert farm.running == {}
    farm.wait(31.0)
    assert farm.running == {}
    farm.wait(61.0)
    assert len(farm.running) == 1
    farm.fail(next(iter(farm.running))[0], after=5.0)
    assert farm.running == {}
    farm.wait(61.0)
    farm.wait(61.0)
    assert len(farm.running) == 1
    farm.done(next(iter(farm.running))[0])
    assert len(farm.running) == 2


def test_a_canary_that_fails_takes_the_device_out_at_once() -> None:
    farm = two_nodes()
    farm.handle(events.DeviceChecked(at=0.0, device_id="cpu:n0", healthy=False, detail="hash differs"))
    assert farm.alerts() == ["device_out"]
    farm.handle(events.DeviceChecked(at=0.0, device_id="cpu:n0", healthy=True))
    assert farm.scheduler.stats().devices["cpu:n0"] == "open"
    farm.lose("w0", "node_lost")
    assert checks(farm.wait(40.0)) == []
    assert checks(farm.join("w0", node_id="n0")) == ["cpu:n0"]


def test_a_device_that_opened_and_came_back_early_waits_for_its_time() -> None:
    farm = two_nodes()
    farm.handle(events.DeviceChecked(at=0.0, device_id="cpu:n0", healthy=False))
    farm.lose("w0", "node_lost", after=1.0)
    assert checks(farm.join("w0", node_id="n0")) == []


def test_a_gpu_is_checked_when_it_joins_and_from_time_to_time() -> None:
    farm = Farm(check_every_s=100.0)
    assert checks(farm.join("g", device_id="GPU-1", backends=("nvenc",))) == ["GPU-1"]
    assert checks(farm.join("g2", device_id="GPU-1", backends=("nvenc",))) == []
    assert checks(farm.wait(101.0)) == []
    farm.handle(events.DeviceChecked(at=farm.now, device_id="GPU-1", healthy=True))
    assert checks(farm.wait(100.0)) == ["GPU-1"]
    farm.handle(events.DeviceChecked(at=farm.now, device_id="GPU-1", healthy=True))
    farm.lose("g")
    farm.lose("g2")
    assert checks(farm.wait(101.0)) == []


def test_a_device_that_became_slow_is_taken_out_while_others_are_not() -> None:
    farm = two_nodes(twins=False)
    for name in (f"j{index}" for index in range(100)):
        farm.submit(name, (task(f"{name}/s0"),), user=name)
    for _ in range(40):
        if "device_out" in farm.alerts():
            break
        for worker, after in (("w1", 5.0), ("w1", 5.0), ("w1", 5.0), ("w1", 5.0), ("w1", 5.0), ("w0", 5.0)):
            start = next((s for s in farm.running.values() if s.worker_id == worker), None)
            if start is not None:
                farm.done(start.task_id, after=after, start=start)
    assert farm.alerts() == ["device_out"]
    assert farm.scheduler.stats().devices["cpu:n0"] == "open"


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


def test_poison_met_on_a_gpu_has_its_last_try_on_a_cpu() -> None:
    farm = gpu_farm(3)
    farm.join("safe", node_id="n8", confined=True)
    farm.submit(tasks=segments(1))
    for _ in range(2):
        assert farm.start_of("a/s0").backend == "nvenc"
        farm.lose(farm.start_of("a/s0").worker_id)
    last = farm.start_of("a/s0")
    assert (last.worker_id, last.backend, last.confined) == ("safe", "cpu", True)
    assert farm.saved_jobs["a"].encoder == "x264"


def test_poison_that_requires_a_gpu_has_its_last_try_there() -> None:
    farm = gpu_farm(3)
    farm.join("safe", node_id="n8", confined=True)
    farm.submit(tasks=segments(1), gpu=GpuPolicy.REQUIRE)
    for _ in range(2):
        farm.lose(farm.start_of("a/s0").worker_id)
    assert farm.start_of("a/s0").backend == "nvenc"
    assert farm.start_of("a/s0").confined


def test_an_encoder_that_was_given_up_is_not_gone_back_to() -> None:
    farm = gpu_farm(1)
    farm.submit(tasks=segments(2))
    farm.fail("a/s0")
    assert farm.saved_jobs["a"].encoder == "x264"
    farm.lose("c", "node_lost")
    farm.wait(11.0)
    assert farm.saved_jobs["a"].encoder == "x264"
    assert not any(
        start.task_id.startswith("a/") and start.backend == "nvenc" for start in farm.running.values()
    ) or all(start.attempt == 1 for start in farm.running.values())
    farm.join("c2", node_id="n9")
    farm.finish_all()
    assert farm.over() is JobState.COMPLETED


def test_a_plan_that_comes_after_its_gpu_left_is_encoded_without() -> None:
    farm = gpu_farm(1)
    farm.submit(tasks=(task("a/inspect", TaskKind.INSPECT),), still_open=True, encoder="nvenc")
    farm.lose("g0", "node_lost")
    farm.done("a/inspect")
    farm.wait(2.0)
    farm.wait(11.0)
    farm.handle(events.TasksAdded(at=farm.now, job_id="a", tasks=segments(1)))
    assert not farm.runs("a/s0")
    farm.wait(2.0)
    assert farm.start_of("a/s0").backend == "cpu"
    farm.done("a/s0")
    assert farm.over() is JobState.COMPLETED


def test_after_a_restart_gpus_have_a_moment_to_come_back() -> None:
    farm = Farm()
    farm.join("c", node_id="n9")
    farm.submit(tasks=segments(1), encoder="nvenc", done=frozenset())
    farm.wait(2.0)
    assert not farm.runs("a/s0")
    farm.join("g0", device_id="GPU-0", backends=("nvenc",), node_id="n0")
    assert farm.start_of("a/s0").backend == "nvenc"


def test_a_gpu_that_is_out_for_a_second_time_is_not_waited_for() -> None:
    farm = gpu_farm(1)
    farm.submit(tasks=segments(2))
    for _ in range(2):
        farm.handle(events.DeviceChecked(at=farm.now, device_id="GPU-0", healthy=False))
        farm.wait(31.0)
    farm.fail("a/s0", STORE)
    farm.wait(2.0)
    farm.wait(11.0)
    assert farm.saved_jobs["a"].encoder == "x264"


def test_what_was_made_of_segments_is_made_again_with_them() -> None:
    farm = gpu_farm(1)
    farm.join("c1", node_id="n8")
    farm.join("c2", node_id="n7")
    after = {"needs": ("a/s0",), "kind": TaskKind.PACKAGE}
    tasks = (
        *segments(2),
        *(task(f"a/{name}", position=9, **after) for name in ("done", "running", "waiting")),
        task("a/package", TaskKind.PACKAGE, needs=("a/s0", "a/s1", "a/done"), position=10),
    )
    farm.submit(tasks=tasks)
    farm.done("a/s0")
    running = farm.start_of("a/running")
    farm.done("a/done")
    farm.fail("a/waiting", STORE)
    assert farm.state("a/waiting") is TaskState.WAITING_RETRY
    out = farm.fail("a/s1")
    assert farm.saved_jobs["a"].encoder == "x264"
    assert ("a/running", 1) in stops(out)
    assert [farm.state(f"a/{name}") for name in ("done", "running", "waiting")] == [TaskState.BLOCKED] * 3
    farm.done("a/running", start=running)
    assert farm.state("a/running") is TaskState.BLOCKED
    farm.wait(30.0)
    assert not farm.runs("a/waiting")
    farm.finish_all()
    assert farm.over() is JobState.COMPLETED
    assert farm.saved_tasks["a/done"].attempt == 2


def test_a_stopped_attempt_of_the_old_encoder_is_not_taken_after_the_change() -> None:
    farm = gpu_farm(2)
    farm.submit(tasks=segments(2))
    old = farm.start_of("a/s0")
    farm.handle(events.WorkerDraining(at=farm.now, worker_id=old.worker_id, deadline_at=farm.now))
    assert farm.state("a/s0") is TaskState.READY
    farm.fail("a/s1")
    assert farm.saved_jobs["a"].encoder == "x264"
    farm.done("a/s0", start=old)
    assert farm.state("a/s0") is not TaskState.DONE
    farm.finish_all()
    assert farm.over() is JobState.COMPLETED
    assert farm.saved_tasks["a/s0"].attempt == 2


def test_packaging_that_was_handed_over_before_a_segment_reopened_is_not_taken() -> None:
    farm = gpu_farm(1)
    farm.join("c1", node_id="n8")
    half = task("a/half", TaskKind.PACKAGE, needs=("a/s0",), position=9)
    farm.submit(tasks=(*segments(2), half))
    farm.done("a/s0")
    old = farm.start_of("a/half")
    farm.handle(events.WorkerDraining(at=farm.now, worker_id=old.worker_id, deadline_at=farm.now))
    farm.fail("a/s1")
    assert farm.state("a/half") is TaskState.BLOCKED
    farm.done("a/half", start=old)
    assert farm.state("a/half") is TaskState.BLOCKED
    farm.finish_all()
    assert farm.over() is JobState.COMPLETED
