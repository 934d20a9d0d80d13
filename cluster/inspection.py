"""The first task of a job: look at the source, put right what keeps it from being read in pieces, make the plan."""

from __future__ import annotations

import time
from functools import partial

from cluster.attempt import Attempt
from cluster.mending import mended_source
from cluster.tasks import Done
from encoders import probe
from encoders.backends import registry
from encoders.backends.base import BackendName
from encoders.limits import check_limits
from encoders.media import Copy, MediaInfo
from encoders.plan import plan_asset
from encoders.profiles.load import load_profile
from encoders.trim import trim_source

INSPECTION_CPU_S, BYTES_PER_CPU_S = 20, 4_000_000
"""Processor seconds that one look at a source may take, for any and for each so many bytes of it. FFmpeg compares tags,
index entries and edits with all before, so that a megabyte of them can hold a slot for minutes. Measured: 98 good files
of up to 12 MB take 1.9 s at most, and 5 million packets, a day of 60 frames a second, 17 s. A file of 30 MB that was
made to take longer is refused after less than 30 s."""
PIXELS_PER_CPU_S = 20_000_000
"""A copy may decode all pictures, to learn their order. H.264 decodes ten times as many on a core, VVC and JPEG 2000
twice as many."""


def copying_cpu_s(info: MediaInfo, look_s: int) -> int:
    """Processor seconds that a copy of a source may take.

    Args:
        look_s: what a look at it may take; copying reads it once, and looks at what came of it.
    """
    video = info.video
    pixels = video.frames * video.width * video.height if video else 0
    return 2 * look_s + pixels // PIXELS_PER_CPU_S


def inspect_source(attempt: Attempt) -> Done:
    """What the source is, and how it is cut and encoded.

    Raises:
        FarmError: it is no source for this farm, as `probe` and `limits` say.
    """
    request = attempt.request
    profile = load_profile(request.profile)
    begin = time.monotonic()
    with attempt.staging.lease(attempt.store, request.source_key) as source:
        staged_s = time.monotonic() - begin
        cpu_s = INSPECTION_CPU_S + source.size_bytes // BYTES_PER_CPU_S
        look = attempt.limits(cpu_s=cpu_s)
        info = attempt.confined(probe.probe_source, source.path, source.sha256, limits=look, source=source)
        if info.copy is not Copy.NONE:
            copy_s = copying_cpu_s(info, cpu_s)
            more = attempt.limits(output_bytes=2 * source.size_bytes + 50_000_000, cpu_s=copy_s)
            copying = partial(attempt.confined, limits=more, source=source, writable=[attempt.out])
            info = mended_source(attempt.store, request.video_id, source, info, attempt.out, copying)
        if request.trim is not None:
            info = trim_source(info, request.trim)
        check_limits(info, profile)
        # This node may lack the GPU that will encode: the plan gets other keys then, when that begins (breakdown).
        wanted = (request.backend, BackendName.CPU)
        encoder = attempt.confined(registry.first_encoder_id, wanted, profile.video.preset, profile.codecs)
    plan = plan_asset(info, profile, request.slots, encoder)
    total_s = time.monotonic() - begin
    return Done(engine_s=total_s, wall_s=0, info=info, plan=plan, warnings=info.warnings, timings_s={"stage": staged_s})
