"""The benchmark of the dispatcher's loop decides, and nothing fails of it; its times are not a test's business."""

from __future__ import annotations

from benchmarks.dispatch_rate import measure_dispatch_rate


def test_the_loop_decides_for_slots_that_answer_at_once() -> None:
    found = measure_dispatch_rate(4, 20)
    assert found.failed == 0
    assert found.decisions >= 20
