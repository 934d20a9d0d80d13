"""How many encode slots a node's GPUs carry, and what of Ray's resources each takes: from what the probe proved. Pure.

Rule: sessions are weighted by pixel rate, not counted by engines. The unit is one 1920x1080 stream at 30 frames a
second ("1080p30"): a device is worth so many units of encoding and of decoding, a slot gets its share, a ladder costs
the sum of its renditions. Ray isolates a GPU only for actors that take some of `num_gpus`, so every slot takes a
fraction.

`python -m cluster.gpu_slots` prints the node's custom resources as JSON, for `ray start --resources`.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from encoders.backends.base import BackendName
from encoders.backends.probe import proven
from encoders.backends.proof import DeviceProof, GpuProbe, hybrid_capability
from encoders.ladder import Rendition

ENCODE_UNITS, DECODE_UNITS = "nvenc_units", "nvdec_units"
"""Ray's custom resources, in 1080p30."""
GPU_SLOTS = "reelmill_gpu_slots"
"""Ray's custom resource that says how many actors the pool starts on a node's GPUs."""
UNIT_PIXELS_PER_S = 1920 * 1080 * 30
HEADROOM = 0.85
"""Share of an engine's throughput that is given out; the rest absorbs pictures that cost more than the probe's."""
SESSIONS_PER_SLOT = 6
"""Renditions of the longest ladder that profiles hold; a slot must be able to open them all."""
MEMORY_PER_SLOT_BYTES = 1_500_000_000
"""Context, decoder, input rings of six sessions (90 MB each at 1080p with lookahead) and slots."""
LANES_PER_DECODER = 2
"""A session never fills an engine: while one lane waits for its encoder, the other decodes."""
RAY_PRECISION = 10_000
"""Ray counts fractions of resources in ten-thousandths. Source: Ray, FixedPoint."""

ENCODE_FPS = {"7": 602, "8": 617, "8.9": 647, "10": 708, "12": 708}
"""H.264 1080p frames a second of one NVENC engine at preset P3, by compute capability (the major number, or both),
where the probe has not measured it. Source: "NVENC application note 13.0", table of performance."""
DECODE_FPS = {"7": 771, "8": 748, "8.9": 903, "9": 771, "10": 2172, "12": 2172}
"""The same of one NVDEC engine. Source: "NVDEC application note 13.0"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotSpec:
    """One encode slot on a GPU.

    Attributes:
        device_id: UUID of its GPU: the unit of health.
        num_gpus: fraction of the GPU that Ray gives to the actor.
        resources: Ray's custom resources that it takes, in 1080p30.
        device_sessions: encode sessions of the whole device, shared by its slots; 0 where it does not encode.
    """

    backend: BackendName
    device_id: str
    num_gpus: float
    resources: dict[str, float]
    device_sessions: int = 0


def plan_gpu_slots(probe: GpuProbe, cores: int) -> list[SlotSpec]:
    """The slots that a node's GPUs carry.

    Args:
        cores: of the node. A slot on NVENC takes one for reading and writing; on `hybrid` its encoder runs on it.

    Returns:
        Slots of each device behind each other; none where nothing was proven.
    """
    usable = [device for device in probe.devices if device.can_encode]
    if usable:
        share = max(1, cores // len(usable))
        return [slot for device in usable for slot in _nvenc_slots(device, share)]
    if not hybrid_capability(probe).available:
        return []
    usable = [device for device in probe.devices if device.can_decode]
    share = max(1, cores // len(usable))
    return [slot for device in usable for slot in _hybrid_slots(device, share)]


def _nvenc_slots(device: DeviceProof, cores: int) -> list[SlotSpec]:
    count = max(
        1,
        min(
            cores,
            device.sessions // SESSIONS_PER_SLOT,
            LANES_PER_DECODER * max(1, device.decode_engines),
            device.memory_bytes // MEMORY_PER_SLOT_BYTES,
        ),
    )
    return _shares(device, BackendName.NVENC, count, encode_units(device), device.sessions)


def _hybrid_slots(device: DeviceProof, cores: int) -> list[SlotSpec]:
    count = max(1, min(cores, device.memory_bytes // MEMORY_PER_SLOT_BYTES))
    return _shares(device, BackendName.HYBRID, count, 0.0, 0)


def _shares(device: DeviceProof, backend: BackendName, count: int, encode: float, sessions: int) -> list[SlotSpec]:
    resources = {DECODE_UNITS: _down(decode_units(device) / count)}
    if encode:
        resources[ENCODE_UNITS] = _down(encode / count)
    slot = SlotSpec(
        backend=backend,
        device_id=device.uuid,
        num_gpus=_down(1 / count),
        resources=resources,
        device_sessions=sessions,
    )
    return [slot] * count


def _down(value: float) -> float:
    """Rounded down to what Ray can count, so that all shares fit together."""
    return math.floor(value * RAY_PRECISION + 1e-6) / RAY_PRECISION


def encode_units(device: DeviceProof) -> float:
    """What a device encodes, in 1080p30: engines times one engine's throughput."""
    fps = device.encode_fps or _by_architecture(ENCODE_FPS, device.architecture)
    return device.encode_engines * fps * HEADROOM / 30


def decode_units(device: DeviceProof) -> float:
    """What a device decodes, in 1080p30."""
    fps = device.decode_fps or _by_architecture(DECODE_FPS, device.architecture)
    return device.decode_engines * fps * HEADROOM / 30


def _by_architecture(table: Mapping[str, int], architecture: str) -> int:
    return table.get(architecture) or table.get(architecture.split(".")[0]) or min(table.values())


def ladder_units(renditions: Sequence[Rendition], fps: Fraction) -> float:
    """What encoding a ladder in real time costs, in 1080p30."""
    pixels = sum(rendition.width * rendition.height for rendition in renditions)
    return float(pixels * fps / UNIT_PIXELS_PER_S)


def node_resources(probe: GpuProbe, cores: int) -> dict[str, float]:
    """Ray's custom resources of a node: what its slots take together, and their number; empty without a GPU."""
    slots = plan_gpu_slots(probe, cores)
    if not slots:
        return {}
    found: dict[str, float] = {GPU_SLOTS: len(slots)}
    for name in (ENCODE_UNITS, DECODE_UNITS):
        total = sum(slot.resources.get(name, 0.0) for slot in slots)
        if total:
            found[name] = round(total, 4)
    return found


def main() -> None:
    """Print the node's custom resources as JSON; `{}` on a node without a usable GPU, whose reason goes to stderr."""
    probe = proven()
    resources = node_resources(probe, len(os.sched_getaffinity(0)))
    if not resources and probe.reason:
        sys.stderr.write(f"{probe.reason}\n")
    sys.stdout.write(f"{json.dumps(resources)}\n")


if __name__ == "__main__":
    main()
