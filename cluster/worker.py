"""One encode slot: stage in, do one task in a confined child, verify, stage out, answer with a value.

A plain class, tested without Ray. It keeps nothing between tasks that a result could depend on, so it may be killed
at any moment: what it finished has a record in the store (layout.py), what it did not is done again by whoever gets
the next attempt. Foreign bytes are never touched in this process, only in the confined children it starts.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import structlog
from pydantic import TypeAdapter

from cluster import layout
from cluster.errors import ObjectMissing
from cluster.gpu_lane import GpuLane
from cluster.mending import mended_source
from cluster.recognition import Marks, look_for_works, with_sound_marks
from cluster.staging import StagedSource, Staging
from cluster.storage.base import LocalPaths, ObjectStore
from cluster.tasks import AssetFile, Done, Outcome, TaskRequest
from encoders import audio, package, probe, segment, subtitles
from encoders.asset import AssetManifest
from encoders.audio import AudioResult
from encoders.backends import registry
from encoders.backends.base import BackendName
from encoders.confine import Confiner, Limits, Stopped, failure_of
from encoders.errors import Failure, FarmError, Fault, VerificationFailed
from encoders.limits import check_damage, check_limits, check_sound_damage
from encoders.media import Copy, MediaInfo
from encoders.plan import AudioRendition, Plan, Segment, plan_asset
from encoders.profiles.load import load_profile
from encoders.recognition.sound import HEARD, HEARD_BYTES_S
from encoders.segment import SegmentResult
from encoders.subtitles import TextResult
from encoders.trim import trim_source
from scheduler.jobs import TaskKind

T = TypeVar("T")
log = structlog.get_logger()

CANARY_S, CANARY_BYTES = 30.0, 10_000_000
"""A second's work, with room for a busy host."""
OUTPUT_SLACK = 4
"""How many times the capped rate a segment's output may take before the confined process is stopped: VBV allows twice
in any two seconds, and containers and stills come on top."""


class Worker:
    """One slot of a node.

    Args:
        store: where sources and assets are.
        staging: shared with the other workers of the node.
        confiner: starts the confined children; closed with the worker.
        scratch: folder of its own for unfinished outputs; emptied at the start.
        encode_log: a line is appended to this file for each segment encoded here, after its record has landed.
        memory_bytes: what one confined child may use.
    """

    def __init__(
        self,
        store: ObjectStore,
        staging: Staging,
        confiner: Confiner,
        scratch: Path,
        encode_log: Path,
        memory_bytes: int,
    ) -> None:
        self.store = store
        self.staging = staging
        self.confiner = confiner
        self.scratch = scratch
        self.encode_log = encode_log
        self.memory_bytes = memory_bytes
        self.gpu = GpuLane(confiner, scratch)
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        encode_log.parent.mkdir(parents=True, exist_ok=True)

    def run(self, request: TaskRequest, stop: threading.Event) -> Outcome:
        """Do one attempt of one task; never raises.

        Args:
            stop: set by another thread to end the attempt; its confined child is killed within a fraction of a second.

        Returns:
            the result, or the failure as a value. Scratch files are gone in both cases.
        """
        started = time.monotonic()
        overdue = threading.Event()

        def end() -> None:
            overdue.set()
            stop.set()

        timer = threading.Timer(request.timeout_s, end)
        timer.daemon = True
        timer.start()
        try:
            return self._run(request, stop, started)
        except Stopped as error:
            return _timed_out(request) if overdue.is_set() else failure_of(error)
        except FarmError as error:
            return failure_of(error)
        except OSError as error:
            return Failure(code=_os_code(error), fault=Fault.INFRASTRUCTURE, detail=str(error))
        except Exception as error:  # the worker's edge: a bug must fail one attempt, not the slot
            log.exception("task_bug", task=request.task_id)
            evidence = {"traceback": traceback.format_exc()[-4000:]}
            detail = f"{type(error).__name__}: {error}"
            return Failure(code="internal", fault=Fault.INFRASTRUCTURE, detail=detail, evidence=evidence)
        finally:
            timer.cancel()

    def _run(self, request: TaskRequest, stop: threading.Event, started: float) -> Done:
        out = self.scratch / f"{os.getpid()}-{request.attempt}"
        out.mkdir(parents=True)
        try:
            match request.kind:
                case TaskKind.INSPECT:
                    done = self._inspect(request, stop, out)
                case TaskKind.AUDIO:
                    done = self._audio(request, stop, out)
                case TaskKind.SEGMENT:
                    done = self._segment(request, stop, out)
                case TaskKind.PACKAGE:
                    done = self._package(request, stop, out)
        finally:
            shutil.rmtree(out, ignore_errors=True)
        return _with_wall(done, time.monotonic() - started)

    def check(self, backend: str) -> tuple[bool, str]:
        """Encode a known clip and compare what comes out: (healthy, what was seen).

        After a fault of a GPU it is proven anew before that, in a process of its own.
        """
        if backend != BackendName.CPU and (reason := self.gpu.prepare_check(backend)):
            return False, reason
        limits = Limits(memory_bytes=self.memory_bytes, wall_s=CANARY_S, output_bytes=CANARY_BYTES)
        out = self.scratch / "canary"
        out.mkdir(exist_ok=True)
        try:
            seen = self.confiner.run(
                "encoders.canary:encode_canary",
                backend,
                out,
                limits=limits,
                writable=[out],
                devices=backend != BackendName.CPU,
            )
        except FarmError as error:
            return False, f"{error.code}: {error.detail}"
        finally:
            shutil.rmtree(out, ignore_errors=True)
        return True, str(seen)

    # -- the four kinds of task

    def _inspect(self, request: TaskRequest, stop: threading.Event, out: Path) -> Done:
        profile = load_profile(request.profile)
        begin = time.monotonic()
        with self.staging.lease(self.store, request.source_key) as source:
            staged_s = time.monotonic() - begin
            limits = self._limits(request)
            info = self._confined(
                probe.probe_source, source.path, source.sha256, stop=stop, limits=limits, source=source
            )
            if info.copy is not Copy.NONE:
                more = self._limits(request, output_bytes=2 * source.size_bytes + 50_000_000)
                copying = partial(self._confined, stop=stop, limits=more, source=source, writable=[out])
                info = mended_source(self.store, request.video_id, source, info, out, copying)
            if request.trim is not None:
                info = trim_source(info, request.trim)
            check_limits(info, profile)
            # This node may lack the GPU that will encode: the plan gets other keys then, when that begins (breakdown).
            wanted = (request.backend, BackendName.CPU)
            encoder = self._confined(
                registry.first_encoder_id, wanted, profile.video.preset, profile.codecs, stop=stop, limits=limits
            )
        plan = plan_asset(info, profile, request.slots, encoder)
        total_s = time.monotonic() - begin
        return Done(
            engine_s=total_s, wall_s=0, info=info, plan=plan, warnings=info.warnings, timings_s={"stage": staged_s}
        )

    def _segment(self, request: TaskRequest, stop: threading.Event, out: Path) -> Done:
        plan, info = _planned(request)
        part = plan.segments[int(request.part or 0)]
        record = layout.segment_record(request.video_id, plan, part.index)
        if (found := self._record(record, SegmentResult)) is not None:
            return Done(engine_s=0.0, wall_s=0.0, reused=True, warnings=found.warnings)
        begin = time.monotonic()
        with self.staging.lease(self.store, layout.picture_key(request.video_id, request.source_key, info)) as source:
            staged_s = time.monotonic() - begin
            limits = self._limits(request, output_bytes=_output_budget(plan, part))
            work = (source.path, info, plan, part, out, BackendName(request.backend), request.threads)
            if request.backend == BackendName.CPU:
                result = self._confined(
                    segment.encode_segment, *work, stop=stop, limits=limits, source=source, writable=[out]
                )
            else:
                result = self.gpu.encode(*work, stop=stop, limits=limits)
        encoded_s = time.monotonic() - begin - staged_s
        for rendition in result.renditions:
            if part.index == 0:
                self._put(layout.init_key(request.video_id, plan, rendition.name), out / rendition.name / "init.mp4")
            for piece in rendition.media:
                key = layout.media_key(request.video_id, plan, rendition.name, piece.number)
                self._put_verified(key, out / rendition.name / f"{piece.number:05d}.m4s", piece.sha256)
        self._finish(record, result, request)
        stored_s = time.monotonic() - begin - staged_s - encoded_s
        return Done(
            engine_s=result.encode_s,
            wall_s=0.0,
            warnings=result.warnings,
            timings_s={"stage": staged_s, "encode": encoded_s, "store": stored_s},
        )

    def _audio(self, request: TaskRequest, stop: threading.Event, out: Path) -> Done:
        plan, info = _planned(request)
        rendition = next(each for each in plan.audio if each.name == request.part)
        record = layout.audio_record(request.video_id, plan, rendition.name)
        if (found := self._record(record, AudioResult)) is not None:
            return Done(engine_s=0.0, wall_s=0.0, reused=True, warnings=found.warnings)
        begin = time.monotonic()
        with self.staging.lease(self.store, layout.sound_key(request.video_id, request.source_key, info)) as source:
            rate_bytes = plan.audio_settings.bitrate_bps // 8 * OUTPUT_SLACK + HEARD_BYTES_S
            budget = int(float(plan.duration_s) + 60) * rate_bytes
            result = self._confined(
                audio.encode_audio,
                source.path,
                info,
                plan,
                rendition,
                out,
                stop=stop,
                limits=self._limits(request, output_bytes=budget),
                source=source,
                writable=[out],
            )
        result = with_sound_marks(result, out / rendition.name / HEARD)
        self._put(layout.init_key(request.video_id, plan, rendition.name), out / rendition.name / "init.mp4")
        for piece in result.media:
            key = layout.media_key(request.video_id, plan, rendition.name, piece.number)
            self._put_verified(key, out / rendition.name / f"{piece.number:05d}.m4s", piece.sha256)
        self._finish(record, result, request)
        return Done(engine_s=time.monotonic() - begin, wall_s=0.0, warnings=result.warnings)

    def _sound(
        self, request: TaskRequest, plan: Plan, rendition: AudioRendition, stop: threading.Event, out: Path
    ) -> AudioResult:
        """The record of a sound rendition; made here when it is not where it should be.

        That happens when the job's encoder was switched after the sound was done: all keys are new then, and only the
        segments are tasks again.
        """
        record = layout.audio_record(request.video_id, plan, rendition.name)
        found = self._record(record, AudioResult)
        if found is None:
            folder = out / "sound"
            folder.mkdir(exist_ok=True)
            self._audio(replace(request, part=rendition.name), stop, folder)
            found = self._needed(record, AudioResult)
        return found

    def _package(self, request: TaskRequest, stop: threading.Event, out: Path) -> Done:
        plan, info = _planned(request)
        begin = time.monotonic()
        video = request.video_id
        segments = [
            self._needed(layout.segment_record(video, plan, each.index), SegmentResult) for each in plan.segments
        ]
        if plan.grid is not None:
            concealed = sum(each.concealed_frames for each in segments)
            check_damage(concealed, plan.grid.frames, load_profile(request.profile))
        sounds = [self._sound(request, plan, each, stop, out) for each in plan.audio]
        for sound in sounds:
            check_sound_damage(sound.lost_s, float(sound.duration_s), load_profile(request.profile))
        default = next(
            (each.sound_marks for each, wanted in zip(sounds, plan.audio, strict=True) if wanted.default), ""
        )
        known = look_for_works(
            Marks(video, [each.picture_marks for each in segments], default),
            load_profile(request.profile).known_content,
            self.store,
            self.staging,
            partial(self._confined, stop=stop, limits=self._limits(request)),
        )
        texts = self._texts(request, plan, stop)
        media, made = out / "media", out / "asset"
        made.mkdir()
        self._stage_media(request, plan, sounds, media)
        staged_s = time.monotonic() - begin
        manifest = self._confined(
            package.package_asset,
            plan,
            info,
            segments,
            sounds,
            media,
            made,
            texts,
            known,
            stop=stop,
            limits=self._limits(request, output_bytes=_tree_bytes(media) * 2 + 500_000_000),
            readable=[media],
            writable=[made],
        )
        self._confined(
            "encoders.verify_asset:verify_asset",
            plan,
            manifest,
            media,
            made,
            stop=stop,
            limits=self._limits(request),
            readable=[media, made],
        )
        packaged_s = time.monotonic() - begin - staged_s
        files = self._publish(request, plan, manifest, made)
        stored_s = time.monotonic() - begin - staged_s - packaged_s
        return Done(
            engine_s=time.monotonic() - begin,
            wall_s=0.0,
            assets=files,
            warnings=manifest.warnings,
            timings_s={"stage": staged_s, "package": packaged_s, "store": stored_s},
            known_content=known,
        )

    def _texts(self, request: TaskRequest, plan: Plan, stop: threading.Event) -> tuple[TextResult, ...]:
        """The text renditions: quick to read, so they are no task of their own."""
        if not plan.text:
            return ()
        with self.staging.lease(self.store, request.source_key) as source:
            limits = self._limits(request)
            found = self._confined(subtitles.encode_text, source.path, plan, stop=stop, limits=limits, source=source)
        return tuple(found)

    def _publish(self, request: TaskRequest, plan: Plan, manifest: AssetManifest, made: Path) -> tuple[AssetFile, ...]:
        """Store what packaging made, the entry points last: whoever sees a master playlist can play all it names."""
        prefix = layout.asset_prefix(request.video_id, plan)
        entries = {file.path for file in manifest.files if file.kind in ("HLS", "DASH", "ASSET_JSON")}
        for file in sorted(manifest.files, key=lambda file: (file.path in entries, file.path)):
            self._put(prefix + file.path, made / file.path)
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

    # -- what they share

    def _stage_media(self, request: TaskRequest, plan: Plan, sounds: Sequence[AudioResult], media: Path) -> None:
        """Bring all media segments of an asset to `media`, as the packager wants them."""
        numbers = {rendition.name: range(1, plan.grid.media_segments + 1) for rendition in plan.renditions if plan.grid}
        names = numbers | {sound.name: range(1, len(sound.media) + 1) for sound in sounds}
        for name, pieces in names.items():
            folder = media / name
            folder.mkdir(parents=True)
            self._get(layout.init_key(request.video_id, plan, name), folder / "init.mp4")
            for number in pieces:
                self._get(layout.media_key(request.video_id, plan, name, number), folder / f"{number:05d}.m4s")

    def _get(self, key: str, path: Path) -> None:
        local = getattr(self.store, "path_of", None)
        if local is None:
            self.store.get_file(key, path)
            return
        try:
            os.link(local(key), path)
        except FileNotFoundError:
            raise ObjectMissing(f"{key} is not in the store") from None
        except OSError:  # another file system
            self.store.get_file(key, path)

    def _put(self, key: str, path: Path) -> None:
        self.store.put_file(key, path, layout.content_type(key))

    def _put_verified(self, key: str, path: Path, sha256: str) -> None:
        """Store a media segment that is what was verified in the child, and see that the store has received that.

        Raises:
            VerificationFailed: its bytes have changed on the way; the task has no record yet and is done again.
        """
        data = path.read_bytes()
        stored = self.store.put_file(key, path, layout.content_type(key))
        # Other stores compare checksums of what they receive themselves, and their ETags need not be MD5s.
        local = isinstance(self.store, LocalPaths)
        received = not local or stored.etag == hashlib.md5(data, usedforsecurity=False).hexdigest()
        if hashlib.sha256(data).hexdigest() != sha256 or not received:
            raise VerificationFailed(f"{key} is not what was encoded: its bytes have changed on the way to the store")

    def _record(self, key: str, kind: type[T]) -> T | None:
        """The record of a finished task, None when there is none."""
        try:
            return TypeAdapter(kind).validate_json(self.store.get_bytes(key))
        except ObjectMissing:
            return None

    def _needed(self, key: str, kind: type[T]) -> T:
        found = self._record(key, kind)
        if found is None:
            raise ObjectMissing(f"{key}: its task is done but its record is gone; the job must be run again")
        return found

    def _finish(self, record: str, result: SegmentResult | AudioResult, request: TaskRequest) -> None:
        """Write the record, then the line in the encode log: the work is finished from here on."""
        self.store.put_bytes(record, TypeAdapter(type(result)).dump_json(result), "application/json")
        line = {
            "at": time.time(),
            "event": "encoded",
            "record": record,
            "task": request.task_id,
            "attempt": request.attempt,
        }
        with self.encode_log.open("ab", buffering=0) as file:
            file.write(json.dumps(line).encode() + b"\n")

    def _limits(self, request: TaskRequest, output_bytes: int = 50_000_000) -> Limits:
        # The timer in `run` ends what takes too long for this host; these bounds are for a process that evades it.
        return Limits(
            memory_bytes=self.memory_bytes,
            wall_s=request.timeout_s + 60,
            cpu_s=int(request.timeout_s * max(2, 2 * request.threads)) + 60,
            output_bytes=output_bytes,
        )

    def _confined(
        self,
        function: Any,
        *args: Any,
        stop: threading.Event,
        limits: Limits,
        source: StagedSource | None = None,
        readable: Sequence[Path] = (),
        writable: Sequence[Path] = (),
    ) -> Any:
        """Run a function of `encoders` in a confined child; its value, or its typed error raised here."""
        paths = [*readable, *([source.path] if source else [])]
        return self.confiner.run(function, *args, limits=limits, readable=paths, writable=list(writable), stop=stop)

    def close(self) -> None:
        """End the confined children and remove scratch files."""
        self.gpu.close()
        self.confiner.close()
        shutil.rmtree(self.scratch, ignore_errors=True)


def _planned(request: TaskRequest) -> tuple[Plan, MediaInfo]:
    if request.plan is None or request.info is None:
        raise ValueError(f"{request.task_id}: a {request.kind} task needs the plan")
    return request.plan, request.info


def _output_budget(plan: Plan, part: Segment) -> int:
    """Bytes that a segment's outputs may take together, from the capped rates."""
    fps = plan.grid.fps if plan.grid else 1
    seconds = float(part.frames / fps) + 2
    return int(sum(each.maxrate_bps for each in plan.renditions) / 8 * seconds) * OUTPUT_SLACK + 10_000_000


def _tree_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _with_wall(done: Done, wall_s: float) -> Done:
    return replace(done, wall_s=wall_s)


def _timed_out(request: TaskRequest) -> Failure:
    detail = f"not done within {request.timeout_s:.0f} s, several times what was predicted"
    return Failure(code="task_timeout", fault=Fault.DEVICE, detail=detail)


def _os_code(error: OSError) -> str:
    return "disk_full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "os_error"
