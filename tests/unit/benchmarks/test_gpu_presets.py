"""Which tunings NVENC's classes should be, by speed and by rate at equal quality."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.gpu_presets import SWEEP, choose_classes, name_of, rate_at_equal_quality
from benchmarks.gpu_tests import contract_command, read_outcomes


def figures(**changed: tuple[float, float]) -> dict[str, Any]:
    """Turing's speeds by preset, as NVIDIA's table has them for HEVC; two passes take a third; rates fall with time."""
    fps = {"P1": 920, "P2": 736, "P3": 552, "P4": 443, "P5": 334, "P6": 252, "P7": 171}
    found: dict[str, Any] = {}
    for tuning in SWEEP:
        passes = {None: 1.0, "qres": 0.9, "fullres": 0.6}[tuning.multipass]
        rate = 9.0 - 3 * int(tuning.preset[1]) - {None: 0.0, "qres": 3.0, "fullres": 4.0}[tuning.multipass]
        key = f"{tuning.preset}{tuning.multipass or ''}"
        speed, rate = changed.get(key, (fps[tuning.preset] * passes, rate))
        found[name_of(tuning)] = {"fps": speed, "rate_percent": rate}
    return found


def test_the_classes_are_confirmed_by_figures_like_nvidia_s() -> None:
    said = choose_classes(figures(P4=(443, -3.0)))
    assert said["fast"].startswith("P3 one pass aq 0 lookahead 0: confirmed")
    assert said["balanced"].startswith("P5 qres aq 0 lookahead 0: confirmed")
    assert said["best"].startswith("P7 fullres aq 0 lookahead 0: confirmed")


def test_a_tuning_that_needs_less_rate_at_its_speed_takes_a_class_over() -> None:
    said = choose_classes(figures(P4=(600.0, -8.0)))
    assert said["fast"] == "change to P4 one pass aq 0 lookahead 0: needs 8.0 % less rate"


def test_a_class_that_is_too_slow_is_changed_whatever_it_needs() -> None:
    said = choose_classes(figures(P3=(100.0, -20.0)))
    assert said["fast"] == "change to P2 one pass aq 0 lookahead 0: P3 one pass aq 0 lookahead 0 is too slow"


def test_nothing_is_said_without_figures() -> None:
    assert choose_classes({}) == {}
    assert choose_classes({"error": "died", "reason": "status 1"}) == {}
    assert choose_classes({name_of(SWEEP[0]): {"error": "gpu_unsupported", "reason": "no engine"}}) == {}


def test_rates_are_compared_where_both_show_the_same() -> None:
    reference = [{"kbps": 4000.0, "psnr_db": 42.0}, {"kbps": 1000.0, "psnr_db": 36.0}]
    better = [{"kbps": 2000.0, "psnr_db": 42.0}, {"kbps": 500.0, "psnr_db": 36.0}]
    shifted = [{"kbps": 1000.0, "psnr_db": 39.0}, {"kbps": 250.0, "psnr_db": 33.0}]
    assert rate_at_equal_quality(reference, reference) == pytest.approx(0)
    assert rate_at_equal_quality(better, reference) == pytest.approx(-50)
    assert rate_at_equal_quality(shifted, reference) == pytest.approx(-50)


def test_outcomes_are_read_while_pytest_runs() -> None:
    said = "tests/a.py::test_a[nvenc-plain] PASSED [ 33%]\ntests/a.py::test_b[x y] FAILED [ 66%]\ntests/a.py::test_c"
    found = read_outcomes(said)
    assert (found["passed"], found["failed"]) == (1, 1)
    assert found["not_passed"] == ["tests/a.py::test_b[x y]"]
    assert found["said"] == said
    assert read_outcomes("tests/a.py::test_a PASSED [100%]") == {"passed": 1}


def test_only_the_lanes_that_are_offered_are_held_to_the_contract() -> None:
    command = contract_command(["hybrid"])
    assert command[command.index("-k") + 1] == "(hybrid) and not fake"
    command = contract_command(["nvenc", "hybrid"], "tap_sees")
    assert command[command.index("-k") + 1] == "(nvenc or hybrid) and not fake and tap_sees"
