"""What NVENC's tunings do: speed, rate and PSNR of each, and which of them the three classes should be.

Tunings differ in rate and quality at the same number, so each is run at two qualities, and rates are compared where
all show the same PSNR, on the line between the two.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import av

from benchmarks import gpu_sizes
from encoders.backends import probe_clip, probe_encode
from encoders.backends.cuda import CudaDevice
from encoders.backends.nvlane import load_library
from encoders.backends.nvparams import EncoderSpec, NvTuning, Speed, tuning_of_speed
from encoders.backends.nvsession import SurfaceInput, open_session
from encoders.backends.scale import plan_slot
from encoders.errors import FarmError

Result = dict[str, Any]
SWEEP = (
    *(NvTuning(preset=f"P{number}") for number in range(1, 8)),
    *(NvTuning(preset=preset, multipass=passes) for preset in ("P4", "P5", "P7") for passes in ("qres", "fullres")),
    NvTuning(preset="P5", multipass="qres", spatial_aq=8),
    NvTuning(preset="P5", multipass="qres", lookahead=16),
)
"""What the classes of nvparams could be instead; the last two show what adaptive quantisation and leaving lookahead
out cost in PSNR."""
QUALITIES = (24, 32)
REFERENCE = NvTuning(preset="P4")
SPEED_FLOOR = {Speed.FAST: 0.5, Speed.BALANCED: 0.25, Speed.BEST: 0.0}
"""Share of P1's speed that a class keeps. By NVIDIA's figures for HEVC on Turing, P3, P5 and P7 keep 60, 36 and 19 %.
Source: NVENC Application Note 13.0, table of encoding performance."""


def name_of(tuning: NvTuning) -> str:
    """As it stands in the results."""
    return f"{tuning.preset} {tuning.multipass or 'one pass'} aq {tuning.spatial_aq} lookahead {tuning.lookahead}"


def presets() -> Result:
    """Speed of each tuning, rate and PSNR at two qualities, and the rate that it needs for the reference's quality."""
    library, device = load_library(), CudaDevice()
    layout = plan_slot([gpu_sizes.SOURCE])
    slots = [probe_encode.upload_picture(device, layout, number) for number in range(8)]
    wanted = [probe_clip.native_planes(probe_clip.moving_picture(number, *gpu_sizes.SOURCE))[0] for number in range(8)]
    b_frames = int(library.GetEncoderCaps(0, "h264").get("num_max_bframes", 0))
    spec = probe_encode.encoder_spec(b_frames, gpu_sizes.SOURCE)
    found: Result = {}
    for tuning in SWEEP:
        tuned = replace(spec, tuning=tuning, maxrate_bps=100_000_000, bufsize_bits=200_000_000)
        try:
            points = [
                _swept(library, device, replace(tuned, cq=quality), slots, layout.surfaces[0], wanted)
                for quality in QUALITIES
            ]
        except FarmError as error:
            found[name_of(tuning)] = {"error": error.code, "reason": error.detail}
        else:
            fps = round(statistics.mean(point.pop("fps") for point in points), 1)
            found[name_of(tuning)] = {"fps": fps, "points": points}
    reference = found[name_of(REFERENCE)].get("points")
    for figures in found.values():
        if reference and "points" in figures:
            figures["rate_percent"] = round(rate_at_equal_quality(figures["points"], reference), 2)
    return found


def _swept(
    library: Any, device: CudaDevice, spec: EncoderSpec, slots: list[Any], surface: Any, wanted: list[Any]
) -> Result:
    session = open_session(library, device, spec, time.sleep)
    session.begin("sweep", 0)
    inputs = [SurfaceInput(slot, surface) for slot in slots]
    pictures, begin = [], time.perf_counter()
    for number in range(gpu_sizes.SWEPT_FRAMES):
        # There and back again, so that what moves does not jump.
        pictures += session.push(inputs[min(number % 14, 14 - number % 14)], idr=number % 50 == 0)
    pictures += session.finish()
    wall_s = time.perf_counter() - begin
    fed = []
    for picture in pictures:
        packet = av.Packet(session.parameter_sets + picture.data if picture.idr else picture.data)
        packet.pts = picture.pts
        fed.append(packet)
    psnr = [
        probe_clip.psnr_db(probe_clip.native_planes(frame)[0], wanted[min(number % 14, 14 - number % 14)])
        for number, frame in enumerate(probe_clip.decode("h264", fed))
        if number % 7 == 0
    ]
    bits = sum(len(picture.data) for picture in pictures) * 8
    return {
        "fps": gpu_sizes.SWEPT_FRAMES / wall_s,
        "kbps": round(bits / gpu_sizes.SWEPT_FRAMES * probe_clip.FPS / 1000, 1),
        "psnr_db": round(statistics.mean(psnr), 3),
    }


def rate_at_equal_quality(points: list[Mapping[str, float]], reference: list[Mapping[str, float]]) -> float:
    """By how many per cent a tuning's rate differs from the reference's at the quality in the reference's middle.

    Source: Bjontegaard, VCEG-M33: rates are compared by their logarithm over PSNR; with two points it is a line.
    """
    middle_db = statistics.mean(point["psnr_db"] for point in reference)
    return 100 * (math.exp(_log_rate(points, middle_db) - _log_rate(reference, middle_db)) - 1)


def _log_rate(points: list[Mapping[str, float]], psnr_db: float) -> float:
    (low_db, low), (high_db, high) = sorted((point["psnr_db"], math.log(point["kbps"])) for point in points)
    return low if high_db == low_db else low + (high - low) * (psnr_db - low_db) / (high_db - low_db)


def choose_classes(found: Mapping[str, Any]) -> dict[str, str]:
    """What each class of nvparams should be by these figures, said beside what it is; empty without figures.

    A class is the tuning that needs least rate among those that keep its share of P1's speed. Adaptive quantisation is
    made for eyes and costs PSNR, so it is left out of the comparison; the classes' own is kept.
    """
    names = {name_of(tuning): tuning for tuning in SWEEP if not (tuning.spatial_aq or tuning.lookahead)}
    figures = {name: found[name] for name in names if "rate_percent" in found.get(name, {})}
    fastest = found.get(name_of(SWEEP[0]), {}).get("fps", 0.0)
    said: dict[str, str] = {}
    for speed, floor in SPEED_FLOOR.items():
        able = [name for name, each in figures.items() if each["fps"] >= floor * fastest]
        if not able:
            continue
        best = min(able, key=lambda name: figures[name]["rate_percent"])
        now = name_of(replace(tuning_of_speed(speed), spatial_aq=0))
        gain = figures[now]["rate_percent"] - figures[best]["rate_percent"] if now in figures else math.inf
        if now in able and gain < 1:
            said[speed] = f"{now}: confirmed (the best of its speed needs {gain:.1f} % less rate)"
        else:
            why = f"needs {gain:.1f} % less rate" if now in able else f"{now} is too slow"
            said[speed] = f"change to {best}: {why}"
    return said
