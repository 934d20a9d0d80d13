"""The tasks that make media: one segment of the picture in all its renditions, or one rendition of the sound.

Each looks first whether an attempt before has finished it: then its record is there and nothing is encoded. What is
made was verified in the child, and is stored as it was verified; the record comes last.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from cluster import layout
from cluster.attempt import Attempt
from cluster.recognition import with_sound_marks
from cluster.staging import StagedSource
from cluster.tasks import Done
from encoders import audio, segment
from encoders.audio import AudioResult, SoundSegment
from encoders.backends.base import BackendName
from encoders.plan import Plan, Segment
from encoders.recognition.sound import HEARD, HEARD_BYTES_S
from encoders.segment import MediaSegment, SegmentResult

OUTPUT_SLACK = 4
"""How many times the capped rate an output may take before the confined process is stopped: VBV allows twice in any
two seconds, and containers and stills come on top."""


def encode_segment(attempt: Attempt) -> Done:
    """Encode, verify and store one segment."""
    request = attempt.request
    plan, info = attempt.planned()
    part = plan.segments[int(request.part or 0)]
    record = layout.segment_record(request.video_id, plan, part.index)
    if (found := attempt.record(record, SegmentResult)) is not None:
        return Done(engine_s=0.0, wall_s=0.0, reused=True, warnings=found.warnings)
    begin = time.monotonic()
    with attempt.staging.lease(attempt.store, layout.picture_key(request.video_id, request.source_key, info)) as source:
        staged_s = time.monotonic() - begin
        result = encode_in_child(attempt, source, part)
    encoded_s = time.monotonic() - begin - staged_s
    for rendition in result.renditions:
        if part.index == 0:
            _put_init(attempt, plan, rendition.name)
        _put_media(attempt, plan, rendition.name, rendition.media)
    attempt.finish(record, result)
    stored_s = time.monotonic() - begin - staged_s - encoded_s
    return Done(
        engine_s=result.encode_s,
        wall_s=0.0,
        warnings=result.warnings,
        timings_s={"stage": staged_s, "encode": encoded_s, "store": stored_s},
    )


def encode_in_child(attempt: Attempt, source: StagedSource, part: Segment) -> SegmentResult:
    """One segment, encoded by a confined child on the CPU, or by the one that keeps the worker's GPU."""
    plan, info = attempt.planned()
    request, limits = attempt.request, attempt.limits(output_bytes=_output_budget(plan, part))
    work = (source.path, info, plan, part, attempt.out, BackendName(request.backend), request.threads)
    if request.backend != BackendName.CPU:
        return attempt.gpu.encode(*work, stop=attempt.stop, limits=limits)
    result: SegmentResult = attempt.confined(
        segment.encode_segment, *work, limits=limits, source=source, writable=[attempt.out]
    )
    return result


def encode_sound(attempt: Attempt) -> Done:
    """Encode and store one rendition of the sound, whole."""
    request, out = attempt.request, attempt.out
    plan, info = attempt.planned()
    rendition = next(each for each in plan.audio if each.name == request.part)
    record = layout.audio_record(request.video_id, plan, rendition.name)
    if (found := attempt.record(record, AudioResult)) is not None:
        return Done(engine_s=0.0, wall_s=0.0, reused=True, warnings=found.warnings)
    begin = time.monotonic()
    with attempt.staging.lease(attempt.store, layout.sound_key(request.video_id, request.source_key, info)) as source:
        rate_bytes = plan.audio_settings.bitrate_bps // 8 * OUTPUT_SLACK + HEARD_BYTES_S
        limits = attempt.limits(output_bytes=int(float(plan.duration_s) + 60) * rate_bytes)
        work = (source.path, info, plan, rendition, out)
        result = attempt.confined(audio.encode_audio, *work, limits=limits, source=source, writable=[out])
    result = with_sound_marks(result, out / rendition.name / HEARD)
    _put_init(attempt, plan, rendition.name)
    _put_media(attempt, plan, rendition.name, result.media)
    attempt.finish(record, result)
    return Done(engine_s=time.monotonic() - begin, wall_s=0.0, warnings=result.warnings)


def _put_init(attempt: Attempt, plan: Plan, name: str) -> None:
    attempt.put(layout.init_key(attempt.request.video_id, plan, name), attempt.out / name / "init.mp4")


def _put_media(attempt: Attempt, plan: Plan, name: str, media: Sequence[MediaSegment | SoundSegment]) -> None:
    for piece in media:
        key = layout.media_key(attempt.request.video_id, plan, name, piece.number)
        attempt.put_verified(key, attempt.out / name / f"{piece.number:05d}.m4s", piece.sha256)


def _output_budget(plan: Plan, part: Segment) -> int:
    """Bytes that a segment's outputs may take together, from the capped rates."""
    fps = plan.grid.fps if plan.grid else 1
    seconds = float(part.frames / fps) + 2
    return int(sum(each.maxrate_bps for each in plan.renditions) / 8 * seconds) * OUTPUT_SLACK + 10_000_000
