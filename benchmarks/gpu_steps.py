"""One step of `python -m benchmarks gpu`, in a process of its own: a GPU library may end the process that it fails in.

    python -m benchmarks.gpu_steps STEP

prints one JSON object as its last line. Clips are made by FFmpeg's encoders, so nothing but this checkout is needed.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np

from benchmarks import gpu_sizes
from benchmarks.gpu_ladder import profile_of, write_source
from benchmarks.gpu_presets import presets
from benchmarks.gpu_sizes import RUNGS, SECONDS, SOURCE
from cluster.devices import Nvml, NvmlUnavailable
from encoders.backends import probe_clip, probe_decode, probe_encode
from encoders.backends.base import BackendName
from encoders.backends.cuda import CudaDevice
from encoders.backends.nvdec import LIBRARY_NAME, NvDecoder
from encoders.backends.nverrors import typed_errors
from encoders.backends.nvlane import load_library
from encoders.backends.nvparams import Speed
from encoders.backends.nvsession import SurfaceInput, open_session
from encoders.backends.probe import proven
from encoders.backends.proof import nvenc_capability
from encoders.backends.registry import open_backend
from encoders.backends.scale import plan_slot
from encoders.backends.scaler import DevicePicture, Scaler
from encoders.confine import Confiner, Limits
from encoders.errors import FarmError
from encoders.held import HeldChild
from encoders.plan import plan_asset
from encoders.probe import probe_source

Result = dict[str, Any]
LANE_MODULES = ("encoders.held", "encoders.backends.registry")
"""All that a child on a GPU loads: a machine that is only measured has no packages for sound and playlists."""
LIBRARIES = ("libcuda.so.1", "libnvcuvid.so.1", "libnvidia-encode.so.1", "libnvidia-ml.so.1")


def libraries() -> Result:
    """Which of the driver's libraries are there, and which NVENC interface the driver speaks."""
    found: Result = {}
    for name in LIBRARIES:
        try:
            library = ctypes.CDLL(name)
        except OSError as error:
            found[name] = str(error)
            continue
        found[name] = "loads"
        if name == "libnvidia-encode.so.1":
            version = ctypes.c_uint32()
            status = library.NvEncodeAPIGetMaxSupportedVersion(ctypes.byref(version))
            found["nvenc_api"] = f"{version.value >> 4}.{version.value & 15}" if status == 0 else f"error {status}"
    return found


def nvml() -> Result:
    """What NVML says of each device, with MIG slices."""
    try:
        with Nvml() as library:
            return {"driver": library.driver_version, "devices": [asdict(each) for each in library.read()]}
    except NvmlUnavailable as error:
        return {"reason": error.detail}


def refusals() -> Result:
    """The exact words of encoders on this host; the fixtures of nverrors come from here."""
    found: Result = {}
    library = load_library()
    tries: dict[str, Callable[[], Any]] = {
        "GetEncoderCaps": lambda: dict(library.GetEncoderCaps(0, "h264")),
        "CreateEncoder": lambda: str(
            type(library.CreateEncoder(256, 144, "NV12", False, gpu_id=0, codec="h264", preset="P3"))
        ),
        "PyAV h264_nvenc": _open_h264_nvenc,
    }
    for name, attempt in tries.items():
        try:
            found[name] = attempt()
        except Exception as error:  # noqa: BLE001 - whatever is raised is the finding
            found[name] = {"class": f"{type(error).__module__}.{type(error).__name__}", "text": str(error)}
    return found


def caps() -> Result:
    """What the driver says of every kind that is proven, word by word; and of NVENC."""
    library = load_library()
    found: Result = {}
    for kind in probe_clip.CPU_ENCODERS:
        codec, depth, chroma = kind.split("/")
        which = getattr(library.cudaVideoCodec, LIBRARY_NAME[codec])
        form = library.cudaVideoChromaFormat(probe_decode.CHROMA_FORMAT[chroma])
        with contextlib.suppress(FarmError), typed_errors(f"ask NVDEC about {kind}"):
            found[kind] = dict(library.GetDecoderCaps(0, which, form, int(depth)))
    return found


def _open_h264_nvenc() -> str:
    encoder = av.CodecContext.create("h264_nvenc", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = 256, 144, "nv12"
    encoder.time_base = Fraction(1, 25)
    encoder.encode(probe_clip.moving_picture(0, 256, 144))
    return "opened"


def equality() -> Result:
    """Pictures of each kind against FFmpeg's: identical, presentation times equal; planes and buffers as found."""
    library, device = load_library(), CudaDevice()
    found: Result = {}
    for kind in probe_clip.CPU_ENCODERS:
        clip = probe_clip.make_clip(kind, *gpu_sizes.COMPARED_SIZE, gpu_sizes.COMPARED)
        if clip is None:
            found[kind] = {"reason": "no CPU encoder"}
            continue
        try:
            found[kind] = _compare(library, device, clip)
        except FarmError as error:
            found[kind] = {"reason": error.detail}
    return found


def _compare(library: Any, device: CudaDevice, clip: probe_clip.Clip) -> Result:
    decoder = NvDecoder(library, device, clip.codec)
    digests, times, buffers, shape = [], [], set(), ""
    for packet in [*clip.packets, None]:
        for pts, picture in decoder.decode(packet) if packet is not None else decoder.flush():
            digests.append(probe_clip.surface_digest(*probe_decode.fetch(device, picture)))
            times.append(pts)
            buffers.add(picture.luma)
            shape = (
                f"{picture.width}x{picture.height}, luma pitch {picture.luma_pitch}, chroma pitch "
                f"{picture.chroma_pitch}, chroma {picture.chroma - picture.luma} bytes after luma"
            )
    same = sum(ours == theirs for ours, theirs in zip(digests, clip.digests, strict=False))
    return {
        "pictures": len(digests),
        "identical": same,
        "of": len(clip.digests),
        "times_in_order": times == sorted(packet.pts or 0 for packet in clip.packets),
        "buffers": len(buffers),
        "surface": shape,
    }


def scaling() -> Result:
    """Four renditions of 1080p: milliseconds a picture, and bytes that must move at least.

    These four and one of the source's own size are compared with swscale's, from 8 and from 10 bits.
    """
    device = CudaDevice()
    layout = plan_slot(RUNGS)
    planes = probe_clip.native_planes(probe_clip.moving_picture(5, *SOURCE))
    luma, chroma = (device.upload(np.ascontiguousarray(plane)) for plane in planes)
    picture = DevicePicture(
        width=SOURCE[0],
        height=SOURCE[1],
        luma=luma.address,
        chroma=chroma.address,
        luma_pitch=SOURCE[0],
        chroma_pitch=SOURCE[0],
    )
    slot, scaler = device.allocate(layout.size_bytes), Scaler(device, layout)
    scaler.scale(picture, slot)
    device.finish()
    count, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < SECONDS:
        for _ in range(50):
            scaler.scale(picture, slot)
        device.finish()
        count += 50
    each_s = (time.perf_counter() - begin) / count
    # Each size is read once and written once but the smallest, which is only written.
    moved = SOURCE[0] * SOURCE[1] * 1.5 + 2 * sum(w * h * 1.5 for w, h in RUNGS[1:]) + RUNGS[0][0] * RUNGS[0][1] * 1.5
    copied_bps = _copy_rate(device)
    picture_8 = probe_clip.moving_picture(5, *SOURCE)
    compared = {
        f"{bits} bits": probe_decode.compare_scaling(device, picture_8.reformat(format=pixels), [*RUNGS, SOURCE])
        for bits, pixels in ((8, "yuv420p"), (10, "yuv420p10le"))
    }
    return {
        "psnr_db": {name: round(psnr, 1) for name, (psnr, _) in compared.items()},
        "greatest_difference": {name: greatest for name, (_, greatest) in compared.items()},
        "ms_a_picture": round(each_s * 1000, 4),
        "bytes_moved": int(moved),
        "device_copy_bytes_per_s": round(copied_bps),
        "floor_ms": round(moved / copied_bps * 1000, 4),
    }


def _copy_rate(device: CudaDevice) -> float:
    """Bytes read and written a second by copies within the device: the memory's practical bandwidth."""
    size = gpu_sizes.COPIED_BYTES
    source, target = device.allocate(size), device.allocate(size)
    device.copy_within(target.address, source.address, size)
    device.finish()
    begin = time.perf_counter()
    for _ in range(20):
        device.copy_within(target.address, source.address, size)
    device.finish()
    return 20 * 2 * size / (time.perf_counter() - begin)


def decoding() -> Result:
    """Frames a second of 1080p by 1 to 14 sessions, each in a thread of its own; engine use and clock meanwhile."""
    library = load_library()
    clip = probe_clip.make_clip("h264/8/420", *SOURCE, 60)
    assert clip is not None
    found: Result = {"engines": _engines(library)}
    for sessions in gpu_sizes.SESSIONS:
        counts = [0] * sessions
        stop = threading.Event()
        threads = [
            threading.Thread(target=_decode_until, args=(library, clip, stop, counts, number))
            for number in range(sessions)
        ]
        watch = _Watch()
        for thread in threads:
            thread.start()
        time.sleep(min(0.5, SECONDS))
        before, begin = sum(counts), time.perf_counter()
        time.sleep(SECONDS)
        watched = watch.now()
        fps = (sum(counts) - before) / (time.perf_counter() - begin)
        stop.set()
        for thread in threads:
            thread.join()
        found[f"{sessions} sessions"] = {"fps": round(fps, 1), **watched}
    return found


def _engines(library: Any) -> int:
    caps = library.GetDecoderCaps(0, library.cudaVideoCodec.H264, library.cudaVideoChromaFormat(1), 8)
    return int(caps.get("num_decoder_engines", 0))


def _decode_until(library: Any, clip: probe_clip.Clip, stop: threading.Event, counts: list[int], number: int) -> None:
    decoder = NvDecoder(library, CudaDevice(), clip.codec)
    while not stop.is_set():
        for packet in clip.packets:
            counts[number] += sum(1 for _ in decoder.decode(packet))


class _Watch:
    """NVML beside a measurement; empty where it does not answer."""

    def now(self) -> Result:
        """Engine use and video clock of the first device."""
        found = nvml().get("devices") or [{}]
        return {name: found[0].get(name) for name in ("decoder_use", "encoder_use", "video_clock_hz")}


def encoding() -> Result:
    """Frames a second of 1080p by one session of each speed, and by several of the fast one."""
    library, device = load_library(), CudaDevice()
    layout = plan_slot([SOURCE])
    slots = [probe_encode.upload_picture(device, layout, number) for number in range(8)]
    b_frames = int(library.GetEncoderCaps(0, "h264").get("num_max_bframes", 0))
    spec = probe_encode.encoder_spec(b_frames, SOURCE)
    found: Result = {}
    for speed in Speed:
        found[speed] = _encode_rate(library, device, [replace(spec, speed=speed)], slots, layout.surfaces[0])
    for sessions in (2, 4, 8):
        try:
            found[f"fast x {sessions}"] = _encode_rate(library, device, [spec] * sessions, slots, layout.surfaces[0])
        except FarmError as error:
            found[f"fast x {sessions}"] = error.detail
    return found


def _encode_rate(library: Any, device: CudaDevice, specs: list[Any], slots: list[Any], surface: Any) -> float:
    sessions = [open_session(library, device, spec, time.sleep) for spec in specs]
    for session in sessions:
        session.begin("benchmark", 0)
    inputs = [SurfaceInput(slot, surface) for slot in slots]
    count, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < SECONDS:
        for session in sessions:
            session.push(inputs[count % len(inputs)], idr=count % 50 == 0)
        count += 1
    for session in sessions:
        session.finish()
    return round(count * len(sessions) / (time.perf_counter() - begin), 1)


def leaks() -> Result:
    """Free device memory over many decoders, and over many encoders where there are any."""
    library, device = load_library(), CudaDevice()
    clip = probe_clip.make_clip("h264/8/420", 640, 360, 12)
    assert clip is not None
    found: Result = {"decoders": _lost(device, lambda: probe_decode.device_digests(library, device, clip))}
    try:
        open_session(library, device, probe_encode.encoder_spec(0), time.sleep)
    except FarmError as error:
        found["encoders"] = error.detail
    else:
        found["encoders"] = _lost(
            device, lambda: open_session(library, device, probe_encode.encoder_spec(0), time.sleep)
        )
    return found


def _lost(device: CudaDevice, use: Callable[[], Any]) -> Result:
    use()
    free = [device.memory()[0]]
    for _ in range(gpu_sizes.CYCLES):
        use()
        free.append(device.memory()[0])
    each = statistics.median(before - after for before, after in pairwise(free))
    return {"lost_bytes": free[0] - free[-1], "lost_bytes_each": each}


def damage() -> Result:
    """A damaged stream: what comes out, or what is raised, and whether the device works afterwards."""
    library, device = load_library(), CudaDevice()
    clip = probe_clip.make_clip("h264/8/420", 640, 360, 24)
    assert clip is not None
    found: Result = {}
    decoder = NvDecoder(library, device, clip.codec)
    count = 0
    try:
        for number, packet in enumerate(clip.packets):
            data = bytearray(bytes(packet))
            if 6 <= number <= 9:
                data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
            spoilt = av.Packet(bytes(data))
            spoilt.pts, spoilt.dts = packet.pts, packet.dts
            count += sum(1 for _ in decoder.decode(spoilt))
        count += sum(1 for _ in decoder.flush())
        found["pictures"] = f"{count} of {len(clip.packets)}"
    except FarmError as error:
        found["raised"] = f"{error.code}: {error.detail}"
    found["works_afterwards"] = probe_decode.device_digests(library, device, clip) == clip.digests
    return found


def confined() -> Result:
    """Segments in a child as the farm confines it: one that is kept for both against fresh ones, in seconds and bytes.

    It is the only step that shows whether a GPU works behind Landlock, seccomp and the memory limit.
    """
    backend = BackendName.NVENC if nvenc_capability(proven()).available else BackendName.HYBRID
    with tempfile.TemporaryDirectory() as name, Confiner(LANE_MODULES) as confiner:
        folder = Path(name)
        write_source(folder / "source.mp4", gpu_sizes.CONFINED_FRAMES)
        info = probe_source(folder / "source.mp4", "0" * 64)
        profile = profile_of("veryfast", segment_s=4.0)
        plan = plan_asset(info, profile, 1, open_backend(backend).encoder_id("veryfast"))
        found: Result = {"backend": backend}
        for kind, segments in (("kept", 16), ("fresh", 1)):
            child = HeldChild(confiner, folder / kind, segments=segments)
            for segment in plan.segments[:2]:
                out = folder / f"{kind} {segment.index}"
                out.mkdir()
                begin = time.perf_counter()
                child.encode(
                    folder / "source.mp4", info, plan, segment, out, backend, 2, limits=Limits(), stop=threading.Event()
                )
                found[f"{kind} child, segment {segment.index}"] = round(time.perf_counter() - begin, 3)
            child.close()
        found["same_bytes"] = _files(folder, "kept") == _files(folder, "fresh")
    return found


def _files(folder: Path, kind: str) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)).removeprefix(kind): path.read_bytes() for path in folder.glob(f"{kind} */*/*")
    }


STEPS: dict[str, Callable[[], Result]] = {
    "libraries": libraries,
    "nvml": nvml,
    "caps": caps,
    "refusals": refusals,
    "equality": equality,
    "scaling": scaling,
    "decoding": decoding,
    "encoding": encoding,
    "confined": confined,
    "presets": presets,
    "leaks": leaks,
    "damage": damage,
}
"""Steps in the order in which they are run; what a step needs that is missing makes it end with an error."""


def main() -> None:
    """Run the step that is named; a typed error is a result."""
    try:
        result = STEPS[sys.argv[1]]()
    except FarmError as error:
        result = {"error": error.code, "reason": error.detail}
    sys.stdout.write(f"\n{json.dumps(result, default=str)}\n")


if __name__ == "__main__":
    main()
