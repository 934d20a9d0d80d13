"""GPU failures by their cause: who is blamed, what is fenced, who falls back, and that it is told."""

from __future__ import annotations

import pytest
from farm_driver import LANES, Farm, checks, starts, task

from encoders.errors import Failure, Fault
from scheduler import events
from scheduler.instructions import FellBack, SaveJob
from scheduler.jobs import GpuPolicy, JobState


def failure(code: str) -> Failure:
    return Failure(code=code, fault=Fault.DEVICE, detail=f"the device said {code}")


def farm_of(**gpus: tuple[str, ...]) -> Farm:
    farm = Farm(twins=False)
    for index, (name, backends) in enumerate(gpus.items()):
        device = f"cpu:n{index}" if backends == ("cpu",) else f"GPU-{name}"
        farm.join(name, device_id=device, backends=backends, node_id=f"n{index}")
    return farm


def told(farm: Farm) -> list[tuple[str, str, str]]:
    return [(each.given_up, each.to, each.reason) for each in farm.log if isinstance(each, FellBack)]


@pytest.mark.parametrize("code", ["gpu_unsupported", "gpu_bad_configuration"])
def test_what_a_device_cannot_do_goes_to_the_next_backend_at_once_and_nobody_is_blamed(code: str) -> None:
    farm = farm_of(g0=("nvenc",), g1=("nvenc",), c=("cpu",))
    farm.submit(tasks=(task("a/s0", backends=LANES),))
    out = farm.fail("a/s0", failure(code))
    assert farm.start_of("a/s0").backend == "cpu"
    assert checks(out) == []
    assert farm.scheduler.stats().devices == {"GPU-g0": "closed", "GPU-g1": "closed", "cpu:n2": "closed"}
    assert told(farm) == [("nvenc", "cpu", code)]


def test_the_owner_is_told_before_the_new_encoder_is_saved() -> None:
    farm = farm_of(g0=("nvenc",), c=("cpu",))
    farm.submit(tasks=(task("a/s0", backends=LANES),))
    out = farm.fail("a/s0", failure("gpu_unsupported"))
    kinds = [type(each) for each in out]
    assert kinds.index(FellBack) < kinds.index(SaveJob)


def test_a_fault_fences_the_device_until_a_canary_has_passed() -> None:
    farm = farm_of(g0=("nvenc",), g1=("nvenc",))
    farm.submit(tasks=(task("a/s0", backends=LANES),))
    ill = farm.start_of("a/s0").worker_id
    out = farm.fail("a/s0", failure("gpu_device_fault"))
    assert farm.start_of("a/s0").worker_id != ill, "redone elsewhere"
    assert checks(out) == [f"GPU-{ill}"]
    farm.submit("b", (task("b/s0", backends=LANES),))
    assert not farm.runs("b/s0"), "the fenced device is idle and gets nothing"
    out = farm.handle(events.DeviceChecked(at=farm.now, device_id=f"GPU-{ill}", healthy=True))
    assert starts(out) == [("b/s0", 1)]
    assert told(farm) == []


def test_a_fenced_device_that_fails_its_canary_stays_out() -> None:
    farm = farm_of(g0=("nvenc",), g1=("nvenc",))
    farm.submit(tasks=(task("a/s0", backends=LANES),))
    ill = farm.start_of("a/s0").worker_id
    farm.fail("a/s0", failure("gpu_device_fault"))
    farm.handle(events.DeviceChecked(at=farm.now, device_id=f"GPU-{ill}", healthy=False, detail="no proof"))
    assert farm.scheduler.stats().devices[f"GPU-{ill}"] == "open"


@pytest.mark.parametrize("code", ["gpu_device_fault", "gpu_unsupported", "media_crashed", "gpu_no_device"])
def test_a_job_that_requires_a_gpu_never_runs_on_the_cpu_whatever_happens(code: str) -> None:
    farm = farm_of(g0=("nvenc",), g1=("hybrid",), c=("cpu",), d=("cpu",))
    farm.submit(tasks=(task("a/s0", backends=LANES),), gpu=GpuPolicy.REQUIRE)
    used = []
    while farm.over() is None:
        if farm.runs("a/s0"):
            used.append(farm.start_of("a/s0").backend)
            farm.fail("a/s0", failure(code))
        else:
            for device, circuit in farm.scheduler.stats().devices.items():
                if circuit != "closed":
                    farm.handle(events.DeviceChecked(at=farm.now, device_id=device, healthy=True))
            farm.wait(10.0)
        assert farm.now < 10_000
    assert farm.over() is JobState.FAILED
    assert used
    assert "cpu" not in used
    assert all(to != "cpu" for _, to, _ in told(farm))


def test_a_job_that_forbids_gpus_gets_none() -> None:
    farm = farm_of(g0=("nvenc",), c=("cpu",))
    farm.submit(tasks=(task("a/s0", backends=LANES),), gpu=GpuPolicy.NEVER)
    assert farm.start_of("a/s0").backend == "cpu"


def test_hybrid_that_gives_way_to_the_cpu_is_told_though_the_encoder_stays() -> None:
    farm = farm_of(g0=("hybrid",), c=("cpu",))
    farm.submit(tasks=(task("a/s0", backends=("hybrid", "cpu")),))
    farm.fail("a/s0", failure("gpu_unsupported"))
    assert told(farm) == [("hybrid", "cpu", "gpu_unsupported")]
    assert farm.saved_jobs["a"].encoder == "x264"


def test_a_device_that_stays_away_is_a_fall_back_too() -> None:
    farm = farm_of(g0=("nvenc",), c=("cpu",))
    farm.submit(tasks=(task("a/s0", backends=LANES), task("a/s1", backends=LANES, position=1)))
    farm.lose("g0", "node_lost")
    for _ in range(4):
        farm.wait(10.0)
    assert ("nvenc", "x264", "device_gone") in told(farm)


def test_sessions_that_are_taken_are_waited_for_on_the_same_backend() -> None:
    farm = farm_of(g0=("nvenc",), c=("cpu",))
    farm.submit(tasks=(task("a/s0", backends=LANES),))
    out = farm.fail("a/s0", failure("encode_sessions_exhausted"))
    assert starts(out) == []
    farm.wait(2.0)
    assert farm.start_of("a/s0").backend == "nvenc"
    farm.done("a/s0")
    assert farm.over() is JobState.COMPLETED
    assert told(farm) == []
