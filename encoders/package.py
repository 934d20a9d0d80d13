"""From finished media segments to an asset: playlists, manifest, MP4s, stills, `asset.json`.

One set of CMAF media segments serves HLS and DASH; packaging writes text beside it and copies samples into MP4s.
Nothing is encoded again but the stills and a few seconds of preview. Local paths in, local paths out.

The folder of an asset, `media` and `out` together:
    master.m3u8, manifest.mpd                       entry points
    <rendition>/init.mp4, <number>.m4s              media, in `media`; all else goes to `out`
    <rendition>/index.m3u8, iframes.m3u8; of text captions.vtt, init.mp4, <number>.m4s
    mp4/<rendition>.mp4, thumbnail.jpg, preview.mp4, storyboard.vtt, storyboard/sprite-<n>.jpg
    chapters.vtt, chapters.json, asset.json
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from pydantic import TypeAdapter

from encoders import dash, hls, report
from encoders.asset import (
    ASSET_JSON,
    ASSET_VERSION,
    CONTENT_TYPES,
    AssetFile,
    AssetManifest,
    AssetReport,
)
from encoders.audio import AudioResult
from encoders.chapters import ChapterMark, chapters_json, chapters_vtt, choose_chapters, place_chapters
from encoders.dash import Caption
from encoders.hls import Sound, Text
from encoders.media import MediaInfo
from encoders.plan import Plan
from encoders.progressive import write_progressive
from encoders.recognition.known import KnownContent
from encoders.scenes import find_boundaries
from encoders.segment import SegmentResult
from encoders.stills import write_preview, write_thumbnail
from encoders.storyboard import write_storyboard
from encoders.subtitles import TextResult
from encoders.tracks import read_track, target_duration_s
from encoders.verify_asset import ASSET_CHECKS
from encoders.wvtt import write_text_track

CAPTIONS = "captions.vtt"
CHAPTERS_JSON = "chapters.json"


def package_asset(
    plan: Plan,
    info: MediaInfo,
    segments: Sequence[SegmentResult],
    audio: Sequence[AudioResult],
    media: Path,
    out: Path,
    texts: Sequence[TextResult] = (),
    known: KnownContent | None = None,
) -> AssetManifest:
    """Make an asset of finished renditions.

    Args:
        segments: results of all segments, for their warnings and measures; in any order.
        audio: results of all sound renditions.
        media: folder with a folder for each rendition (init.mp4, 00001.m4s and on); only read.
        out: folder that gets everything else; made when absent, files of an earlier attempt are written over.
        texts: results of the text renditions; those without a cue are left out.
        known: registered works that were found, for the report.

    Raises:
        VerificationFailed: media segments are missing or not what the farm writes. `out` may hold files of the attempt.
    """
    return _Packager(plan, info, media, out, texts, known).run(segments, audio)


class _Packager:
    """One run of packaging; collects the files it writes."""

    def __init__(
        self,
        plan: Plan,
        info: MediaInfo,
        media: Path,
        out: Path,
        texts: Sequence[TextResult],
        known: KnownContent | None,
    ) -> None:
        self._plan = plan
        self._info = info
        self._media = media
        self._out = out
        self._known = known
        self._files: list[AssetFile] = []
        self._captions: list[Caption] = []
        self._pictures = [read_track(media / each.name, each.name) for each in plan.renditions]
        self._sounds = [
            Sound(
                track=read_track(media / each.name, each.name),
                label=each.label,
                language=each.language,
                default=each.default,
            )
            for each in plan.audio
        ]
        planned = {each.name: each for each in plan.text}
        self._texts = [(planned[text.name], text) for text in texts if text.cues and text.name in planned]
        self._text_warnings = [warning for text in texts for warning in text.warnings]
        tracks = [*self._pictures, *(sound.track for sound in self._sounds)]
        self._duration_s = max(track.duration_s for track in tracks)
        self._target_s = target_duration_s(tracks)
        self._chapters, self._chapters_from = place_chapters(info.chapters, plan.origin_s, self._duration_s), "source"
        out.mkdir(parents=True, exist_ok=True)

    def run(self, segments: Sequence[SegmentResult], audio: Sequence[AudioResult]) -> AssetManifest:
        """Write everything; the entry points after what they name, `asset.json` last."""
        if not self._chapters:
            self._chapters, self._chapters_from = self._scene_chapters(segments), "scene cuts"
        self._write_renditions()
        self._write_texts()
        if self._plan.grid is not None:
            self._write_mp4s()
            self._write_stills()
        if self._chapters:
            self._text("chapters.vtt", "CHAPTERS", chapters_vtt(self._chapters))
            self._text(CHAPTERS_JSON, "CHAPTERS_JSON", chapters_json(self._chapters))
        self._write_entry_points()
        warnings = report.all_warnings(self._info, segments, audio, (*self._text_warnings, *self._plan.notes))
        self._write_report(segments, audio, warnings)
        return AssetManifest(files=tuple(self._files), duration_s=self._duration_s, warnings=warnings)

    @property
    def _fps(self) -> Fraction | None:
        return self._plan.grid.fps if self._plan.grid is not None else None

    def _scene_chapters(self, segments: Sequence[SegmentResult]) -> tuple[ChapterMark, ...]:
        """Chapters of a source that brings none: by its scene cuts, if the profile wants that."""
        settings, fps = self._plan.chapter_settings, self._fps
        motions = [each.motion for each in sorted(segments, key=lambda each: each.index) if each.motion is not None]
        if fps is None or not settings.from_cuts or not motions or len(motions) < len(segments):
            return ()
        return choose_chapters(find_boundaries(motions, fps), fps, self._duration_s, settings)

    def _write_renditions(self) -> None:
        for track in self._pictures:
            self._text(f"{track.name}/index.m3u8", "PLAYLIST", hls.media_playlist(track, self._target_s))
            self._text(f"{track.name}/iframes.m3u8", "PLAYLIST", hls.iframe_playlist(track))
        for sound in self._sounds:
            name = f"{sound.track.name}/index.m3u8"
            self._text(name, "PLAYLIST", hls.media_playlist(sound.track, self._target_s))

    def _write_texts(self) -> None:
        for rendition, text in self._texts:
            self._text(f"{rendition.name}/{CAPTIONS}", "SUBTITLES", text.vtt)
            playlist = hls.text_playlist([(CAPTIONS, self._duration_s)], math.ceil(self._duration_s))
            self._text(f"{rendition.name}/index.m3u8", "PLAYLIST", playlist)
            folder = self._out / rendition.name
            track = write_text_track(rendition.name, rendition.language, text.cues, self._duration_s, folder)
            for path in [folder / "init.mp4", *(folder / f"{piece.number:05d}.m4s" for piece in track.pieces)]:
                self._add(path, "MEDIA")
            self._captions.append(
                Caption(
                    track=track,
                    label=rendition.label,
                    language=rendition.language,
                    forced=rendition.forced,
                    sounds=rendition.captions > 0,
                )
            )

    def _write_mp4s(self) -> None:
        sound = next((each for each in self._sounds if each.default), None)
        wanted = {each.name for each in self._plan.renditions if each.mp4}
        for track in self._pictures:
            if track.name not in wanted:
                continue
            path = self._path(f"mp4/{track.name}.mp4")
            size_bytes = write_progressive(
                self._media,
                track,
                sound.track if sound else None,
                path,
                language=sound.language if sound else None,
                chapters=self._chapters,
            )
            kind = f"MP4_{track.name.removesuffix('p').upper()}"
            self._add(path, kind, track.width, track.height, round(size_bytes * 8 / self._duration_s))

    def _write_stills(self) -> None:
        settings, fps = self._plan.still_settings, self._fps
        assert fps is not None
        by_size = sorted(self._pictures, key=lambda track: track.width * track.height)
        thumbnail = self._path("thumbnail.jpg")
        self._add(thumbnail, "THUMB", *write_thumbnail(self._media, by_size, settings.thumbnail_at_s, thumbnail))
        preview = self._path("preview.mp4")
        size = write_preview(self._media, by_size, settings.preview_s, settings.preview_short_side, fps, preview)
        self._add(preview, "PREVIEW", *size)
        folder = self._path("storyboard/sprite-1.jpg").parent
        board = write_storyboard(self._media, by_size, self._duration_s, settings, folder)
        for name, width, height in board.sprites:
            self._add(folder / name, "STORYBOARD", width, height)
        self._text("storyboard.vtt", "STORYBOARD_VTT", board.vtt)

    def _write_entry_points(self) -> None:
        largest = max(self._pictures, key=lambda track: track.width * track.height, default=None)
        size = (largest.width, largest.height) if largest else (None, None)
        peak = max((track.peak_bps(self._target_s) for track in self._pictures), default=0)
        peak += max((sound.track.peak_bps(self._target_s) for sound in self._sounds), default=0)
        duration_s, target_s = self._duration_s, self._target_s
        mpd = dash.manifest(self._pictures, self._sounds, self._captions, self._fps, duration_s, target_s)
        self._text("manifest.mpd", "DASH", mpd, *size, peak)
        texts = [
            Text(
                name=rendition.name,
                label=rendition.label,
                language=rendition.language,
                default=rendition.default,
                forced=rendition.forced,
                sounds=rendition.captions > 0,
            )
            for rendition, _ in self._texts
        ]
        chapters = CHAPTERS_JSON if self._chapters else None
        master = hls.multivariant_playlist(self._pictures, self._sounds, texts, self._fps, target_s, chapters)
        self._text("master.m3u8", "HLS", master, *size, peak)

    def _write_report(
        self, segments: Sequence[SegmentResult], audio: Sequence[AudioResult], warnings: tuple[str, ...]
    ) -> None:
        plan = self._plan
        content = AssetReport(
            version=ASSET_VERSION,
            asset_key=plan.asset_key,
            source_sha256=plan.source_sha256,
            profile=plan.profile,
            encoder=plan.encoder,
            duration_s=float(self._duration_s),
            renditions=(
                *(report.picture_report(track, plan, segments, self._target_s) for track in self._pictures),
                *(report.sound_report(sound, audio, self._target_s) for sound in self._sounds),
                *(report.text_report(rendition, text, self._duration_s) for rendition, text in self._texts),
            ),
            chapters=tuple(report.chapter_report(mark) for mark in self._chapters),
            files=tuple(self._files),
            measures=report.measures_of(segments, audio),
            warnings=warnings,
            known_content=self._known,
            chapters_from=self._chapters_from if self._chapters else None,
            damage=report.damage_report(segments),
            verified=ASSET_CHECKS,
        )
        path = self._path(ASSET_JSON)
        path.write_bytes(TypeAdapter(AssetReport).dump_json(content, indent=1, exclude_none=True))
        self._add(path, "ASSET_JSON")

    def _path(self, relative: str) -> Path:
        path = self._out / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _text(self, relative: str, kind: str, text: str, *shape: int | None) -> None:
        path = self._path(relative)
        path.write_text(text, encoding="utf-8", newline="\n")
        self._add(path, kind, *shape)

    def _add(
        self, path: Path, kind: str, width: int | None = None, height: int | None = None, bps: int | None = None
    ) -> None:
        self._files.append(
            AssetFile(
                path=path.relative_to(self._out).as_posix(),
                kind=kind,
                content_type=CONTENT_TYPES[path.suffix],
                bytes=path.stat().st_size,
                width=width,
                height=height,
                bandwidth_bps=bps,
            )
        )
