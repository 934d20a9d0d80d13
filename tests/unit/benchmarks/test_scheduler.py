"""The scheduler's benchmark runs and counts; its times are not a test's business."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.scheduler import Bench, Point, command, slope_us_per_doubling


def point(queued: int, choose_us: float) -> Point:
    return Point(
        queued=queued,
        enqueue_us=1.0,
        enqueue_p99_us=1.0,
        complete_us=1.0,
        complete_p99_us=1.0,
        choose_us=choose_us,
        choose_p99_us=1.0,
        bytes_per_job=1.0,
    )


def test_the_slope_is_what_a_queue_twice_as_long_adds() -> None:
    assert slope_us_per_doubling([point(2**n, 10.0 + 0.5 * n) for n in (10, 13, 16)]) == pytest.approx(0.5)
    assert slope_us_per_doubling([point(64, 1.0)]) == 0.0


def test_slots_stay_busy_while_jobs_wait() -> None:
    bench = Bench()
    bench.join(3, 2)
    for _ in range(50):
        bench.enqueue()
    for _ in range(40):
        bench.complete()
    assert len(bench.running) == 3


def test_the_command_measures_and_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.scheduler.ROUNDS", 200)
    monkeypatch.setattr("benchmarks.environment._commit", lambda: "abc")
    path = tmp_path / "figures.json"
    result = CliRunner().invoke(command, ["--jobs", "1000", "--slots", "20", "--json", str(path)])
    assert result.exit_code == 0, result.output
    figures = json.loads(path.read_text())["results"]
    assert [entry["queued"] for entry in figures["points"]] == [100, 1000]
    assert all(entry["bytes_per_job"] > 500 for entry in figures["points"])
    assert figures["decisions_per_s"] > 0
