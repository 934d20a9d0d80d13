"""Slots and Ray resources of a node's GPUs, from what was proven of them."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from fakes.gpu import PROOF
from hypothesis import given
from hypothesis import strategies as st

from cluster.gpu_slots import (
    DECODE_UNITS,
    ENCODE_UNITS,
    GPU_SLOTS,
    decode_units,
    encode_units,
    ladder_units,
    merge_resources,
    node_resources,
    plan_gpu_slots,
    slot_options,
)
from encoders.backends.base import BackendName
from encoders.backends.proof import DeviceProof, GpuProbe
from encoders.ladder import Rendition

L4 = replace(PROOF.devices[0], sessions=32)
H200 = DeviceProof(
    index=0,
    uuid="GPU-h200",
    name="NVIDIA H200",
    architecture="9.0",
    memory_bytes=141 << 30,
    decodes=("h264/8/420",),
    decode_engines=7,
    encode_reason="no engine",
    lane_fps=600.0,
)


def host(*devices: DeviceProof) -> GpuProbe:
    return GpuProbe(devices=devices, cpu_lane_fps=100.0)


def test_an_l4_with_eight_cores() -> None:
    slots = plan_gpu_slots(host(L4), cores=8)

    assert len(slots) == 5, "32 sessions, six for each slot"
    assert {slot.backend for slot in slots} == {BackendName.NVENC}
    assert slots[0].num_gpus == 0.2
    assert slots[0].resources == {ENCODE_UNITS: 7.2, DECODE_UNITS: 20.4}
    assert slots[0].device_sessions == 32


def test_measured_speed_beats_the_table() -> None:
    measured = replace(L4, encode_fps=600.0, decode_fps=300.0)

    assert node_resources(host(measured), cores=8)[ENCODE_UNITS] == 34.0
    assert node_resources(host(measured), cores=8)[DECODE_UNITS] == 34.0


def test_an_h200_is_shared_by_the_cores_that_encode() -> None:
    slots = plan_gpu_slots(host(H200), cores=16)

    assert len(slots) == 16
    assert {slot.backend for slot in slots} == {BackendName.HYBRID}
    assert slots[0].num_gpus == 0.0625
    assert ENCODE_UNITS not in slots[0].resources
    assert slots[0].device_sessions == 0


def test_a_geforce_s_session_cap_bounds_its_slots() -> None:
    assert len(plan_gpu_slots(host(replace(L4, sessions=12)), cores=16)) == 2
    assert len(plan_gpu_slots(host(replace(L4, sessions=3)), cores=16)) == 1


def test_memory_bounds_the_slots_of_a_slice() -> None:
    assert len(plan_gpu_slots(host(replace(H200, memory_bytes=4 << 30)), cores=16)) == 2


def test_several_gpus_share_the_cores() -> None:
    other = replace(L4, index=1, uuid="GPU-2")

    slots = plan_gpu_slots(host(L4, other), cores=4)

    assert [slot.device_id for slot in slots] == [L4.uuid, L4.uuid, "GPU-2", "GPU-2"]
    assert slots[0].num_gpus == 0.5


def test_a_node_without_a_usable_gpu_has_no_resources() -> None:
    assert node_resources(GpuProbe(reason="no driver"), cores=8) == {}
    assert node_resources(replace(host(H200), cpu_lane_fps=900.0), cores=8) == {}


@given(
    cores=st.integers(1, 128),
    sessions=st.integers(1, 32),
    engines=st.integers(1, 8),
    memory=st.integers(1 << 30, 200 << 30),
    count=st.integers(1, 8),
)
def test_slots_never_take_more_than_there_is(cores: int, sessions: int, engines: int, memory: int, count: int) -> None:
    device = replace(L4, sessions=sessions, decode_engines=engines, memory_bytes=memory)
    devices = [replace(device, index=i, uuid=f"GPU-{i}") for i in range(count)]

    slots = plan_gpu_slots(host(*devices), cores)

    assert len(slots) >= count
    for each in devices:
        mine = [slot for slot in slots if slot.device_id == each.uuid]
        assert sum(slot.num_gpus for slot in mine) <= 1 + 1e-9
        assert sum(slot.resources[DECODE_UNITS] for slot in mine) <= decode_units(each) + 1e-6
        assert sum(slot.resources[ENCODE_UNITS] for slot in mine) <= encode_units(each) + 1e-6
        assert all(slot.num_gpus > 0 for slot in mine)
    assert node_resources(host(*devices), cores)[GPU_SLOTS] == len(slots)


@pytest.mark.parametrize(("fps", "units"), [(Fraction(30), 1.75), (Fraction(60), 3.5)])
def test_a_ladder_costs_its_pixels(fps: Fraction, units: float) -> None:
    ladder = [
        Rendition(name=f"{h}p", width=w, height=h, crf=23, maxrate_bps=1, bufsize_bits=1, mp4=False)
        for w, h in ((640, 360), (854, 480), (1280, 720), (1920, 1080))
    ]

    assert ladder_units(ladder, fps) == pytest.approx(units, abs=0.01)


def test_what_was_proven_replaces_what_a_node_type_declares() -> None:
    declared = {"CPU": 8, "GPU": 1, ENCODE_UNITS: 36.0, DECODE_UNITS: 102.0, GPU_SLOTS: 5, "other": 1}

    assert merge_resources(declared, {ENCODE_UNITS: 18.0, GPU_SLOTS: 2}) == {
        "CPU": 8,
        "GPU": 1,
        "other": 1,
        ENCODE_UNITS: 18.0,
        GPU_SLOTS: 2,
    }
    assert merge_resources(declared, {}) == {"CPU": 8, "GPU": 1, "other": 1}


def test_actors_on_a_node_s_gpus_take_equal_shares_that_lie_on_one_gpu_each() -> None:
    options = slot_options({"CPU": 16, "GPU": 2, GPU_SLOTS: 5, ENCODE_UNITS: 72, DECODE_UNITS: 204})

    assert len(options) == 4, "two on each GPU; a fifth would straddle them"
    assert options[0] == {"num_gpus": 0.5, "resources": {ENCODE_UNITS: 18.0, DECODE_UNITS: 51.0}}


def test_a_node_without_gpus_or_without_slots_starts_none() -> None:
    assert slot_options({"CPU": 16}) == []
    assert slot_options({"CPU": 16, "GPU": 1}) == []
    assert slot_options({"CPU": 16, GPU_SLOTS: 3}) == []
