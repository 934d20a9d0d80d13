"""A job whose encoder gave out goes on with another, and redoes what the first had made."""

from __future__ import annotations

from farm_driver import STORE, Farm, gpu_farm, segments, stops, task

from scheduler import events
from scheduler.jobs import GpuPolicy, JobState, TaskKind, TaskState


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
