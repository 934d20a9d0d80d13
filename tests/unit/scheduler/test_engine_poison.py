"""A task that kills workers: one last try, confined, then the dead-letter list."""

from __future__ import annotations

from farm_driver import DEVICE, Farm, gpu_farm, segments, task, two_nodes

from scheduler.jobs import GpuPolicy, JobState


def test_a_task_that_kills_two_workers_is_suspected() -> None:
    farm = two_nodes()
    farm.submit(tasks=(task("a/s0"),))
    for _ in range(2):
        farm.lose(farm.start_of("a/s0").worker_id)
    assert farm.saved_tasks["a/s0"].deaths == 2
    assert farm.alerts() == ["poison_suspected"]


def test_its_last_try_is_in_a_confined_slot() -> None:
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
