"""On a real device: what the fakes stand for is so. Skipped without one; with REELMILL_REQUIRE_GPU=1 that is a failure.

`python -m benchmarks gpu --prove` does all of this, the backends' contract and every measurement in one call.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from benchmarks.gpu import run_step
from benchmarks.gpu_verdicts import judge
from encoders.backends.probe import probe_json, run_probe
from encoders.backends.proof import GpuProbe

pytestmark = [pytest.mark.gpu, pytest.mark.slow]


@pytest.fixture(scope="module")
def probe() -> GpuProbe:
    found = run_probe()
    if not any(device.can_decode for device in found.devices):
        reasons = found.reason or "; ".join(device.decode_reason for device in found.devices)
        if os.environ.get("REELMILL_REQUIRE_GPU") == "1":
            pytest.fail(reasons)
        pytest.skip(reasons)
    return found


def test_h264_and_hevc_decode_to_ffmpeg_s_pictures(probe: GpuProbe) -> None:
    for device in probe.devices:
        assert {"h264/8/420", "hevc/8/420", "hevc/10/420"} <= set(device.decodes), device.decode_reason


def test_a_device_that_has_engines_encodes(probe: GpuProbe) -> None:
    for device in probe.devices:
        assert bool(device.encodes) == (device.encode_engines > 0), device.encode_reason


@pytest.mark.parametrize("step", ["equality", "scaling", "confined", "leaks", "damage"])
def test_what_the_benchmark_judges_holds(probe: GpuProbe, step: str) -> None:
    found: dict[str, Any] = run_step(["benchmarks.gpu_steps", step], 120, dict(os.environ))
    verdicts = judge({"probe": probe_json(probe), "steps": {step: found}})
    assert [verdict for verdict in verdicts if not verdict.held] == []
