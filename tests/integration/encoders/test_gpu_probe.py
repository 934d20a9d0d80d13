"""The probe on machines that are not there: no driver, no device, a GPU without NVENC, one with it, broken ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fakes import drivers
from fakes.gpu import Gpu

from encoders.backends import probe
from encoders.backends.proof import GpuProbe, hybrid_capability, nvenc_capability

pytestmark = pytest.mark.skipif(drivers.compiler() is None, reason="no C compiler for stub drivers on this machine")
UNTIMED = {"REELMILL_PROBE_SPEED_S": "0"}
"""Timing is left out: the fake's decoder is FFmpeg's and its scaler NumPy, so numbers would mean nothing."""


def probed(folder: Path, gpu: Gpu | None, **machine: object) -> GpuProbe:
    env = drivers.install(folder, gpu, **machine)  # type: ignore[arg-type]
    return probe.run_probe(environment={**env, **UNTIMED})


def test_a_machine_without_a_driver() -> None:
    env = {name: value for name, value in os.environ.items() if name != "LD_LIBRARY_PATH"}
    found = probe.run_probe(environment=env)
    if found.devices:
        pytest.skip("this machine has a GPU")

    assert "libcuda.so.1" in found.reason
    for capability in (nvenc_capability(found), hybrid_capability(found)):
        assert not capability.available
        assert "NVIDIA_DRIVER_CAPABILITIES" in capability.reason


def test_a_driver_without_a_device(tmp_path: Path) -> None:
    found = probed(tmp_path, None)

    assert found.devices == ()
    assert "no usable GPU" in found.reason


def test_a_driver_that_does_not_start(tmp_path: Path) -> None:
    assert "999" in probed(tmp_path, Gpu(), init=999).reason


def test_a_device_without_the_python_libraries(tmp_path: Path) -> None:
    found = probed(tmp_path, Gpu(), libraries=False)

    (device,) = found.devices
    assert device.uuid == "GPU-10101010-1010-1010-1010-101010101010"
    assert "gpu-cu12" in device.encode_reason
    assert not nvenc_capability(found).available


def test_a_gpu_with_nvenc(tmp_path: Path) -> None:
    found = probed(tmp_path, Gpu(sessions=5, encodes=("h264", "hevc")), name="NVIDIA L4")

    (device,) = found.devices
    assert (device.name, device.architecture, device.memory_bytes) == ("NVIDIA L4", "8.9", 24 << 30)
    assert device.decodes == ("h264/8/420", "hevc/8/420", "hevc/10/420")
    assert "vp9/8/420: no engine" in device.decode_reason
    assert device.scale_psnr_db >= 60
    assert device.encodes == ("h264", "hevc")
    assert "av1: " in device.encode_reason
    assert device.b_frames == {"h264": 4, "hevc": 4}
    assert (device.sessions, device.max_b_frames, device.reuse_exact) == (5, 4, True)
    assert (device.decode_engines, device.encode_engines) == (4, 2)
    capability = nvenc_capability(found)
    assert capability.available
    assert capability.sessions == 5


def test_a_gpu_without_nvenc_offers_hybrid_at_most(tmp_path: Path) -> None:
    found = probed(tmp_path, Gpu(encodes=(), decodes=("h264/8/420",)), name="NVIDIA H200")

    nvenc, hybrid = nvenc_capability(found), hybrid_capability(found)
    assert not nvenc.available
    assert "NVIDIA H200" in nvenc.reason
    assert "no usable GPU engine" in nvenc.reason
    assert not hybrid.available
    assert "not timed" in hybrid.reason
    assert found.devices[0].can_decode


def test_a_decoder_with_other_pictures_and_sessions_that_remember_are_found_out(tmp_path: Path) -> None:
    (device,) = probed(tmp_path, Gpu(decodes=("h264/8/420",), wrong_pixels=True, forgetful=True)).devices

    assert device.decodes == ()
    assert "other pictures than FFmpeg's" in device.decode_reason
    assert device.encodes == ("h264",)
    assert not device.reuse_exact


def test_a_library_that_ends_the_process_leaves_the_reason_and_what_was_proven(tmp_path: Path) -> None:
    """CreateDecoder on a machine without a usable device exits with status 1, and nothing can catch it."""
    found = probed(tmp_path, Gpu(vanishes_before="CreateDecoder"))

    (device,) = found.devices
    assert "ended with status 1 at: decode h264/8/420 on GPU 0" in device.decode_reason
    assert "ended with status 1" in device.encode_reason
    assert not nvenc_capability(found).available


def test_two_devices_are_proven_apart(tmp_path: Path) -> None:
    found = probed(tmp_path, Gpu(devices=2, decodes=("h264/8/420",)))

    assert [device.index for device in found.devices] == [0, 1]
    assert len({device.uuid for device in found.devices}) == 2
    assert all(device.can_encode for device in found.devices)
    assert [device.sessions for device in found.devices] == [6, 6], "they share one limit of 12"


def test_a_proof_is_kept_until_it_is_forgotten(tmp_path: Path) -> None:
    env = drivers.install(tmp_path, Gpu(decodes=("h264/8/420",)))
    env.update(UNTIMED)
    cache = tmp_path / "cache"

    first = probe.run_probe(cache, environment=env)
    (tmp_path / "libcuda.so.1").unlink()
    assert probe.run_probe(cache, environment=env) == first
    probe.forget_probes(cache)
    assert probe.run_probe(cache, environment=env).devices == ()


def test_a_hung_driver_is_given_up(tmp_path: Path) -> None:
    env = drivers.install(tmp_path, Gpu())
    (tmp_path / "site-packages" / "cupy.py").write_text("import time\ntime.sleep(60)\n")

    found = probe.run_probe(environment=env, timeout_s=3)

    assert "did not finish within 3 s at: load PyNvVideoCodec and CuPy" in found.reason
