"""How a farm's log is read, and what counts as a delay of the canary."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from benchmarks.canary_job import measure_delay
from benchmarks.farm_log import FarmLog, read_farm_log

CANARY, OTHER = "c" * 32, "o" * 32


def write_log(path: Path, *lines: tuple[float, str, dict[str, Any]]) -> Path:
    told = [
        json.dumps({"timestamp": datetime.fromtimestamp(at, UTC).isoformat(), "event": event, **fields})
        for at, event, fields in lines
    ]
    path.write_text("not JSON\n" + "\n".join(told) + "\n{cut sho")
    return path


def task(
    job: str, kind: str, worker: str, start: float, end: float, **fields: Any
) -> list[tuple[float, str, dict[str, Any]]]:
    named = {"task": f"{job}/{kind}", "attempt": 1, "worker": worker}
    ended = "task_failed" if "code" in fields else "task_done"
    return [(start, "task_started", named), (end, ended, named | fields)]


def read(path: Path, *tasks: list[tuple[float, str, dict[str, Any]]]) -> FarmLog:
    joined = [(0.5, "worker_joined", {"worker": worker, "pid": 7}) for worker in ("w1", "w2")]
    claimed = [(1.0, "job_claimed", {"job_id": job}) for job in (CANARY, OTHER)]
    rest = sorted((line for each in tasks for line in each), key=lambda line: line[0])
    return read_farm_log(write_log(path / "dispatcher.log", *joined, *claimed, *rest))


def test_attempts_are_read_with_their_costs(tmp_path: Path) -> None:
    log = read(
        tmp_path,
        task(OTHER, "inspect", "w1", 2, 5, code="damaged", evidence={"cpu_s": "1.50"}),
        task(CANARY, "segment/00000", "w2", 3, 4, engine_s=0.7),
        task(CANARY, "package", "w2", 5, 9, engine_s=4.0),
    )
    failed, done, packaged = log.attempts
    assert (packaged.worker_s, packaged.cpu_s) == (4, 0)
    assert (failed.worker_s, failed.cpu_s, failed.code, failed.kind) == (3, 1.5, "damaged", "inspect")
    assert (done.worker_s, done.cpu_s, done.job) == (1, 0.7, CANARY)
    assert log.joined == {"w1": 7, "w2": 7}
    assert log.lost == {}


@pytest.mark.parametrize(("others", "delay"), [((), 0), ((3.1,), 1), ((3.1, 3.2), 2)])
def test_a_delay_is_what_a_slot_began_while_the_canary_could_have(
    tmp_path: Path, others: tuple[float, ...], delay: int
) -> None:
    log = read(
        tmp_path,
        task(CANARY, "inspect", "w1", 2, 3),
        *(task(OTHER, f"segment/{n:05d}", "w1", at, at + 0.05) for n, at in enumerate(others)),
        task(CANARY, "segment/00000", "w1", 4, 5),
        task(OTHER, "audio/audio", "w1", 6, 7),
    )
    found = measure_delay(log, [CANARY])
    assert found.segments == delay
    assert found.seconds == pytest.approx(1.0)
    assert found.tasks == 2


def test_tasks_on_two_slots_are_no_longer_delay_than_one(tmp_path: Path) -> None:
    log = read(
        tmp_path,
        task(CANARY, "inspect", "w1", 2, 3),
        task(OTHER, "segment/00000", "w1", 3.1, 9),
        task(OTHER, "segment/00001", "w2", 3.2, 9),
        task(CANARY, "segment/00000", "w1", 9, 10),
    )
    assert measure_delay(log, [CANARY]).segments == 1


def test_short_inspections_are_no_segments_and_long_ones_are(tmp_path: Path) -> None:
    tasks = [task(CANARY, "inspect", "w1", 2, 3), task(CANARY, "segment/00000", "w1", 20, 22)]
    short = [task(f"{n:032d}", "inspect", "w1", 4 + n, 4.1 + n) for n in range(5)]
    (tmp_path / "short").mkdir()
    assert measure_delay(read(tmp_path / "short", *tasks, *short), [CANARY]).segments == 0
    long = [task(OTHER, "inspect", "w1", 4, 10)]
    assert measure_delay(read(tmp_path, *tasks, *long), [CANARY]).segments == 3


def test_long_inspections_are_measured_by_segments_of_others(tmp_path: Path) -> None:
    tasks = [task(CANARY, "inspect", "w1", 2, 3), task(CANARY, "segment/00000", "w1", 20, 20.5)]
    others = [task(OTHER, "segment/00000", "w2", 0, 4), task(f"{1:032d}", "inspect", "w1", 4, 10)]
    assert measure_delay(read(tmp_path, *tasks, *others), [CANARY]).segments == 1


def test_packaging_can_begin_when_all_else_is_done(tmp_path: Path) -> None:
    log = read(
        tmp_path,
        task(CANARY, "inspect", "w1", 1.2, 3),
        task(CANARY, "segment/00000", "w1", 3, 4),
        task(CANARY, "audio/audio", "w2", 3, 8),
        task(CANARY, "package", "w1", 8.5, 9),
    )
    assert measure_delay(log, [CANARY]).seconds == pytest.approx(0.5)
