"""What the benchmark of a growing catalogue measures."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import content_scale
from encoders.recognition.catalogue import write_catalogue


def test_that_a_change_writes_as_much_beside_many_works_as_beside_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content_scale, "WORK_H", 0.01)
    monkeypatch.setattr(content_scale, "PART_H", 0.02)
    few, many = (content_scale.measure_changes(tmp_path, hours) for hours in (0.02, 0.2))
    assert (few["works"], many["works"]) == (3, 21)
    assert few["add_bytes"] == many["add_bytes"] > 0
    merged = content_scale.measure_merge(tmp_path)
    assert merged["parts_left"] == 1


def test_that_as_many_parts_are_asked_as_hours_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content_scale, "PART_H", 0.01)
    write_catalogue(tmp_path / "part", [("w", "Noise", "w", content_scale.noise(36.0, 1))])
    asked = content_scale.measure_questions([tmp_path / "part"], 0.03, 2.0)
    assert asked["file_bytes"] == 3 * (tmp_path / "part").stat().st_size
