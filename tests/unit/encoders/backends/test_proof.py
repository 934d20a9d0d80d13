"""What follows from a proof: which backends are offered, and the reason for each "no"."""

from __future__ import annotations

from dataclasses import replace

from fakes.gpu import PROOF

from encoders.backends.probe import assemble
from encoders.backends.probe_report import MARK
from encoders.backends.proof import GpuProbe, hybrid_capability, nvenc_capability

DEVICE = PROOF.devices[0]


def test_a_proven_device_is_offered() -> None:
    nvenc, hybrid = nvenc_capability(PROOF), hybrid_capability(PROOF)

    assert nvenc.available
    assert nvenc.encodes == ("h264",)
    assert nvenc.sessions == 12
    assert hybrid.available
    assert "Fake GPU" in (nvenc.detail or {})["gpu 0"]


def test_hybrid_is_offered_only_where_it_is_faster_than_a_core() -> None:
    slow = replace(PROOF, cpu_lane_fps=950.0)

    assert "plain CPU decoding is not slower" in hybrid_capability(slow).reason
    assert hybrid_capability(replace(PROOF, cpu_lane_fps=900.0)).available


def test_a_device_that_scales_wrongly_is_offered_for_nothing() -> None:
    wrong = replace(PROOF, devices=(replace(DEVICE, scale_reason="50 dB from swscale's"),))

    assert "50 dB" in nvenc_capability(wrong).reason
    assert "50 dB" in hybrid_capability(wrong).reason


def test_two_devices_offer_what_both_do() -> None:
    both = replace(PROOF, devices=(DEVICE, replace(DEVICE, index=1, decodes=("h264/8/420",))))

    assert nvenc_capability(both).decodes == ("h264/8/420",)
    assert nvenc_capability(both).sessions == 24


def test_no_device_gives_the_host_s_reason() -> None:
    nothing = GpuProbe(reason="no driver")

    assert nvenc_capability(nothing).reason == hybrid_capability(nothing).reason == "no driver"


def lines(*found: str) -> str:
    return "".join(f"{MARK}{line}\n" for line in found)


def test_what_was_proven_before_the_child_died_stands() -> None:
    output = "[FATAL] something a library prints\n" + lines(
        '{"kind": "device", "index": 0, "uuid": "GPU-1", "name": "A", "architecture": "8.9", "memory_bytes": 1}',
        '{"kind": "found", "index": 0, "decodes": ["h264/8/420"], "scale_psnr_db": 70.0}',
        '{"kind": "step", "name": "encode on GPU 0"}',
    )

    (device,) = assemble(output, False, "was killed by signal 11", "line\nlast words\n").devices

    assert device.can_decode
    assert device.encode_reason == "the probe was killed by signal 11 at: encode on GPU 0 (last words)"


def test_a_child_that_died_before_any_device_is_the_host_s_reason() -> None:
    found = assemble(lines('{"kind": "step", "name": "ask the driver for devices"}'), False, "ended with status 1", "")

    assert found.devices == ()
    assert found.reason == "the probe ended with status 1 at: ask the driver for devices"
