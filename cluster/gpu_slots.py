"""How many encode slots a node's GPUs carry, and what of Ray's resources each takes: from what the probe proved. Pure.

Rule: sessions are weighted by pixel rate, not counted by engines. The unit is one 1920x1080 stream at 30 frames a
second ("1080p30"): a device is worth so many units of encoding and of decoding, a slot gets its share, a ladder costs
the sum of its renditions. Ray isolates a GPU only for actors that take some of `num_gpus`, so every slot takes a
fraction.

`python -m cluster.gpu_slots` prints the node's resources as JSON, for RAY_OVERRIDE_RESOURCES before `ray start`.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

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
    return _shares(device, BackendName.HYBRID, count, 0, 0)


def _shares(device: DeviceProof, backend: BackendName, count: int, encode: int, sessions: int) -> list[SlotSpec]:
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


def encode_units(device: DeviceProof) -> int:
    """What a device encodes, in whole 1080p30: engines times one engine's throughput."""
    fps = device.encode_fps or _by_architecture(ENCODE_FPS, device.architecture)
    return int(device.encode_engines * fps * HEADROOM / 30)


def decode_units(device: DeviceProof) -> int:
    """What a device decodes, in whole 1080p30."""
    fps = device.decode_fps or _by_architecture(DECODE_FPS, device.architecture)
    return int(device.decode_engines * fps * HEADROOM / 30)


def _by_architecture(table: Mapping[str, int], architecture: str) -> int:
    return table.get(architecture) or table.get(architecture.split(".")[0]) or min(table.values())


def ladder_units(renditions: Sequence[Rendition], fps: Fraction) -> float:
    """What encoding a ladder in real time costs, in 1080p30."""
    pixels = sum(rendition.width * rendition.height for rendition in renditions)
    return float(pixels * fps / UNIT_PIXELS_PER_S)


def node_resources(probe: GpuProbe, cores: int) -> dict[str, float]:
    """Ray's custom resources of a node: its devices' units and the number of its slots; empty without a usable GPU.

    Whole numbers, since the autoscaler's files take no others.
    """
    slots = plan_gpu_slots(probe, cores)
    if not slots:
        return {}
    carrying = [device for device in probe.devices if any(slot.device_id == device.uuid for slot in slots)]
    found: dict[str, float] = {GPU_SLOTS: len(slots), DECODE_UNITS: sum(map(decode_units, carrying))}
    if slots[0].backend is BackendName.NVENC:
        found[ENCODE_UNITS] = sum(map(encode_units, carrying))
    return found


def slot_options(resources: Mapping[str, float]) -> list[dict[str, Any]]:
    """Ray options of the actors on a node's GPUs, from the node's resources as Ray reports them; one entry a slot.

    Every GPU gets the same number of slots: a fraction of a GPU must lie on one.
    """
    gpus = int(resources.get("GPU", 0))
    each = int(resources.get(GPU_SLOTS, 0)) // gpus if gpus else 0
    if not each:
        return []
    count = each * gpus
    shares = {name: _down(resources[name] / count) for name in (ENCODE_UNITS, DECODE_UNITS) if resources.get(name)}
    return [{"num_gpus": _down(1 / each), "resources": shares}] * count


def merge_resources(declared: Mapping[str, float], proven_here: Mapping[str, float]) -> dict[str, float]:
    """What a node really offers: what its node type declares, with the GPU's part replaced by what was proven.

    Declared values let the autoscaler choose a node type before a node exists; a node whose driver or device fails the
    probe must not be given work on their strength.
    """
    kept = {name: value for name, value in declared.items() if name not in (ENCODE_UNITS, DECODE_UNITS, GPU_SLOTS)}
    return {**kept, **proven_here}


def main() -> None:
    """Print the node's resources as JSON; the reason for a GPU that is not used goes to stderr.

    Ray's autoscaler hands a node type's resources over in RAY_OVERRIDE_RESOURCES, which beats `ray start --resources`:
    so what is declared there is read, corrected and printed, to be put back there.
    """
    probe = proven()
    found = node_resources(probe, len(os.sched_getaffinity(0)))
    if not found:
        reasons = [probe.reason, *(device.encode_reason or device.decode_reason for device in probe.devices)]
        sys.stderr.write("".join(f"no GPU slots: {reason}\n" for reason in reasons if reason))
    declared = json.loads(os.environ.get("RAY_OVERRIDE_RESOURCES") or "{}")
    sys.stdout.write(f"{json.dumps(merge_resources(declared, found))}\n")


if __name__ == "__main__":
    main()
