"""The GPU benchmark's steps on the fake device, and its report; figures are not looked at."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from fakes.gpu import PROOF, Gpu, proven_fake
from rich.console import Console

from benchmarks import gpu, gpu_steps
from encoders.backends import probe_clip
from encoders.backends.proof import GpuProbe


@pytest.fixture(autouse=True)
def h264_only(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = {"h264/8/420": probe_clip.CPU_ENCODERS["h264/8/420"]}
    monkeypatch.setattr(probe_clip, "CPU_ENCODERS", kinds)
    monkeypatch.setattr(gpu_steps, "COMPARED", 20)


@pytest.fixture
def device() -> Iterator[Gpu]:
    with proven_fake(Gpu(decodes=("h264/8/420",))) as plugged:
        yield plugged


def test_pictures_are_compared_with_ffmpeg_s_one_by_one(device: Gpu) -> None:
    found = gpu_steps.equality()["h264/8/420"]

    assert (found["pictures"], found["identical"], found["of"]) == (20, 20, 20)
    assert found["times_in_order"]
    assert found["surface"] == ("640x360, luma pitch 640, chroma pitch 640, chroma 230400 bytes after luma")
    assert 1 <= found["buffers"] < 20, "buffers are recycled"


def test_wrong_pictures_are_counted() -> None:
    with proven_fake(Gpu(wrong_pixels=True)):
        assert gpu_steps.equality()["h264/8/420"]["identical"] == 0


def test_refusals_are_taken_down_word_by_word() -> None:
    with proven_fake(Gpu(encodes=())):
        found = gpu_steps.refusals()

    assert "Error code : 2" in found["GetEncoderCaps"]["text"]
    assert "Error code : 2" in found["CreateEncoder"]["text"]
    assert "class" in found["PyAV h264_nvenc"] or found["PyAV h264_nvenc"] == "opened"


def test_a_damaged_stream_leaves_the_device_working(device: Gpu) -> None:
    found = gpu_steps.damage()

    assert found["works_afterwards"]
    assert "of 24" in found["pictures"]


def test_tunings_are_compared_by_speed_rate_and_quality(device: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_steps, "SOURCE", (192, 128))
    monkeypatch.setattr(gpu_steps, "SWEPT_FRAMES", 15)
    monkeypatch.setattr(gpu_steps, "SWEEP", gpu_steps.SWEEP[-2:])
    found = gpu_steps.presets()

    assert list(found) == ["P7 fullres aq 8 lookahead 0", "P5 qres aq 8 lookahead 16"]
    assert [(call["preset"], call["multipass"]) for call in device.called("CreateEncoder")] == [
        ("P7", "fullres"),
        ("P5", "qres"),
    ]
    for figures in found.values():
        assert figures["kbps"] > 0
        assert figures["psnr_db"] > 30


def test_a_step_that_dies_or_hangs_costs_its_own_figures_only() -> None:
    died = gpu.run_step(["benchmarks.gpu_steps", "no such step"], 60, {})

    assert died["error"] == "died"
    assert "KeyError" in died["reason"]
    assert gpu.run_step(["http.server", "--help"], 0.001, {})["error"] == "timeout"


LADDERS: dict[str, Any] = {
    "cpu veryfast": {"fps": 100.0, "failed": 0, "ladder_bps": 10_000_000},
    "hybrid veryfast": {"fps": 160.0, "failed": 0, "ladder_bps": 10_000_000},
    "cpu medium": {"error": "timeout", "reason": "did not finish within 75 s"},
}


def test_the_fastest_backend_is_recommended_and_the_others_are_explained() -> None:
    text = gpu.recommend(GpuProbe(reason="no driver"), LADDERS, "veryfast")

    assert text.startswith("hybrid: 160 frames a second")
    assert "cpu 100" in text
    assert "no nvenc: no driver" in text


def test_a_backend_with_failed_processes_is_not_recommended() -> None:
    ladders = {**LADDERS, "hybrid veryfast": {"fps": 160.0, "failed": 1, "ladder_bps": 1}}

    assert gpu.recommend(PROOF, ladders, "veryfast").startswith("cpu: 100")


def test_the_report_names_the_bounds_and_the_reasons() -> None:
    out = io.StringIO()
    gpu.print_results(
        {
            "probe": {},
            "steps": {
                "scaling": {
                    "ms_a_picture": 0.05,
                    "psnr_db": 68.0,
                    "floor_ms": 0.002,
                    "device_copy_bytes_per_s": 4.3e12,
                },
                "decoding": {"engines": 7, "1 sessions": {"fps": 700.0}, "7 sessions": {"fps": 4800.0}},
                "leaks": {"error": "timeout", "reason": "did not finish within 60 s"},
            },
            "ladders": LADDERS,
            "recommendation": gpu.recommend(replace(PROOF, devices=()), LADDERS, "veryfast"),
        },
        Console(file=out, width=160),
    )

    text = out.getvalue()
    assert "7 engines x 700 = 4900 frames a second" in text
    assert "0.002 ms by memory bandwidth (4300 GB/s)" in text
    assert "leaks: did not finish" in text
    assert "did not finish within 75 s" in text
