"""The fairness benchmark's plots; no unit test, since Matplotlib asks the system for its fonts when it starts first."""

from __future__ import annotations

from pathlib import Path

from benchmarks.fairness import draw
from benchmarks.simulate import Simulation, Traffic, first_come_first_served, make_jobs


def test_plots_are_drawn(tmp_path: Path) -> None:
    simulation = Simulation(first_come_first_served(), slots=4, nodes=2, seed=1)
    simulation.run(make_jobs(Traffic(load=1.0, span_s=120.0), slots=4, seed=1), until=120.0)
    paths = draw({"a": simulation, "b": simulation}, 120.0, tmp_path)
    assert [path.name for path in paths] == ["fairness-shares.svg", "fairness-waits.svg"]
    assert all(path.stat().st_size > 5000 for path in paths)
