"""The ladder, whole: decode, scale and encode five renditions of 1080p by a backend, in as many processes as are given.

    python -m benchmarks.gpu_ladder BACKEND PRESET PROCESSES SOURCE

encodes SOURCE once in each process, all at once, and prints frames a second of all together as JSON. What a process
needs to start (imports, the device's context, sessions) is not counted: each encodes a first segment before the clock
starts.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
from dataclasses import replace
from fractions import Fraction
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import av

from benchmarks.gpu_sizes import LADDER, SOURCE
from encoders.backends import probe_clip
from encoders.backends.base import SegmentRequest
from encoders.backends.registry import open_backend
from encoders.ladder import Profile, Rung, VideoSettings
from encoders.plan import plan_asset
from encoders.probe import probe_source

FRAMES = 300
RATE = 25


def write_source(path: Path, frames: int = FRAMES) -> None:
    """An H.264 clip of 1080p with moving edges and grain, tagged BT.709 so that every lane takes it."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"preset": "ultrafast", "crf": "20", "g": "50"})
        stream.width, stream.height, stream.pix_fmt = *SOURCE, "yuv420p"
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = 1
        pictures = [probe_clip.moving_picture(number, *SOURCE) for number in range(25)]
        for number in range(frames):
            # There and back again, so that the few pictures that are drawn move all the time.
            picture = pictures[min(number % 48, 48 - number % 48)]
            picture.pts, picture.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def profile_of(preset: str, segment_s: float = 60.0) -> Profile:
    """Five rungs; one segment unless told."""
    rungs = tuple(
        Rung(name=f"{side}p", short_side=side, crf=23, maxrate_bps=rate, bufsize_bits=2 * rate) for side, rate in LADDER
    )
    return Profile(
        name="benchmark",
        description="five rungs",
        rungs=rungs,
        video=VideoSettings(preset=preset, gop_s=2.0, media_segment_s=4.0, segment_s=segment_s),
    )


def _encode(
    backend: str, preset: str, source: Path, ready: Barrier, done: multiprocessing.Queue[tuple[int, int]]
) -> None:
    lane = open_backend(backend)
    info = probe_source(source, "0" * 64)
    plan = plan_asset(info, profile_of(preset), 1, lane.encoder_id(preset))
    assert info.video is not None
    request = SegmentRequest(source=source, video=info.video, plan=plan, segment=plan.segments[0], threads=1)
    warm = replace(request, segment=replace(request.segment, end=min(50, request.segment.end)))
    for _ in lane.encode(warm):
        pass
    ready.wait()
    size = sum(len(picture.data) for picture in lane.encode(request))
    done.put((request.segment.frames, size))


def measure(backend: str, preset: str, processes: int, source: Path) -> dict[str, Any]:
    """Frames a second, and bits a second of one ladder."""
    spawn = multiprocessing.get_context("spawn")
    ready, done = spawn.Barrier(processes + 1), spawn.Queue()
    running = [spawn.Process(target=_encode, args=(backend, preset, source, ready, done)) for _ in range(processes)]
    for process in running:
        process.start()
    while ready.n_waiting < processes:
        if any(process.exitcode is not None for process in running):
            raise SystemExit("a process ended before all had begun; what it said is above")
        time.sleep(0.001)
    ready.wait()
    begin = time.perf_counter()
    for process in running:
        process.join()
    wall_s = time.perf_counter() - begin
    results = [done.get(timeout=5) for _ in range(sum(process.exitcode == 0 for process in running))]
    frames = sum(count for count, _ in results)
    bits = sum(size for _, size in results) * 8
    return {
        "fps": round(frames / wall_s, 1),
        "processes": processes,
        "failed": processes - len(results),
        "ladder_bps": round(bits / frames * RATE) if frames else 0,
    }


if __name__ == "__main__":
    sys.stdout.write("\n" + json.dumps(measure(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))) + "\n")
