"""The last task of a job: from media segments in the store to a finished asset, checked, its entry points last."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cluster import layout
from cluster.attempt import Attempt
from cluster.encoding import encode_sound
from cluster.recognition import Marks, look_for_works
from cluster.tasks import AssetFile, Done
from encoders import package, subtitles
from encoders.asset import AssetManifest
from encoders.audio import AudioResult
from encoders.limits import check_damage, check_sound_damage
from encoders.media import MediaInfo
from encoders.plan import AudioRendition, Plan
from encoders.profiles.load import load_profile
from encoders.recognition.known import KnownContent
from encoders.segment import SegmentResult
from encoders.subtitles import TextResult

ENTRIES = frozenset({"HLS", "DASH", "ASSET_JSON"})
"""Kinds of files that players and owners begin with."""


def package_asset(attempt: Attempt) -> Done:
    """Make and publish the asset of finished segments and sound.

    Raises:
        FarmError: too much of the source did not decode, it holds known content that its profile refuses, or what was
            made does not pass the check. Nothing is published then.
    """
    request, out = attempt.request, attempt.out
    plan, info = attempt.planned()
    begin = time.monotonic()
    segments = [
        attempt.needed(layout.segment_record(request.video_id, plan, each.index), SegmentResult)
        for each in plan.segments
    ]
    profile = load_profile(request.profile)
    if plan.grid is not None:
        check_damage(sum(each.concealed_frames for each in segments), plan.grid.frames, profile)
    sounds = [_sound(attempt, plan, each) for each in plan.audio]
    for sound in sounds:
        check_sound_damage(sound.lost_s, float(sound.duration_s), profile)
    known = _known_content(attempt, plan, segments, sounds)
    texts = _texts(attempt, info, plan)
    media, made = out / "media", out / "asset"
    made.mkdir()
    _stage_media(attempt, plan, sounds, media)
    staged_s = time.monotonic() - begin
    manifest = attempt.confined(
        package.package_asset,
        plan,
        info,
        segments,
        sounds,
        media,
        made,
        texts,
        known,
        limits=attempt.limits(output_bytes=_tree_bytes(media) * 2 + 500_000_000),
        readable=[media],
        writable=[made],
    )
    attempt.confined("encoders.verify_asset:verify_asset", plan, manifest, media, made, readable=[media, made])
    packaged_s = time.monotonic() - begin - staged_s
    files = _publish(attempt, plan, manifest, made)
    stored_s = time.monotonic() - begin - staged_s - packaged_s
    return Done(
        engine_s=time.monotonic() - begin,
        wall_s=0.0,
        assets=files,
        warnings=manifest.warnings,
        timings_s={"stage": staged_s, "package": packaged_s, "store": stored_s},
        known_content=known,
    )


def _sound(attempt: Attempt, plan: Plan, rendition: AudioRendition) -> AudioResult:
    """The record of a sound rendition; made here when it is not where it should be.

    That happens when the job's encoder was switched after the sound was done: all keys are new then, and only the
    segments are tasks again.
    """
    record = layout.audio_record(attempt.request.video_id, plan, rendition.name)
    found = attempt.record(record, AudioResult)
    if found is None:
        folder = attempt.out / "sound"
        folder.mkdir(exist_ok=True)
        encode_sound(replace(attempt, request=replace(attempt.request, part=rendition.name), out=folder))
        found = attempt.needed(record, AudioResult)
    return found


def _known_content(
    attempt: Attempt, plan: Plan, segments: Sequence[SegmentResult], sounds: Sequence[AudioResult]
) -> KnownContent | None:
    """Registered works that the video holds, by what its records remember of picture and sound."""
    heard = (sound.sound_marks for sound, wanted in zip(sounds, plan.audio, strict=True) if wanted.default)
    return look_for_works(
        Marks(attempt.request.video_id, [each.picture_marks for each in segments], next(heard, "")),
        load_profile(attempt.request.profile).known_content,
        attempt.store,
        attempt.staging,
        attempt.confined,
    )


def _texts(attempt: Attempt, info: MediaInfo, plan: Plan) -> tuple[TextResult, ...]:
    """The text renditions: quick to read, so they are no task of their own."""
    keys = {
        False: attempt.request.source_key,
        True: layout.picture_key(attempt.request.video_id, attempt.request.source_key, info),
    }
    found: dict[str, TextResult] = {}
    for captions in {bool(rendition.captions) for rendition in plan.text}:
        with attempt.staging.lease(attempt.store, keys[captions]) as source:
            texts = attempt.confined(subtitles.encode_text, source.path, plan, captions, source=source)
            found |= {text.name: text for text in texts}
    return tuple(found[rendition.name] for rendition in plan.text)


def _stage_media(attempt: Attempt, plan: Plan, sounds: Sequence[AudioResult], media: Path) -> None:
    """Bring all media segments of an asset to `media`, as the packager wants them."""
    video_id = attempt.request.video_id
    numbers = {rendition.name: range(1, plan.grid.media_segments + 1) for rendition in plan.renditions if plan.grid}
    names = numbers | {sound.name: range(1, len(sound.media) + 1) for sound in sounds}
    for name, pieces in names.items():
        folder = media / name
        folder.mkdir(parents=True)
        attempt.get(layout.init_key(video_id, plan, name), folder / "init.mp4")
        for number in pieces:
            attempt.get(layout.media_key(video_id, plan, name, number), folder / f"{number:05d}.m4s")


def _publish(attempt: Attempt, plan: Plan, manifest: AssetManifest, made: Path) -> tuple[AssetFile, ...]:
    """Store what packaging made, the entry points last: whoever sees a master playlist can play all it names."""
    prefix = layout.asset_prefix(attempt.request.video_id, plan)
    entries = {file.path for file in manifest.files if file.kind in ENTRIES}
    for file in sorted(manifest.files, key=lambda file: (file.path in entries, file.path)):
        attempt.put(prefix + file.path, made / file.path)
    return tuple(
        AssetFile(
            kind=file.kind,
            key=prefix + file.path,
            content_type=file.content_type,
            size_bytes=file.bytes,
            width=file.width,
            height=file.height,
            bandwidth_bps=file.bandwidth_bps,
        )
        for file in manifest.files
        if file.kind not in ("PLAYLIST", "MEDIA")
    )


def _tree_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
