"""The child process that proves what the GPUs of this host do: `python -m encoders.backends.probe_child`.

Rule: everything that may end a process without a word happens here and nowhere else. Each finding is written as one
line of JSON, and each step says its name before it begins, so the parent knows what was proven and what the child died
of.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
from av.packet import Packet
from av.video.reformatter import Interpolation, VideoReformatter

from encoders.backends import probe_clip
from encoders.backends.cuda import CudaDevice
from encoders.backends.nvdec import LIBRARY_NAME, NvDecoder
from encoders.backends.nverrors import SessionsExhausted, to_gpu_error, typed_errors
from encoders.backends.nvparams import EncoderSpec, NvCodec, Speed
from encoders.backends.nvsession import NvencSession, SurfaceInput, open_session
from encoders.backends.scale import SlotLayout, plan_slot
from encoders.backends.scaler import DevicePicture, Scaler
from encoders.errors import FarmError

MARK = "reelmill-probe "
"""Begins each line that is meant for the parent; libraries print what they like."""
MIN_SCALE_PSNR_DB = 60.0
MIN_ENCODE_PSNR_DB = 30.0
ENCODED_FRAMES = 8
ENCODE_SIZE = (256, 144)
"""Above NVENC's least size on every generation. Source: "NVENC application note", minimum 145x49 for H.264."""
MAX_SESSIONS = 32
"""More than any ladder needs; the count stops here."""
SPEED_S = float(os.environ.get("REELMILL_PROBE_SPEED_S", "2"))
"""How long timing takes, decoding and the whole lane together, seconds; 0 leaves it out, and `hybrid` with it."""
LADDER = ((426, 240), (640, 360), (854, 480), (1280, 720))
SCALED_FROM, SCALED_TO = (960, 540), ((320, 180), (426, 240), (640, 360))
"""What the scaling proof does; the kernel's work on larger pictures is the same."""
CHROMA_FORMAT = {"400": 0, "420": 1, "422": 2, "444": 3}
"""cudaVideoChromaFormat. Source: cuviddec.h."""


def report(kind: str, **values: object) -> None:
    """Write one finding for the parent."""
    sys.stdout.write(f"{MARK}{json.dumps({'kind': kind, **values})}\n")
    sys.stdout.flush()


def main() -> None:
    """Prove everything, device after device."""
    try:
        devices = list_devices()
    except FarmError as error:
        report("none", reason=error.detail)
        return
    report("step", name="load PyNvVideoCodec and CuPy")
    try:
        library = load_libraries()
    except FarmError as error:
        for found in devices:
            report("device", **found, decode_reason=error.detail, encode_reason=error.detail)
        return
    encoding: list[tuple[CudaDevice, int]] = []
    for found in devices:
        report("device", **found)
        proven = prove_device(library, int(found["index"]))
        encoding += [proven] if proven is not None else []
    if encoding:
        report("step", name="count encode sessions")
        for index, sessions in count_sessions(library, encoding).items():
            report("found", index=index, sessions=sessions)
    if SPEED_S > 0:
        report("step", name="time FFmpeg on one core")
        report("host", cpu_lane_fps=time_cpu_lane())


def list_devices() -> list[dict[str, Any]]:
    """Index, UUID, name, architecture and memory of each device, by the driver's own library.

    Raises:
        NoDevice: no driver, or no device that this process may see.
    """
    report("step", name="ask the driver for devices")
    with typed_errors("load the GPU driver"):
        cuda = ctypes.CDLL("libcuda.so.1")
    version, count = ctypes.c_int(), ctypes.c_int()
    with typed_errors("start the GPU driver"):
        _check(cuda.cuInit(0))
        _check(cuda.cuDriverGetVersion(ctypes.byref(version)))
        _check(cuda.cuDeviceGetCount(ctypes.byref(count)))
        if not count.value:
            _check(100)
    report("driver", cuda=f"{version.value // 1000}.{version.value % 1000 // 10}")
    return [_device(cuda, index) for index in range(count.value)]


def _check(status: int) -> None:
    if status:
        raise RuntimeError(f"cuInit : \nError code : {status}\nError Type : driver")


def _device(cuda: ctypes.CDLL, index: int) -> dict[str, Any]:
    handle, memory = ctypes.c_int(), ctypes.c_size_t()
    uuid, name = (ctypes.c_ubyte * 16)(), ctypes.create_string_buffer(128)
    major, minor = ctypes.c_int(), ctypes.c_int()
    with typed_errors(f"ask about GPU {index}"):
        _check(cuda.cuDeviceGet(ctypes.byref(handle), index))
        _check(cuda.cuDeviceGetUuid_v2(uuid, handle))
        _check(cuda.cuDeviceGetName(name, len(name), handle))
        _check(cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), handle))
        # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR. Source: cuda.h.
        _check(cuda.cuDeviceGetAttribute(ctypes.byref(major), 75, handle))
        _check(cuda.cuDeviceGetAttribute(ctypes.byref(minor), 76, handle))
    digits = bytes(uuid).hex()
    return {
        "index": index,
        "uuid": f"GPU-{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}",
        "name": name.value.decode(errors="replace"),
        "architecture": f"{major.value}.{minor.value}",
        "memory_bytes": memory.value,
    }


def load_libraries() -> Any:
    """PyNvVideoCodec, with CuPy seen to be there.

    Raises:
        NoDevice, Unsupported: not installed, no driver library for it, or an older driver than it needs.
    """
    with typed_errors("load PyNvVideoCodec and CuPy (extras gpu-cu12 and gpu-cu13)"):
        import cupy  # noqa: F401
        import PyNvVideoCodec as library
    return library


def prove_device(library: Any, index: int) -> tuple[CudaDevice, int] | None:
    """Decode, scale, encode and time on one device; what fails is reported with its reason.

    Returns:
        The open device and its B-frames when it encodes.
    """
    try:
        report("step", name=f"open GPU {index}")
        device = CudaDevice(index)
    except FarmError as error:
        report("found", index=index, decode_reason=error.detail, encode_reason=error.detail)
        return None
    prove_decoding(library, device)
    report("step", name=f"scale on GPU {index}")
    try:
        report("found", index=index, scale_psnr_db=round(prove_scaling(device), 1))
    except FarmError as error:
        report("found", index=index, scale_reason=error.detail)
        return None
    b_frames = prove_encoding(library, device)
    if SPEED_S > 0:
        time_device(library, device)
        if b_frames is not None:
            time_encoding(library, device, b_frames)
    return None if b_frames is None else (device, b_frames)


def prove_decoding(library: Any, device: CudaDevice) -> None:
    """Every kind of clip that the device claims to take, against FFmpeg's pictures."""
    proven, engines, reasons = [], 0, []
    for kind in probe_clip.CPU_ENCODERS:
        report("step", name=f"decode {kind} on GPU {device.index}")
        codec, depth, chroma = kind.split("/")
        try:
            with typed_errors(f"ask NVDEC about {kind}"):
                caps = library.GetDecoderCaps(
                    device.index,
                    getattr(library.cudaVideoCodec, LIBRARY_NAME[codec]),
                    library.cudaVideoChromaFormat(CHROMA_FORMAT[chroma]),
                    int(depth),
                )
            if not int(caps.get("num_decoder_engines", 0)):
                reasons.append(f"{kind}: no engine for it")
                continue
            engines = max(engines, int(caps["num_decoder_engines"]))
            clip = probe_clip.make_clip(kind)
            if clip is None:
                reasons.append(f"{kind}: this FFmpeg cannot make a clip of it")
            elif device_digests(library, device, clip) == clip.digests:
                proven.append(kind)
            else:
                reasons.append(f"{kind}: other pictures than FFmpeg's")
        except FarmError as error:
            reasons.append(f"{kind}: {error.detail}")
    report("found", index=device.index, decodes=proven, decode_engines=engines, decode_reason="; ".join(reasons))


def device_digests(library: Any, device: CudaDevice, clip: probe_clip.Clip) -> list[str]:
    """Digests of the pictures that the device decodes."""
    decoder = NvDecoder(library, device, clip.codec)
    digests = []
    for packet in [*clip.packets, None]:
        for _, picture in decoder.decode(packet) if packet is not None else decoder.flush():
            luma, chroma = fetch(device, picture)
            digests.append(probe_clip.surface_digest(luma, chroma))
    return digests


def fetch(device: CudaDevice, picture: DevicePicture) -> tuple[Any, Any]:
    """A picture's planes on the host."""
    luma = device.pinned(picture.luma_pitch * picture.height)
    chroma = device.pinned(picture.chroma_pitch * picture.height // 2)
    device.copy_to_host(luma.array, picture.luma)
    device.copy_to_host(chroma.array, picture.chroma)
    device.finish()
    return luma.array.copy(), chroma.array.copy()


def prove_scaling(device: CudaDevice) -> float:
    """Scale one picture down a ladder and compare with swscale; returns the worst plane's PSNR.

    Raises:
        DeviceFault: below 60 dB.
    """
    layout = plan_slot(SCALED_TO)
    frame = probe_clip.moving_picture(5, *SCALED_FROM)
    luma, chroma = (device.upload(np.ascontiguousarray(plane)) for plane in probe_clip.native_planes(frame))
    slot = device.allocate(layout.size_bytes)
    picture = DevicePicture(
        width=frame.width,
        height=frame.height,
        luma=luma.address,
        chroma=chroma.address,
        luma_pitch=frame.width,
        chroma_pitch=frame.width,
    )
    Scaler(device, layout).scale(picture, slot)
    host = device.pinned(layout.size_bytes)
    device.copy_to_host(host.array, slot.address)
    device.finish()
    worst = 100.0
    for surface in reversed(layout.surfaces):
        y = host.array[surface.offset : surface.chroma_offset].reshape(surface.height, surface.width)
        uv = host.array[surface.chroma_offset : surface.offset + surface.size_bytes].reshape(-1, surface.width)
        frame = probe_clip.swscale(frame, surface.width, surface.height)
        for ours, theirs in zip((y, uv[:, 0::2], uv[:, 1::2]), probe_clip.planes_of(frame), strict=True):
            worst = min(worst, probe_clip.psnr_db(ours, theirs))
    if worst < MIN_SCALE_PSNR_DB:
        raise to_gpu_error(RuntimeError(f"scaled pictures are {worst:.1f} dB from swscale's"), "scale on the GPU")
    return worst


def prove_encoding(library: Any, device: CudaDevice) -> int | None:
    """H.264: eight frames in, eight pictures out that FFmpeg decodes to what went in; and again by the same session.

    Returns:
        How many B-frames it has; None when it does not encode.
    """
    report("step", name=f"encode on GPU {device.index}")
    try:
        with typed_errors("ask NVENC for its capabilities"):
            caps = library.GetEncoderCaps(device.index, NvCodec.H264.value)
        b_frames = int(caps.get("num_max_bframes", 0))
        layout = plan_slot([ENCODE_SIZE])
        slots = [upload_picture(device, layout, number) for number in range(ENCODED_FRAMES)]
        session = open_session(library, device, encoder_spec(b_frames), time.sleep)
        first = encode(session, layout, slots)
        check_encoded(session.parameter_sets, first)
        again = encode(session, layout, slots)
    except FarmError as error:
        report("found", index=device.index, encode_reason=error.detail)
        return None
    reuse_exact = [data for _, data in first] == [data for _, data in again]
    report(
        "found",
        index=device.index,
        encodes=[NvCodec.H264.value],
        encode_engines=int(caps.get("num_encoder_engines", 0)),
        max_b_frames=b_frames,
        reuse_exact=reuse_exact,
    )
    return b_frames


def encoder_spec(b_frames: int, size: tuple[int, int] = ENCODE_SIZE) -> EncoderSpec:
    """Settings like a ladder's."""
    return EncoderSpec(
        codec=NvCodec.H264,
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


def check_encoded(parameter_sets: bytes, pictures: list[tuple[int, bytes]]) -> None:
    """What came out decodes to what went in.

    Raises:
        DeviceFault: other pictures, or not eight.
    """
    packets = []
    for at, (number, data) in enumerate(pictures):
        packet = Packet(parameter_sets + data if at == 0 else data)
        packet.pts = number
        packets.append(packet)
    decoded = list(probe_clip.decode("h264", packets))
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


def time_device(library: Any, device: CudaDevice) -> None:
    """Decoding 1080p H.264 by one session; then decoding, scaling to four renditions and copying to the host."""
    report("step", name=f"time GPU {device.index}")
    clip = probe_clip.make_clip("h264/8/420", 1920, 1080)
    if clip is None:
        return
    layout = plan_slot(LADDER)
    scaler = Scaler(device, layout)
    slot, host = device.allocate(layout.size_bytes), device.pinned(layout.size_bytes)

    def lane(picture: DevicePicture) -> None:
        scaler.scale(picture, slot)
        device.copy_to_host(host.array, slot.address)

    try:
        report(
            "found",
            index=device.index,
            decode_fps=_decode_rate(library, device, clip, lambda picture: None),
            lane_fps=_decode_rate(library, device, clip, lane),
        )
    except FarmError as error:
        report("note", text=f"timing on GPU {device.index}: {error.detail}")


def time_encoding(library: Any, device: CudaDevice, b_frames: int) -> None:
    """Encoding 1080p at the fast preset by one session."""
    report("step", name=f"time encoding on GPU {device.index}")
    layout = plan_slot([(1920, 1080)])
    try:
        slots = [upload_picture(device, layout, number) for number in range(4)]
        session = open_session(library, device, encoder_spec(b_frames, (1920, 1080)), time.sleep)
        session.begin("probe", 0)
        count, begin = 0, time.perf_counter()
        while time.perf_counter() - begin < SPEED_S / 2:
            session.push(SurfaceInput(slots[count % len(slots)], layout.surfaces[0]), idr=count % 50 == 0)
            count += 1
        session.finish()
        report("found", index=device.index, encode_fps=round(count / (time.perf_counter() - begin), 1))
    except FarmError as error:
        report("note", text=f"timing the encoder of GPU {device.index}: {error.detail}")


def _decode_rate(
    library: Any, device: CudaDevice, clip: probe_clip.Clip, each: Callable[[DevicePicture], None]
) -> float:
    """Pictures a second, decoded in a loop by one session for half of SPEED_S."""
    decoder = NvDecoder(library, device, clip.codec)
    count, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < SPEED_S / 2:
        for packet in clip.packets:
            for _, picture in decoder.decode(packet):
                each(picture)
                count += 1
    device.finish()
    return round(count / (time.perf_counter() - begin), 1)


def time_cpu_lane() -> float:
    """Pictures a second that FFmpeg decodes and scales to the same four renditions on one core."""
    clip = probe_clip.make_clip("h264/8/420", 1920, 1080)
    if clip is None:
        return 0.0
    scalers = [VideoReformatter() for _ in LADDER]
    count, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < SPEED_S / 2:
        for frame in probe_clip.decode(clip.codec, clip.packets):
            for scaler, (width, height) in zip(scalers, reversed(LADDER), strict=True):
                frame = scaler.reformat(frame, width, height, format="yuv420p", interpolation=Interpolation.BICUBIC)
            count += 1
    return round(count / (time.perf_counter() - begin), 1)


if __name__ == "__main__":
    main()
