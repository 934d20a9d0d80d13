"""One step of `python -m benchmarks gpu`, in a process of its own: a GPU library may end the process that it fails in.

    python -m benchmarks.gpu_steps STEP

prints one JSON object as its last line. Clips are made by FFmpeg's encoders, so nothing but this checkout is needed.
"""

from __future__ import annotations

import ctypes
import json
import statistics
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from fractions import Fraction
from itertools import pairwise
from typing import Any

import av
import av.error
import numpy as np

from cluster.devices import Nvml, NvmlUnavailable
from encoders.backends import probe_clip, probe_decode, probe_encode
from encoders.backends.cuda import CudaDevice
from encoders.backends.nvdec import NvDecoder
from encoders.backends.nvlane import load_library
from encoders.backends.nvparams import EncoderSpec, NvTuning, Speed
from encoders.backends.nvsession import SurfaceInput, open_session
from encoders.backends.scale import plan_slot
from encoders.backends.scaler import DevicePicture, Scaler
from encoders.errors import FarmError

Result = dict[str, Any]
SECONDS = 2.0
"""How long one figure is measured."""
SOURCE = (1920, 1080)
COMPARED = 60
"""Pictures of each kind that are compared."""
RUNGS = ((426, 240), (640, 360), (854, 480), (1280, 720))
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
        clip = probe_clip.make_clip(kind, 640, 360, COMPARED)
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
    """Four renditions of 1080p: worst PSNR against swscale, milliseconds a picture, bytes that must move at least."""
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
    return {
        "psnr_db": round(probe_decode.prove_scaling(device), 1),
        "ms_a_picture": round(each_s * 1000, 4),
        "bytes_moved": int(moved),
        "device_copy_bytes_per_s": round(copied_bps),
        "floor_ms": round(moved / copied_bps * 1000, 4),
    }


def _copy_rate(device: CudaDevice) -> float:
    """Bytes read and written a second by copies within the device: the memory's practical bandwidth."""
    size = 256 << 20
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
    for sessions in (1, 2, 4, 7, 8, 14):
        counts = [0] * sessions
        stop = threading.Event()
        threads = [
            threading.Thread(target=_decode_until, args=(library, clip, stop, counts, number))
            for number in range(sessions)
        ]
        watch = _Watch()
        for thread in threads:
            thread.start()
        time.sleep(0.5)
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


SWEEP = (
    *(NvTuning(preset=f"P{number}") for number in range(1, 8)),
    *(NvTuning(preset=preset, multipass=passes) for preset in ("P4", "P5", "P7") for passes in ("qres", "fullres")),
    *(NvTuning(preset=preset, multipass="qres", spatial_aq=8) for preset in ("P3", "P5", "P7")),
    NvTuning(preset="P7", multipass="fullres", spatial_aq=8),
    NvTuning(preset="P5", multipass="qres", spatial_aq=8, lookahead=16),
)
"""What the classes of nvparams could be instead; the last shows what leaving lookahead out costs."""
SWEPT_FRAMES = 100


def presets() -> Result:
    """Speed, rate and PSNR of each tuning at the same constant quality: what the three classes would be chosen by.

    Rates differ at one quality number: a class should be a tuning on the hull of (rate, PSNR) among those of its speed.
    """
    library, device = load_library(), CudaDevice()
    layout = plan_slot([SOURCE])
    slots = [probe_encode.upload_picture(device, layout, number) for number in range(8)]
    wanted = [probe_clip.native_planes(probe_clip.moving_picture(number, *SOURCE))[0] for number in range(8)]
    spec = probe_encode.encoder_spec(int(library.GetEncoderCaps(0, "h264").get("num_max_bframes", 0)), SOURCE)
    found: Result = {}
    for tuning in SWEEP:
        name = f"{tuning.preset} {tuning.multipass or 'one pass'} aq {tuning.spatial_aq} lookahead {tuning.lookahead}"
        try:
            tuned = replace(spec, tuning=tuning, maxrate_bps=100_000_000, bufsize_bits=200_000_000)
            found[name] = _swept(library, device, tuned, slots, layout.surfaces[0], wanted)
        except FarmError as error:
            found[name] = {"error": error.code, "reason": error.detail}
    return found


def _swept(library: Any, device: CudaDevice, spec: EncoderSpec, slots: list[Any], surface: Any, wanted: Any) -> Result:
    session = open_session(library, device, spec, time.sleep)
    session.begin("sweep", 0)
    inputs = [SurfaceInput(slot, surface) for slot in slots]
    pictures, begin = [], time.perf_counter()
    for number in range(SWEPT_FRAMES):
        # There and back again, so that what moves does not jump.
        pictures += session.push(inputs[min(number % 14, 14 - number % 14)], idr=number % 50 == 0)
    pictures += session.finish()
    wall_s = time.perf_counter() - begin
    fed = []
    for picture in pictures:
        packet = av.Packet(session.parameter_sets + picture.data if picture.idr else picture.data)
        packet.pts = picture.pts
        fed.append(packet)
    shown = enumerate(probe_clip.decode("h264", fed))
    psnr = [
        probe_clip.psnr_db(probe_clip.native_planes(frame)[0], wanted[min(number % 14, 14 - number % 14)])
        for number, frame in shown
        if number % 7 == 0
    ]
    bits = sum(len(picture.data) for picture in pictures) * 8
    return {
        "fps": round(SWEPT_FRAMES / wall_s, 1),
        "kbps": round(bits / SWEPT_FRAMES * probe_clip.FPS / 1000),
        "psnr_db": round(statistics.mean(psnr), 2),
    }


def leaks() -> Result:
    """Free device memory over 30 decoders, and over 30 encoders where there are any."""
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
    for _ in range(30):
        use()
        free.append(device.memory()[0])
    each = statistics.median(before - after for before, after in pairwise(free))
    return {"lost_bytes_in_30": free[0] - free[-1], "lost_bytes_each": each}


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


STEPS: dict[str, Callable[[], Result]] = {
    "libraries": libraries,
    "nvml": nvml,
    "refusals": refusals,
    "equality": equality,
    "scaling": scaling,
    "decoding": decoding,
    "encoding": encoding,
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
