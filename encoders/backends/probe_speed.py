"""The probe's last part: how fast a device decodes, scales and encodes, and what one core does instead."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from av.video.reformatter import Interpolation, VideoReformatter

from encoders.backends import probe_clip
from encoders.backends.cuda import CudaDevice
from encoders.backends.nvdec import NvDecoder
from encoders.backends.nvsession import SurfaceInput, open_session
from encoders.backends.probe_encode import encoder_spec, upload_picture
from encoders.backends.probe_report import report
from encoders.backends.scale import plan_slot
from encoders.backends.scaler import DevicePicture, Scaler
from encoders.errors import FarmError

SPEED_S = float(os.environ.get("REELMILL_PROBE_SPEED_S", "2"))
"""How long timing takes, decoding and the whole lane together, seconds; 0 leaves it out, and `hybrid` with it."""
LADDER = ((426, 240), (640, 360), (854, 480), (1280, 720))


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
