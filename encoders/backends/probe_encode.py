"""The probe's third part: what a device encodes, decoded again by FFmpeg; and how many sessions it opens."""

from __future__ import annotations

import time
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av.error
import numpy as np
from av.packet import Packet

from encoders.backends import probe_clip
from encoders.backends.cuda import CudaDevice
from encoders.backends.nverrors import DeviceFault, SessionsExhausted, to_gpu_error, typed_errors
from encoders.backends.nvparams import EncoderSpec, NvCodec, Speed
from encoders.backends.nvsession import NvencSession, SurfaceInput, open_session
from encoders.backends.probe_report import report
from encoders.backends.scale import SlotLayout, plan_slot
from encoders.errors import FarmError

MIN_ENCODE_PSNR_DB = 30.0
ENCODED_FRAMES = 8
ENCODE_SIZE = (256, 144)
"""Above NVENC's least size on every generation. Source: "NVENC application note", minimum 145x49 for H.264."""
MAX_SESSIONS = 32
"""More than any ladder needs; the count stops here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Proven:
    """What one codec's proof found."""

    engines: int
    b_frames: int
    reuse_exact: bool


def prove_encoding(library: Any, device: CudaDevice) -> int | None:
    """Eight frames in, eight pictures out that FFmpeg decodes to what went in, in each codec; and again.

    Returns:
        How many B-frames it has in H.264; None when it does not encode that, without which it is of no use.
    """
    proven: dict[str, _Proven] = {}
    reasons = []
    for codec in NvCodec:
        report("step", name=f"encode {codec} on GPU {device.index}")
        try:
            proven[codec.value] = _prove_codec(library, device, codec)
        except FarmError as error:
            reasons.append(f"{codec}: {error.detail}")
    if NvCodec.H264 not in proven:
        report("found", index=device.index, encode_reason="; ".join(reasons))
        return None
    h264 = proven[NvCodec.H264]
    report(
        "found",
        index=device.index,
        encodes=list(proven),
        encode_engines=h264.engines,
        max_b_frames=h264.b_frames,
        b_frames={codec: found.b_frames for codec, found in proven.items()},
        reuse_exact=all(found.reuse_exact for found in proven.values()),
        encode_reason="; ".join(reasons),
    )
    return h264.b_frames


def _prove_codec(library: Any, device: CudaDevice, codec: NvCodec) -> _Proven:
    with typed_errors("ask NVENC for its capabilities"):
        caps = library.GetEncoderCaps(device.index, codec.value)
    b_frames = int(caps.get("num_max_bframes", 0))
    layout = plan_slot([ENCODE_SIZE])
    slots = [upload_picture(device, layout, number) for number in range(ENCODED_FRAMES)]
    spec = encoder_spec(0 if codec is NvCodec.AV1 else b_frames, codec=codec)
    session = open_session(library, device, spec, time.sleep)
    first = encode(session, layout, slots)
    check_encoded(codec, session.parameter_sets, first)
    again = encode(session, layout, slots)
    return _Proven(
        engines=int(caps.get("num_encoder_engines", 0)),
        b_frames=b_frames,
        reuse_exact=[data for _, data in first] == [data for _, data in again],
    )


def encoder_spec(b_frames: int, size: tuple[int, int] = ENCODE_SIZE, codec: NvCodec = NvCodec.H264) -> EncoderSpec:
    """Settings like a ladder's."""
    return EncoderSpec(
        codec=codec,
        width=size[0],
        height=size[1],
        fps=Fraction(probe_clip.FPS),
        gop_frames=50,
        cq=23,
        maxrate_bps=5_000_000,
        bufsize_bits=10_000_000,
        speed=Speed.FAST,
        b_frames=min(3, b_frames),
    )


def upload_picture(device: CudaDevice, layout: SlotLayout, number: int) -> Any:
    """One test picture as a slot on the device."""
    surface = layout.surfaces[0]
    planes = probe_clip.native_planes(probe_clip.moving_picture(number, surface.width, surface.height))
    slot = np.zeros(layout.size_bytes, np.uint8)
    slot[: surface.size_bytes] = np.concatenate([plane.reshape(-1) for plane in planes])
    return device.upload(slot)


def encode(session: NvencSession, layout: SlotLayout, slots: list[Any]) -> list[tuple[int, bytes]]:
    """One segment of the given pictures; returns (frame, data) in decode order."""
    session.begin("probe", 0)
    out = []
    for number, slot in enumerate(slots):
        out += session.push(SurfaceInput(slot, layout.surfaces[0]), idr=number == 0)
    out += session.finish()
    return [(picture.pts, picture.data) for picture in out]


def check_encoded(codec: NvCodec, parameter_sets: bytes, pictures: list[tuple[int, bytes]]) -> None:
    """What came out decodes to what went in.

    Raises:
        DeviceFault: other pictures, or not eight.
    """
    packets = []
    for at, (number, data) in enumerate(pictures):
        # AV1's key frames hold theirs already.
        packet = Packet(parameter_sets + data if at == 0 and codec is not NvCodec.AV1 else data)
        packet.pts = number
        packets.append(packet)
    try:
        decoded = list(probe_clip.decode(codec.value, packets))
    except av.error.FFmpegError as error:
        raise DeviceFault(f"FFmpeg cannot decode what NVENC made of the probe's pictures: {error}") from error
    worst = 100.0
    for number, frame in enumerate(decoded):
        wanted, _ = probe_clip.native_planes(probe_clip.moving_picture(number, *ENCODE_SIZE))
        worst = min(worst, probe_clip.psnr_db(probe_clip.native_planes(frame)[0], wanted))
    if len(decoded) != ENCODED_FRAMES or worst < MIN_ENCODE_PSNR_DB:
        problem = f"{len(decoded)} of {ENCODED_FRAMES} pictures, worst {worst:.1f} dB"
        raise to_gpu_error(RuntimeError(problem), "encode on the GPU")


def count_sessions(library: Any, devices: list[tuple[CudaDevice, int]]) -> dict[int, int]:
    """How many sessions each device has open when none opens another; all are closed again.

    They are opened by turns, since GeForce cards share one limit between all cards of a machine.

    Args:
        devices: with the B-frames that each has.
    """
    open_on: dict[int, list[NvencSession]] = {device.index: [] for device, _ in devices}
    left = list(devices)
    while left:
        for device, b_frames in tuple(left):
            sessions = open_on[device.index]
            try:
                sessions.append(open_session(library, device, encoder_spec(b_frames), time.sleep, max_waits=0))
            except FarmError as error:
                left.remove((device, b_frames))
                if not isinstance(error, SessionsExhausted):
                    report("note", text=f"session {len(sessions) + 1} on GPU {device.index}: {error.detail}")
                continue
            if len(sessions) == MAX_SESSIONS:
                left.remove((device, b_frames))
    return {index: len(sessions) for index, sessions in open_on.items()}
