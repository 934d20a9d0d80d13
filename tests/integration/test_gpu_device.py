"""On a real device: what the fakes stand for is so. Skipped without one; with REELMILL_REQUIRE_GPU=1 that is a failure.

`REELMILL_REQUIRE_GPU=1 pytest tests/integration/test_gpu_device.py tests/contract/test_backends.py` tests a GPU
machine; `python -m benchmarks gpu --require-gpu --json FILE` measures it.
"""

from __future__ import annotations

import os

import pytest

from benchmarks.gpu import run_step
from encoders.backends.probe import run_probe
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


def test_scaling_is_swscale_s(probe: GpuProbe) -> None:
    for device in probe.devices:
        assert device.scale_psnr_db >= 60


def test_a_device_that_has_engines_encodes(probe: GpuProbe) -> None:
    for device in probe.devices:
        assert bool(device.encodes) == (device.encode_engines > 0), device.encode_reason


def test_sixty_pictures_of_each_kind_are_identical(probe: GpuProbe) -> None:
    found = run_step(["benchmarks.gpu_steps", "equality"], 120, dict(os.environ))
    for kind in probe.devices[0].decodes:
        assert found[kind]["identical"] == found[kind]["of"] == 60
        assert found[kind]["times_in_order"]


def test_nothing_leaks_and_damage_is_survived(probe: GpuProbe) -> None:
    leaks, damage = (run_step(["benchmarks.gpu_steps", step], 120, dict(os.environ)) for step in ("leaks", "damage"))
    assert leaks["decoders"]["lost_bytes_in_30"] < 64 << 20
    assert damage["works_afterwards"]
