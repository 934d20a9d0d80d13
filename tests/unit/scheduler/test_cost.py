"""Predictions start as guesses, follow what is measured, and know their spread."""

from __future__ import annotations

import random

import pytest

from scheduler.cost import TRUSTED_SAMPLES, WINDOW, CostModel
from scheduler.jobs import CostFeatures, TaskKind


def features(**changed: object) -> CostFeatures:
    given = {"kind": TaskKind.SEGMENT, "codec": "h264", "pixels": 2_000_000, "frames": 250, "preset": "fast"}
    return CostFeatures(**{**given, **changed})  # type: ignore[arg-type]


def test_a_guess_grows_with_work_and_is_cheaper_on_a_gpu() -> None:
    model = CostModel()
    cpu = model.estimate("cpu", features())
    assert cpu.samples == 0
    assert cpu.p95_s > cpu.wall_s > 0
    assert model.estimate("cpu", features(frames=500)).engine_s > cpu.engine_s
    assert model.estimate("nvenc", features()).engine_s < cpu.engine_s
    assert model.estimate("something new", features()) == cpu


@pytest.mark.parametrize("kind", list(TaskKind))
def test_every_kind_costs_something(kind: TaskKind) -> None:
    assert CostModel().estimate("cpu", features(kind=kind, pixels=0, frames=0)).engine_s > 0


def test_it_learns_what_tasks_really_take() -> None:
    model = CostModel()
    for _ in range(TRUSTED_SAMPLES):
        model.learn("cpu", features(), engine_s=40.0, wall_s=20.0)
    learned = model.estimate("cpu", features())
    assert learned.engine_s == pytest.approx(40.0)
    assert learned.wall_s == pytest.approx(20.0)
    assert learned.samples == TRUSTED_SAMPLES


def test_what_is_learned_of_one_source_helps_with_others_but_not_with_other_backends() -> None:
    model = CostModel()
    before = model.estimate("cpu", features(codec="hevc", pixels=400_000)).wall_s
    guess = model.estimate("nvenc", features())
    ratio = 4.0
    for _ in range(5):
        model.learn("cpu", features(), engine_s=1.0, wall_s=ratio * CostModel().estimate("cpu", features()).wall_s)
    assert model.estimate("cpu", features(codec="hevc", pixels=400_000)).wall_s == pytest.approx(ratio * before)
    assert model.estimate("nvenc", features()) == guess


def test_p95_is_where_nineteen_of_twenty_end() -> None:
    model = CostModel()
    chance = random.Random(1)
    for _ in range(400):
        wall_s = 10.0 * chance.lognormvariate(0.0, 0.3)
        model.learn("cpu", features(), engine_s=wall_s, wall_s=wall_s)
    learned = model.estimate("cpu", features())
    assert learned.wall_s == pytest.approx(10.0, rel=0.25)
    within = sum(1 for _ in range(2000) if 10.0 * chance.lognormvariate(0.0, 0.3) <= learned.p95_s) / 2000
    assert 0.88 <= within <= 0.995


def test_it_follows_a_machine_that_changed() -> None:
    model = CostModel()
    for _ in range(50):
        model.learn("cpu", features(), engine_s=10.0, wall_s=10.0)
    for _ in range(2 * WINDOW):
        model.learn("cpu", features(), engine_s=30.0, wall_s=30.0)
    learned = model.estimate("cpu", features())
    assert learned.wall_s == pytest.approx(30.0, rel=0.02)
    assert learned.p95_s < 35.0


def test_times_that_cannot_be_teach_nothing() -> None:
    model = CostModel()
    for _ in range(5):
        model.learn("cpu", features(), engine_s=0.0, wall_s=1.0)
        model.learn("cpu", features(), engine_s=1.0, wall_s=-1.0)
    assert model.estimate("cpu", features()).samples == 0
