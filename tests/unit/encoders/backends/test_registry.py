"""The registry loads backends on first use, and says why one cannot be had."""

from __future__ import annotations

import sys

import pytest
from pydantic import TypeAdapter

from encoders.backends.base import BackendName
from encoders.backends.cpu import CpuBackend
from encoders.backends.probe import PROOF_VARIABLE
from encoders.backends.proof import GpuProbe
from encoders.backends.registry import capabilities, capability_of, encoder_id_of, first_encoder_id, open_backend
from encoders.errors import BackendUnavailable, Fault


def test_the_cpu_lane_is_always_there() -> None:
    assert isinstance(open_backend(BackendName.CPU), CpuBackend)
    assert isinstance(open_backend("cpu"), CpuBackend)
    capability = capability_of("cpu")
    assert capability.available
    assert capability.encodes == ("h264", "hevc", "av1")


def test_identities_name_the_encoder_and_change_with_the_preset() -> None:
    identity = encoder_id_of("cpu", "veryfast")
    assert identity.startswith("x264-")
    assert identity == encoder_id_of("cpu", "veryfast") != encoder_id_of("cpu", "faster")


def test_a_module_that_cannot_be_loaded_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "encoders.backends.nvenc", None)
    found = capability_of(BackendName.NVENC)
    assert not found.available
    assert "cannot be loaded" in found.reason
    with pytest.raises(BackendUnavailable, match="nvenc") as caught:
        open_backend(BackendName.NVENC)
    assert caught.value.fault is Fault.DEVICE


def test_all_are_listed_the_fastest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("nvenc", "hybrid"):
        monkeypatch.setitem(sys.modules, f"encoders.backends.{name}", None)
    assert [capability.name for capability in capabilities()] == [
        BackendName.NVENC,
        BackendName.HYBRID,
        BackendName.CPU,
    ]


def test_a_name_that_is_no_backend_is_refused() -> None:
    with pytest.raises(ValueError, match="abacus"):
        open_backend("abacus")


def test_a_node_without_the_backend_gives_the_next_one_s_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PROOF_VARIABLE, TypeAdapter(GpuProbe).dump_json(GpuProbe(reason="no GPU here")).decode())
    assert first_encoder_id(("nvenc", "cpu"), "veryfast") == encoder_id_of("cpu", "veryfast")
    with pytest.raises(BackendUnavailable, match="no GPU here"):
        first_encoder_id(("nvenc",), "veryfast")
