"""What was proven of this host's GPUs: values that the probe fills in, and what follows. Standard library only.

Rule: a backend is offered because its work was done and checked on this device, not because of the device's name; and
every "no" has a reason that a person can act on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from encoders.backends.base import BackendName, Capability
from encoders.ladder import Codec

PROBE_VERSION = 2
"""Part of the cache's key: raise it when the probe proves more, or differently."""
HYBRID_MARGIN = 1.1
"""How much faster decoding and scaling must be on the GPU than on one core for `hybrid` to be offered: below this the
copies and the second device's risk buy nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceProof:
    """What one device did.

    Attributes:
        index: among the devices that the process saw.
        uuid: of the GPU or the MIG slice, as nvidia-smi prints it.
        architecture: compute capability, as in "8.9".
        decodes: "codec/bit depth/chroma" whose pictures were FFmpeg's to the bit.
        decode_engines: as the decoder's capabilities say; the largest of all codecs.
        decode_reason: why kinds are missing from `decodes`.
        scale_psnr_db: scaled pictures against swscale's, the worst plane; 0 when it did not come to that.
        scale_reason: why scaling is not offered.
        encodes: codecs whose eight pictures came out and decoded to what went in.
        sessions: encode sessions that were open at once when the next was refused, or when the probe stopped asking.
        max_b_frames: as the encoder's capabilities say of H.264.
        b_frames: the same of each codec in `encodes`.
        reuse_exact: whether a session that was used before gives the same bytes as a fresh one.
        encode_reason: why codecs are missing from `encodes`.
        decode_fps: H.264, 1920x1080, one session.
        lane_fps: decoded, scaled to four renditions and copied to the host, one session.
        encode_fps: H.264, 1920x1080, preset P3, one session.
    """

    index: int
    uuid: str
    name: str
    architecture: str
    memory_bytes: int
    decodes: tuple[str, ...] = ()
    decode_engines: int = 0
    decode_reason: str = ""
    scale_psnr_db: float = 0.0
    scale_reason: str = ""
    encodes: tuple[str, ...] = ()
    encode_engines: int = 0
    sessions: int = 0
    max_b_frames: int = 0
    b_frames: Mapping[str, int] = field(default_factory=dict)
    reuse_exact: bool = False
    encode_reason: str = ""
    decode_fps: float = 0.0
    lane_fps: float = 0.0
    encode_fps: float = 0.0

    @property
    def can_decode(self) -> bool:
        """Whether pictures can be decoded and scaled on it."""
        return bool(self.decodes) and not self.scale_reason

    def b_frames_of(self, codec: str) -> int:
        """How many B-frames NVENC makes in a row of a codec that it encodes. None in AV1: what its hidden frames do to
        decode times was not seen yet."""
        return 0 if codec == "av1" else self.b_frames.get(codec, self.max_b_frames)

    @property
    def can_encode(self) -> bool:
        """Whether it encodes anything."""
        return bool(self.encodes) and not self.scale_reason


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuProbe:
    """What the host has.

    Attributes:
        driver: version of the kernel driver or of the CUDA interface; empty without one.
        versions: of PyNvVideoCodec, CuPy and PyAV, as installed.
        devices: one entry per device that was seen.
        reason: why there are none.
        cpu_lane_fps: decoded and scaled to four renditions by FFmpeg on one core, for comparison with `lane_fps`.
    """

    driver: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    devices: tuple[DeviceProof, ...] = ()
    reason: str = ""
    cpu_lane_fps: float = 0.0


def nvenc_capability(probe: GpuProbe) -> Capability:
    """What the `nvenc` backend can do on this host."""
    able = [device for device in probe.devices if device.can_encode]
    if not able:
        reasons = [f"{d.name}: {d.encode_reason or d.scale_reason}" for d in probe.devices]
        return _no(BackendName.NVENC, probe, reasons)
    return Capability(
        name=BackendName.NVENC,
        available=True,
        decodes=_common([device.decodes for device in able]),
        encodes=_common([device.encodes for device in able]),
        sessions=sum(device.sessions for device in able),
        detail=_detail(probe, able),
    )


def hybrid_capability(probe: GpuProbe) -> Capability:
    """What the `hybrid` backend can do on this host: offered where it is faster than decoding on a core."""
    able = [device for device in probe.devices if device.can_decode]
    if not able:
        reasons = [f"{d.name}: {d.decode_reason or d.scale_reason}" for d in probe.devices]
        return _no(BackendName.HYBRID, probe, reasons)
    best = max(device.lane_fps for device in able)
    if not best:
        return _no(BackendName.HYBRID, probe, ["decoding and scaling on the GPU was not timed"])
    if best < HYBRID_MARGIN * probe.cpu_lane_fps:
        slow = (
            f"decoding and scaling on the GPU gives {best:.0f} frames a second, "
            f"one core gives {probe.cpu_lane_fps:.0f}: plain CPU decoding is not slower"
        )
        return _no(BackendName.HYBRID, probe, [slow])
    return Capability(
        name=BackendName.HYBRID,
        available=True,
        decodes=_common([device.decodes for device in able]),
        encodes=tuple(Codec),
        detail=_detail(probe, able),
    )


def _no(name: BackendName, probe: GpuProbe, reasons: list[str]) -> Capability:
    return Capability(name=name, available=False, reason=probe.reason or "; ".join(reasons), detail=_detail(probe, []))


def _common(offers: list[tuple[str, ...]]) -> tuple[str, ...]:
    """What all devices do: a worker does not choose among them."""
    return tuple(offer for offer in offers[0] if all(offer in other for other in offers))


def _detail(probe: GpuProbe, devices: list[DeviceProof]) -> dict[str, str]:
    found = {"driver": probe.driver, **probe.versions} if probe.driver else dict(probe.versions)
    for device in devices:
        found[f"gpu {device.index}"] = (
            f"{device.name} ({device.uuid}), {device.memory_bytes >> 20} MiB, {device.decode_engines} NVDEC, "
            f"{device.encode_engines} NVENC"
        )
    return found
