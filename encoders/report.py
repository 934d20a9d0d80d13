"""What `asset.json` says of each rendition and of the whole: measures that encoding and verification took, gathered."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from encoders.asset import ChapterReport, DamageReport, RenditionReport
from encoders.audio import AudioResult
from encoders.chapters import ChapterMark
from encoders.hls import Sound
from encoders.media import MediaInfo
from encoders.plan import Plan, TextRendition
from encoders.segment import SegmentResult
from encoders.subtitles import TextResult
from encoders.tracks import Track
from encoders.verify import SEGMENT_CHECKS


def picture_report(track: Track, plan: Plan, segments: Sequence[SegmentResult], target_s: int) -> RenditionReport:
    """Args: target_s: over how long the peak rate is taken."""
    mine = [each for result in segments for each in result.renditions if each.name == track.name]
    misfits = [each.worst_misfit for each in mine if each.worst_misfit is not None]
    return RenditionReport(
        name=track.name,
        kind="video",
        codec=track.codec,
        duration_s=float(track.duration_s),
        media_segments=len(track.pieces),
        size_bytes=track.size_bytes,
        average_bps=track.average_bps,
        peak_bps=track.peak_bps(target_s),
        width=track.width,
        height=track.height,
        frame_rate=str(plan.grid.fps) if plan.grid else None,
        frames=track.frames,
        encoder=plan.encoder,
        compared_frames=sum(each.compared_frames for each in mine),
        worst_misfit=round(max(misfits), 2) if misfits else None,
        verified=SEGMENT_CHECKS,
    )


def sound_report(sound: Sound, results: Sequence[AudioResult], target_s: int) -> RenditionReport:
    """Args: target_s: over how long the peak rate is taken."""
    track = sound.track
    lost = [each.lost_s for each in results if each.name == track.name]
    return RenditionReport(
        name=track.name,
        kind="audio",
        codec=track.codec,
        duration_s=float(track.duration_s),
        media_segments=len(track.pieces),
        size_bytes=track.size_bytes,
        average_bps=track.average_bps,
        peak_bps=track.peak_bps(target_s),
        sample_rate=track.sample_rate,
        channels=track.channels,
        language=sound.language,
        label=sound.label,
        default=sound.default,
        lost_s=round(lost[0], 3) if lost else None,
    )


def text_report(rendition: TextRendition, text: TextResult, duration_s: Fraction) -> RenditionReport:
    """Of a text rendition, whose rate is its length over the asset's."""
    size_bytes = len(text.vtt.encode())
    rate = math.ceil(size_bytes * 8 / duration_s)
    return RenditionReport(
        name=rendition.name,
        kind="text",
        codec="wvtt",
        duration_s=float(duration_s),
        media_segments=1,
        size_bytes=size_bytes,
        average_bps=rate,
        peak_bps=rate,
        language=rendition.language,
        label=rendition.label,
        default=rendition.default,
    )


def chapter_report(mark: ChapterMark) -> ChapterReport:
    """One chapter."""
    return ChapterReport(start_s=float(mark.start_s), end_s=float(mark.end_s), title=mark.title)


def damage_report(segments: Sequence[SegmentResult]) -> DamageReport | None:
    """What was concealed over the whole asset; None without picture."""
    frames = sum(result.frames for result in segments)
    concealed = sum(result.concealed_frames for result in segments)
    return DamageReport(concealed_frames=concealed, share=round(concealed / frames, 4)) if frames else None


def all_warnings(
    info: MediaInfo, segments: Sequence[SegmentResult], audio: Sequence[AudioResult], others: Sequence[str]
) -> tuple[str, ...]:
    """Each sentence once, the probe's first."""
    found = list(info.warnings)
    found += [warning for segment in segments for warning in segment.warnings]
    found += [warning for sound in audio for warning in sound.warnings]
    found += others
    return tuple(dict.fromkeys(found))


def measures_of(segments: Sequence[SegmentResult], audio: Sequence[AudioResult]) -> dict[str, float]:
    """What was measured while encoding, over the whole asset."""
    found: dict[str, float] = {}
    frames = sum(result.frames for result in segments)
    if frames:
        found["luma_mean"] = round(sum(result.luma.mean * result.frames for result in segments) / frames, 2)
        found["luma_darkest"] = round(min(result.luma.darkest for result in segments), 2)
        found["luma_brightest"] = round(max(result.luma.brightest for result in segments), 2)
        found["flat_frames"] = sum(result.luma.flat_frames for result in segments)
        found["worst_misfit"] = round(max(result.worst_misfit for result in segments), 2)
        found["encode_cpu_s"] = round(sum(result.encode_s for result in segments), 2)
    found |= {f"{each.name}_source_lufs": each.loudness_lufs for each in audio if each.loudness_lufs is not None}
    return found
