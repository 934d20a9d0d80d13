"""A hostile file -> `MediaInfo`, or a typed reason why it is refused. Runs in a confined child (`encoders/confine.py`).

What containers declare is a hint; what counts is what packets and decoded frames say. Three looks at the file: all
packets without decoding (`scan.py`), the first frames and a few key frames decoded (`sample.py`), and the whole decoded
only where packet times contradict the frames.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from av.container import InputContainer
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from encoders import timeline
from encoders.containers import asf
from encoders.containers.edits import picture_late_s
from encoders.containers.moov import refuse_protected, sample_descriptions
from encoders.damage import places
from encoders.demux import ANIMATIONS, WHAT_TO_DO, open_source
from encoders.errors import NoPlayableTrack, NotAVideo, TooLarge
from encoders.media import AudioTrack, Copy, MediaInfo, VideoTrack
from encoders.picture import GUESSED_MATRICES
from encoders.sample import FrameFacts, PictureSample, decode_times, prepare, sample_head, sample_window
from encoders.scan import codec_name, scan_packets
from encoders.sidetracks import caption_tracks, is_part, read_chapters, read_sound, read_subtitles
from encoders.source_limits import ProbeLimits
from encoders.timeline import Packets, Ticks

WINDOWS = (0.25, 0.5, 0.8)
"""Places, as shares of the key frames, at which decoding is tried in the middle."""
FULL_DECODE_FRAMES = 4000
"""Longest track that is decoded whole to learn its frames' times."""
FULL_DECODE_PIXELS = 3_000_000_000
"""Likewise, of all frames together: 1,400 of 1080p, which take ten seconds of a core as HEVC."""
PALETTED = "pal8"
"""Containers tell the palette once, and again when it changes; who begins to read in the middle does not learn it, and
a copy has none."""
LEAST_HOLE_S = Fraction(1, 5)
"""A track of constant rate that lacks frames for longer than this has lost them."""
REORDER_PIXELS = 60_000_000_000
"""Most that is decoded to put frames in order: minutes on one core, as 260,000 frames of 640x360. Longer sources show
the frames whose times rise, if they have any."""
LEAST_START_GAP_S = Fraction(1, 4)
SANE_SAR = (Fraction(1, 12), Fraction(12))


def probe_source(path: Path, sha256: str, limits: ProbeLimits | None = None) -> MediaInfo:
    """Find out everything that planning needs of a source.

    Args:
        path: local file; its name is not trusted, and nothing but it is opened.
        sha256: hex digest of the file, taken over into the result.
        limits: what the source may be.

    Raises:
        NotAVideo, ForbiddenFormat, Damaged: see `demux.open_source`.
        Encrypted: a track is encrypted.
        NoPlayableTrack: no track decodes, or there is a picture track and it does not decode.
        TooLarge, TooLong: beyond the limits.
        ResourceExceeded: it asks for more memory than one source may have.
    """
    limits = limits or ProbeLimits()
    size_bytes = path.stat().st_size
    if size_bytes > limits.max_bytes:
        raise TooLarge(f"The file has {size_bytes} bytes; at most {limits.max_bytes} are taken.")
    warnings: list[str] = []
    with open_source(path) as container:
        _check_header(container, limits)
        if _is_mov(container):
            refuse_protected(path)
        asf.refuse_protected(path)
        pictures = _picture_streams(container)
        most_bytes = limits.most_bytes(size_bytes)
        packets = dict(
            scan_packets(container, [*pictures, *container.streams.audio], limits.most_packets(size_bytes), most_bytes)
        )
        if container.format.name in ANIMATIONS and max((len(each) for each in packets.values()), default=0) < 2:
            raise NotAVideo(f"The file is a picture that does not move, not a video. {WHAT_TO_DO}")
        video, copy = _first_playable(path, pictures, packets, limits, warnings)
        audio = _sound_tracks(path, container, packets, warnings)
        if pictures and video is None:
            raise NoPlayableTrack(_why_no_picture(path, container, pictures, packets))
        if video is None and not audio:
            raise NoPlayableTrack(_why_no_sound(path, container))
        bounds = MediaInfo(container="", size_bytes=0, sha256="", video=video, audio=audio)
        limits.check_length(bounds)
        playable = [container.streams[track.stream] for track in (video, *audio) if track is not None]
        limits.check_holds([(packets[stream.index], stream.time_base) for stream in playable], size_bytes)
        if video and audio and _is_mov(container) and packets[video.stream].discard.any():
            step_s = 1 / (video.frame_rate or video.average_rate)
            video = replace(video, late_s=picture_late_s(path, video.stream, video.first_pts, step_s))
        used = [track.stream for track in (video, *audio) if track is not None]
        return MediaInfo(
            container=container.format.name,
            size_bytes=size_bytes,
            sha256=sha256,
            video=video,
            audio=audio,
            subtitles=(*read_subtitles(path, container, warnings), *caption_tracks(video, packets)),
            chapters=read_chapters(container, bounds.start_s, bounds.end_s),
            warnings=tuple(warnings),
            copy=_copy_for(container.format.name, [packets[index] for index in used], copy),
        )


def _copy_for(container: str, tracks: Iterable[Packets], picture: Copy) -> Copy:
    """What a copy should put right: a clock that jumps back, else what the picture asks for.

    In MP4 and MOV nothing can be joined byte by byte; where an edit list repeats something, decoding times go back by
    intent.
    """
    joined = "mov" not in container.split(",") and any(track.turned_back for track in tracks)
    return Copy.CLOCK if joined else picture


def _check_header(container: InputContainer, limits: ProbeLimits) -> None:
    if len(container.streams) > limits.max_streams:
        raise TooLarge(
            f"The file has {len(container.streams)} tracks; at most {limits.max_streams} are taken. Remove some."
        )
    for stream in _picture_streams(container):
        context = stream.codec_context
        if context is not None:
            limits.check_pixels(context.width, context.height)


def _picture_streams(container: InputContainer) -> list[VideoStream]:
    """Picture tracks that are no cover pictures."""
    still = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
    return [stream for stream in container.streams.video if not stream.disposition & still]


def _why_no_picture(
    path: Path, container: InputContainer, pictures: list[VideoStream], packets: dict[int, Packets]
) -> str:
    if not any(len(packets[stream.index]) for stream in pictures):
        return f"The file declares a picture track but holds no frames of it. {WHAT_TO_DO}"
    names = _codec_names(path, container, pictures)
    return f"No frame of the picture track ({names}) can be decoded. Export the video again, as H.264 for example."


def _why_no_sound(path: Path, container: InputContainer) -> str:
    if not container.streams.audio:
        return f"The file has no track that can be played. {WHAT_TO_DO}"
    names = _codec_names(path, container, container.streams.audio)
    return f"The file has no picture, and its sound ({names}) cannot be decoded. Export it again, as AAC for example."


def _codec_names(path: Path, container: InputContainer, streams: Iterable[Stream]) -> str:
    """What tracks are coded by, as FFmpeg calls it, else as the file does."""
    codes = sample_descriptions(path) if _is_mov(container) else {}
    names = [codec_name(stream) or codes.get(stream.id, "").strip() for stream in streams]
    return ", ".join(dict.fromkeys(name if name.isprintable() and name else "an unknown codec" for name in names))


def _is_mov(container: InputContainer) -> bool:
    return "mov" in container.format.name.split(",")


def _first_playable(
    path: Path,
    pictures: list[VideoStream],
    packets: dict[int, Packets],
    limits: ProbeLimits,
    warnings: list[str],
) -> tuple[VideoTrack | None, Copy]:
    """The first picture track of which frames decode, and what a copy should put right of it."""
    for stream in pictures:
        table = packets[stream.index]
        if not len(table) or not codec_name(stream) or not stream.time_base:
            continue
        sample = PictureSample()
        with open_source(path) as container:
            twin = container.streams[stream.index]
            if not isinstance(twin, VideoStream):
                continue
            prepare(twin)
            sample_head(container, twin, sample)
            if sample.facts is None:
                continue
            limits.check_pixels(sample.facts.width, sample.facts.height)
            table = _whole_frames(table, sample)
            starts = _tried_starts(container, twin, table, sample, warnings)
        bounded = len(table) * sample.facts.width * sample.facts.height <= REORDER_PIXELS
        copy = Copy.NONE
        if len(timeline.decoding_starts(table)) > 1 and not len(starts):
            # Where all frames are marked as key frames, decoding tells which are.
            copy = Copy.ORDER if table.key.all() and bounded else Copy.INDEX
        if _contradict(table, sample):
            copy = Copy.ORDER if bounded or table.untimed else Copy.NONE
        times, starts = _frame_times(path, stream, table, sample, starts, warnings)
        if sample.facts.pixel_format == PALETTED:
            starts, copy = starts[:0], Copy.NONE
        if len(times):
            return _video_track(stream, table, sample.facts, sample, times, starts, limits, warnings), copy
    return None, Copy.NONE


def _whole_frames(table: Packets, sample: PictureSample) -> Packets:
    """The packets, those with second fields hidden where frames prove that there are such."""
    head = timeline.rising(sample.head_pts)
    if table.untimed or not sample.flagged or len(head) < 2:
        return table
    paired = timeline.without_second_fields(table, timeline.step_ticks(head))
    # Hidden by mistake, frames would be missing among those announced.
    return table if _contradict(paired, sample) else paired


def _tried_starts(
    container: InputContainer, stream: VideoStream, table: Packets, sample: PictureSample, warnings: list[str]
) -> Ticks:
    """Times at which decoding can start, tried in a few places; empty when trying shows that they cannot be trusted."""
    starts = timeline.decoding_starts(table)
    if len(starts) < 2:
        return starts
    tried = sorted({int(starts[max(1, int(share * len(starts)))]) for share in WINDOWS})
    good = [sample_window(container, stream, key, sample, all_keys=bool(table.key.all())) for key in tried]
    if not all(good):
        warnings.append("Decoding cannot start inside this file; it is decoded from its beginning each time.")
        return starts[:0]
    return starts


def _frame_times(
    path: Path, stream: VideoStream, table: Packets, sample: PictureSample, starts: Ticks, warnings: list[str]
) -> tuple[Ticks, Ticks]:
    """(times of the frames shown, times at which decoding can start), mended where packets and frames disagree."""
    times = timeline.shown_times(table)
    head = timeline.rising(sample.head_pts)
    if table.untimed:
        return times, starts
    if _contradict(table, sample):
        warnings.append("Timestamps go back or are missing; frames are shown in the order in which they decode.")
        most = _most_frames(sample)
        if len(table) <= most:
            with open_source(path) as container:
                twin = container.streams[stream.index]
                assert isinstance(twin, VideoStream)
                prepare(twin)
                times = timeline.rising(decode_times(container, twin, most))
                head = times[:1]
        if timeline.folds(table):
            starts = starts[:0]
    if not len(head):
        return times, starts
    late = int(np.searchsorted(times, head[0]))
    if late:
        warnings.append(f"The first {late} frames need data from before the file's start; they were left out.")
        times = times[late:]
    return _without_lost_tail(path, stream, table, times, starts, _most_frames(sample), warnings), starts


def _most_frames(sample: PictureSample) -> int:
    """How many frames a look may decode; larger tracks learn their order while they are copied."""
    facts = sample.facts
    return min(FULL_DECODE_FRAMES, FULL_DECODE_PIXELS // max(1, facts.width * facts.height)) if facts else 0


def _contradict(table: Packets, sample: PictureSample) -> bool:
    """Whether the packets' times are not those of the frames, in the order in which they decode."""
    head = timeline.rising(sample.head_pts)
    return timeline.folds(table) or not _agrees(timeline.shown_times(table), head, len(sample.head_pts))


def _agrees(times: Ticks, head: Ticks, decoded: int) -> bool:
    """Whether the first decoded frames are those that the packets announce, in rising order, but for damage."""
    if len(head) < decoded or not len(head):
        return False
    announced = times[(times >= head[0]) & (times <= head[-1])]
    return len(np.setdiff1d(head, announced)) == 0 and len(announced) <= 1.5 * len(head)


def _without_lost_tail(
    path: Path, stream: VideoStream, table: Packets, times: Ticks, starts: Ticks, most: int, warnings: list[str]
) -> Ticks:
    """Leave out frames at the end that a file cut short announces but does not hold."""
    cut_short = table.corrupt[-32:].any() or stream.frames > len(table)
    ahead = np.count_nonzero(table.pts >= starts[-1]) if len(starts) > 1 else len(table)
    if not cut_short or not len(times) or ahead > most:
        return times
    with open_source(path) as container:
        twin = container.streams[stream.index]
        assert isinstance(twin, VideoStream)
        prepare(twin)
        if len(starts) > 1:
            container.seek(int(starts[-1]), stream=twin)
        seen = [time for time in decode_times(container, twin, most) if time is not None]
    if seen:
        kept = times[times <= max(seen)]
        if len(kept) < len(times):
            warnings.append(f"The file was cut short: its last {len(times) - len(kept)} frames cannot be decoded.")
        return kept
    return times


def _video_track(
    stream: VideoStream,
    table: Packets,
    facts: FrameFacts,
    sample: PictureSample,
    times: Ticks,
    starts: Ticks,
    limits: ProbeLimits,
    warnings: list[str],
) -> VideoTrack:
    time_base = stream.time_base
    assert time_base
    limits.check_gap(times, time_base)
    hints = [stream.average_rate, stream.guessed_rate, stream.base_rate]
    rate, frames = timeline.fit_rate(times, time_base, hints)
    first = int(times[0])
    if rate is not None:
        end = first + max(1, round(frames / rate / time_base))
        step_s = 1 / rate
        still = timeline.holes(times, float((LEAST_HOLE_S + step_s) / time_base))
        if still:
            spans = [((gone - first) * time_base + step_s, (back - first) * time_base) for gone, back in still]
            warnings.append(f"The source has no frames {places(spans)} of its picture, which stands still there.")
    else:
        end = int(times[-1]) + _typical_step(table, times)
    if len(sample.sizes) > 1:
        warnings.append("The picture's size changes within the file; everything is scaled to the first size.")
    if facts.dolby_only:
        warnings.append(
            "The picture is Dolby Vision of a kind (profile 5) that is not converted here: its colours look wrong. "
            "Export it as HDR10, HLG or standard range."
        )
    if facts.colour.matrix in GUESSED_MATRICES:
        warnings.append(
            f"The picture's colours are coded by matrix {facts.colour.matrix} of H.273, and may look wrong."
        )
    if sample.errors:
        warnings.append(f"{sample.errors} packets among those tried do not decode.")
    return VideoTrack(
        stream=stream.index,
        codec=codec_name(stream),
        profile=stream.profile,
        width=facts.width,
        height=facts.height,
        pixel_format=facts.pixel_format,
        bit_depth=facts.bit_depth,
        sar=_sane_sar(stream),
        rotation=facts.rotation,
        mirrored=facts.mirrored,
        colour=facts.colour,
        interlaced=sample.interlaced,
        time_base=time_base,
        first_pts=first,
        end_pts=end,
        frame_rate=rate,
        average_rate=frames / ((end - first) * time_base) if rate is None else rate,
        typical_rate=1 / (_typical_step(table, times) * time_base) if rate is None else None,
        frames=frames,
        keyframe_pts=tuple(timeline.thinned(starts, LEAST_START_GAP_S / time_base).tolist()) or (first,),
    )


def _typical_step(table: Packets, times: Ticks) -> int:
    """Ticks between neighbouring frames of a track of variable rate, which is also how long its last one is shown."""
    known = table.duration[table.duration > 0]
    return max(1, round(timeline.step_ticks(times)) or (int(np.median(known)) if len(known) else 1))


def _sane_sar(stream: VideoStream) -> Fraction:
    """The shape of a sample; 1 for shapes that only broken headers have."""
    for ratio in (stream.sample_aspect_ratio, stream.codec_context.sample_aspect_ratio):
        if ratio and SANE_SAR[0] <= ratio <= SANE_SAR[1]:
            return Fraction(ratio)
    return Fraction(1)


def _sound_tracks(
    path: Path, container: InputContainer, packets: dict[int, Packets], warnings: list[str]
) -> tuple[AudioTrack, ...]:
    parts = [stream for stream in container.streams.audio if is_part(stream, container.format.name)]
    whole = [stream for stream in container.streams.audio if stream not in parts]
    if parts:
        numbers = ", ".join(str(stream.index) for stream in parts)
        warnings.append(
            f"Sound is told apart by direction: the tracks for more than two loudspeakers ({numbers}) were left out."
        )
    found = [read_sound(path, stream, packets[stream.index], warnings) for stream in whole]
    return tuple(track for track in found if track is not None)
