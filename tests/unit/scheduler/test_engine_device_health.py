"""Devices that fail or slow down are taken out, tested, and brought back."""

from __future__ import annotations

from farm_driver import Farm, checks, plan, task, two_nodes

from scheduler import events
from scheduler.jobs import TaskKind


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
