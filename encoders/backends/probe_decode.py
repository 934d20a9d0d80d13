"""The probe's second part: pictures that a device decodes and scales, against FFmpeg's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from av.video.frame import VideoFrame

from encoders.backends import probe_clip
from encoders.backends.cuda import CudaDevice
from encoders.backends.nvdec import LIBRARY_NAME, NvDecoder
from encoders.backends.nverrors import to_gpu_error, typed_errors
from encoders.backends.probe_report import report
from encoders.backends.scale import plan_slot
from encoders.backends.scaler import DevicePicture, Scaler
from encoders.errors import FarmError

MIN_SCALE_PSNR_DB = 60.0
SCALED_FROM, SCALED_TO = (960, 540), ((320, 180), (426, 240), (640, 360))
"""What the scaling proof does; the kernel's work on larger pictures is the same."""
CHROMA_FORMAT = {"400": 0, "420": 1, "422": 2, "444": 3}
"""cudaVideoChromaFormat. Source: cuviddec.h."""


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
    worst, _ = compare_scaling(device, probe_clip.moving_picture(5, *SCALED_FROM), SCALED_TO)
    if worst < MIN_SCALE_PSNR_DB:
        raise to_gpu_error(RuntimeError(f"scaled pictures are {worst:.1f} dB from swscale's"), "scale on the GPU")
    return worst


def compare_scaling(device: CudaDevice, frame: VideoFrame, sizes: Sequence[tuple[int, int]]) -> tuple[float, int]:
    """A picture scaled on the device against swscale: the worst plane's PSNR in dB, and the greatest difference.

    Args:
        frame: of 8 bits, or of 10, which goes as P010.
        sizes: from small to large.
    """
    layout = plan_slot(sizes)
    planes = [np.ascontiguousarray(plane) for plane in probe_clip.native_planes(frame)]
    luma, chroma = (device.upload(plane) for plane in planes)
    slot = device.allocate(layout.size_bytes)
    picture = DevicePicture(
        width=frame.width,
        height=frame.height,
        luma=luma.address,
        chroma=chroma.address,
        luma_pitch=planes[0].shape[1],
        chroma_pitch=planes[1].shape[1],
        deep=planes[0].shape[1] > frame.width,
    )
    Scaler(device, layout).scale(picture, slot)
    host = device.pinned(layout.size_bytes)
    device.copy_to_host(host.array, slot.address)
    device.finish()
    worst, greatest = 100.0, 0
    for surface in reversed(layout.surfaces):
        y = host.array[surface.offset : surface.chroma_offset].reshape(surface.height, surface.width)
        uv = host.array[surface.chroma_offset : surface.offset + surface.size_bytes].reshape(-1, surface.width)
        frame = probe_clip.swscale(frame, surface.width, surface.height)
        for ours, theirs in zip((y, uv[:, 0::2], uv[:, 1::2]), probe_clip.planes_of(frame), strict=True):
            worst = min(worst, probe_clip.psnr_db(ours, theirs))
            greatest = max(greatest, int(np.abs(ours.astype(np.int16) - theirs).max()))
    return worst, greatest
