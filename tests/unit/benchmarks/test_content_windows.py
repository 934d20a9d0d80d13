"""What the benchmark of short excerpts counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.content_faiss import made_up
from benchmarks.content_windows import WINDOWS_S, score_windows


def test_that_excerpts_of_copies_are_found_and_those_of_others_are_not(tmp_path: Path) -> None:
    works, copies = made_up(np.random.default_rng(5))
    stranger = ("film 0", copies[3][1])
    rows = score_windows(works, [copies[0], copies[1], stranger], tmp_path)
    assert [row["excerpts_s"] for row in rows] == list(WINDOWS_S)
    for row in rows:
        each = 40 // (row["excerpts_s"] * 2)
        assert row["excerpts"] == 3 * each
        assert row["compared"] == row["listed"] == 2 * each
