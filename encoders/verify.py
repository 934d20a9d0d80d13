"""Is this segment what was planned? Read again from its files, as a player would, before anything of it counts.

Checked for every rendition: number and order of frames, decode times, key pictures on the grid and nowhere else, the
init segment that decodes them. The smallest rendition of each codec is decoded in full and each frame compared with
what the backend was given; of the others the first picture of each media segment. That costs about 2 % of encoding.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import av.error
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter

from encoders.bitstream import BITSTREAMS, Bitstream
from encoders.boxes import Fragment, MalformedBoxes, read_fragments
from encoders.cmaf import ticks_per_frame
from encoders.errors import VerificationFailed
from encoders.ladder import Rendition
from encoders.look import Look
from encoders.plan import Grid, Plan, Segment

MAX_MISFIT = 16.0
"""Codes of luma by which block means may differ. Coding at the lowest rates stays below 4; a black, grey or foreign
picture in place of the right one differs by 20 and more, unless that too is nearly black."""
SEGMENT_CHECKS = ("frame_order", "decode_times", "idr_grid", "one_fragment_each_gop", "decodes", "matches_source")
"""What has been seen of every segment of a rendition before it counts; names for `asset.json` (docs/asset.md)."""
TINY_SIDE, TINY_MISFIT = 32, 64.0
"""Renditions with a shorter side than this have so few samples that coding noise is not averaged out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """How one rendition of a segment compares with what the backend was given: frames decoded, the largest misfit."""

    frames: int
    worst_misfit: float


def verify_segment(plan: Plan, segment: Segment, out: Path, look: Look) -> dict[str, Compared]:
    """Check the files that `encode_segment` wrote.

    Args:
        look: what the backend was given.

    Returns:
        what was measured of each rendition, by its name; misfits in codes of luma.

    Raises:
        VerificationFailed: with rendition, media segment and what is wrong.
    """
    if plan.grid is None:
        raise ValueError("an asset without picture has no segments")
    compare = _Comparison(look, plan.renditions[0])
    smallest = {rendition.codec: rendition.name for rendition in reversed(plan.renditions)}
    return {
        rendition.name: _verify_rendition(
            rendition, plan.grid, segment, out, compare, every_frame=smallest[rendition.codec] == rendition.name
        )
        for rendition in plan.renditions
    }


class _Comparison:
    """Compares decoded frames of any rendition with what was seen of them in the smallest."""

    def __init__(self, look: Look, smallest: Rendition) -> None:
        self._look, self._size = look, (smallest.width, smallest.height)
        self._scaler = VideoReformatter()
        self.most = MAX_MISFIT if min(self._size) >= TINY_SIDE else TINY_MISFIT

    def misfit(self, number: int, frame: VideoFrame) -> float:
        if (frame.width, frame.height) != self._size:
            frame = self._scaler.reformat(frame, *self._size, interpolation=Interpolation.AREA)
        plane = frame.planes[0]
        luma = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        return self._look.misfit(number, luma[: plane.height, : plane.width])


def _verify_rendition(
    rendition: Rendition, grid: Grid, segment: Segment, out: Path, compare: _Comparison, every_frame: bool
) -> Compared:
    folder, worst, frames, form = out / rendition.name, 0.0, 0, BITSTREAMS[rendition.codec]
    init = (folder / "init.mp4").read_bytes()
    for start, number in _media_segments(grid, segment):
        name = f"{rendition.name}/{number:05d}.m4s"
        end = min(start + grid.media_segment_frames, segment.end)
        try:
            data = (folder / f"{number:05d}.m4s").read_bytes()
            fragments = read_fragments(data)
        except (OSError, MalformedBoxes) as error:
            raise VerificationFailed(f"{name}: {error}") from error
        _check_structure(name, data, fragments, form, grid, start, end)
        _check_repeated(name, data, fragments, form, init)
        first = fragments[0].samples[0]
        piece = data if every_frame else data[: first.offset + first.size]
        decoded_end = end if every_frame else start + 1
        worst = max(worst, _check_pictures(name, init, piece, start, decoded_end, compare))
        frames += decoded_end - start
    return Compared(frames=frames, worst_misfit=worst)


def _media_segments(grid: Grid, segment: Segment) -> Iterator[tuple[int, int]]:
    """(first output frame, number) of each media segment in a segment."""
    starts = range(segment.start, segment.end, grid.media_segment_frames)
    return zip(starts, range(segment.first_media + 1, segment.first_media + 1 + len(starts)), strict=True)


def _check_structure(
    name: str, data: bytes, fragments: tuple[Fragment, ...], form: Bitstream, grid: Grid, start: int, end: int
) -> None:
    """Frames [start, end), each once; decode times without a step; key pictures at the grid's places only."""
    ticks = ticks_per_frame(grid.fps)
    samples = [sample for fragment in fragments for sample in fragment.samples]
    decoded = [sample.decode_time for sample in samples]
    if decoded != [frame * ticks for frame in range(start, end)]:
        raise VerificationFailed(f"{name}: {len(samples)} pictures do not take frames {start} to {end - 1} in order")
    late = form.reorder_frames * ticks
    shown = sorted(sample.decode_time + sample.composition_offset - late for sample in samples)
    if shown != decoded:
        raise VerificationFailed(f"{name}: frames {start} to {end - 1} are not each shown once")
    for frame, sample in enumerate(samples, start):
        idr = form.starts_with_key(data[sample.offset : sample.offset + min(sample.size, 4096)])
        due = (frame - start) % grid.gop_frames == 0
        if idr != due or sample.sync != due:
            raise VerificationFailed(f"{name}: picture {frame} {'is no' if due else 'is an'} IDR picture")
    if [len(fragment.samples) for fragment in fragments] != [
        min(grid.gop_frames, end - at) for at in range(start, end, grid.gop_frames)
    ]:
        raise VerificationFailed(f"{name}: fragments are not one for each GOP")


def _check_repeated(name: str, data: bytes, fragments: tuple[Fragment, ...], form: Bitstream, init: bytes) -> None:
    """Parameter sets in the samples are the init segment's, which every other segment has too."""
    for fragment in fragments:
        for sample in fragment.samples:
            for unit in form.repeated(data[sample.offset : sample.offset + sample.size]):
                if unit not in init:
                    raise VerificationFailed(f"{name}: a picture brings parameter sets that the init segment has not")


def _check_pictures(name: str, init: bytes, piece: bytes, start: int, end: int, compare: _Comparison) -> float:
    """Decode a piece with nothing but the init segment, and compare each frame with what was given to the encoder."""
    worst, number = 0.0, start
    try:
        for frame in _decode(init + piece):
            if number < end:
                if frame.is_corrupt:
                    raise VerificationFailed(f"{name}: frame {number} does not decode cleanly")
                misfit = compare.misfit(number, frame)
                if misfit > compare.most:
                    raise VerificationFailed(
                        f"{name}: frame {number} is {misfit:.0f} codes from the picture it was made of"
                    )
                worst = max(worst, misfit)
            number += 1
    except (av.FFmpegError, ValueError) as error:
        raise VerificationFailed(f"{name}: does not decode: {error}") from error
    if number != end:
        raise VerificationFailed(f"{name}: {number - start} frames decode, {end - start} are due")
    return worst


def _decode(data: bytes) -> Iterator[VideoFrame]:
    with av.open(io.BytesIO(data), "r", format="mp4") as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        stream.thread_type = "NONE"
        yield from container.decode(stream)
