"""The `cpu` backend: FFmpeg decodes and scales, x264, x265 and SVT-AV1 encode. Runs on every host."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
from av.video.frame import VideoFrame

from encoders.backends.base import BackendName, Capability, EncodedPicture, SegmentRequest
from encoders.backends.frames import FIELD_MARGIN_FRAMES, FrameReader, deinterlaced
from encoders.backends.painter import Painter
from encoders.backends.software import SoftwareLadder, software_identity
from encoders.backends.svtav1 import svt_version
from encoders.backends.witness import Witness
from encoders.backends.x264 import x264_version
from encoders.backends.x265 import x265_version
from encoders.cuts import RESTARTABLE
from encoders.damage import places
from encoders.errors import Damaged
from encoders.ladder import Codec
from encoders.timing import FrameClock, lay_on_grid


class CpuBackend:
    """One segment at a time, in the calling thread; equal requests give equal bytes for an equal number of threads."""

    name = BackendName.CPU

    def __init__(self) -> None:
        self._ladder: SoftwareLadder | None = None
        self._warnings: tuple[str, ...] = ()

    def encoder_id(self, preset: str, codecs: Iterable[Codec] = (Codec.H264,)) -> str:
        """Versions of the codecs' encoders and their settings."""
        return software_identity(preset, codecs)

    def encode(self, request: SegmentRequest) -> Iterator[EncodedPicture]:
        """Encode one segment.

        Raises:
            Damaged: no frame decodes, in the segment or before it.
            InputError: the source cannot be opened, or asks for too much memory.
        """
        grid = request.plan.grid
        if grid is None:
            raise ValueError("an asset without picture has no segments")
        self._warnings = ()
        plan = request.plan
        self._ladder = SoftwareLadder(plan.renditions, grid, request.segment, plan.preset, request.threads)
        clock = FrameClock.of(request.video, grid)
        with FrameReader(request.source, request.video, request.threads) as reader:
            yield from self._pictures(request, clock, reader, self._ladder)
            self._warnings = concealed(request, clock, reader.witness)

    def _pictures(
        self, request: SegmentRequest, clock: FrameClock, reader: FrameReader, ladder: SoftwareLadder
    ) -> Iterator[EncodedPicture]:
        """The segment's pictures. Frames after it are read until the encoders have given out all of them."""
        segment = request.segment
        longer = replace(request, segment=replace(segment, end=ladder.seen_until))
        painter = Painter(request.video, request.plan.renditions)
        last: VideoFrame | None = None
        pictures: list[VideoFrame] = []
        for number, frame in read_on_grid(longer, clock, reader):
            if frame is not last:
                last, pictures = frame, painter.paint(frame)
            if request.tap is not None and number < segment.end:
                plane = pictures[0].planes[0]
                luma = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
                request.tap(number, luma[: plane.height, : plane.width])
            yield from ladder.encode(number, pictures)
            if ladder.done:
                return
        if last is None:
            raise Damaged("No picture of the file decodes. Export it again.")
        yield from ladder.finish()

    def extradata(self, rendition: str) -> bytes:
        """Parameter sets of the rendition encoded last, Annex B, or AV1's sequence header."""
        return self._ladder.extradata(rendition) if self._ladder is not None else b""

    def warnings(self) -> tuple[str, ...]:
        """What was concealed in the segment encoded last."""
        return self._warnings


def capability() -> Capability:
    """What this host can do without a GPU: everything, on its cores."""
    versions = f"x264 {x264_version()}, x265 {x265_version()}, SVT-AV1 ({svt_version()})"
    return Capability(
        name=BackendName.CPU,
        available=True,
        encodes=tuple(Codec),
        detail={"encoder": versions},
    )


def read_on_grid(request: SegmentRequest, clock: FrameClock, reader: FrameReader) -> Iterator[tuple[int, VideoFrame]]:
    """The segment's output frames; from the start of the file where nothing decodes from the key frame on."""
    video, segment = request.video, request.segment
    margin = FIELD_MARGIN_FRAMES if video.interlaced else 0
    start = None
    if video.codec in RESTARTABLE:
        start = clock.start_of_decoding(video.keyframe_pts, segment.start - margin)
    for from_pts in (start, None) if start is not None else (None,):
        frames = reader.frames(from_pts)
        if video.interlaced:
            frames = deinterlaced(frames, video.time_base)
        found = False
        for laid in lay_on_grid(
            ((clock.position(frame.pts or 0), frame) for frame in frames), segment.start, segment.end
        ):
            found = True
            yield laid
        if found:
            return


def concealed(request: SegmentRequest, clock: FrameClock, witness: Witness | None) -> tuple[str, ...]:
    """What was damaged within the segment, as sentences; `request.damage` counts it."""
    if witness is None:
        return ()
    segment = request.segment
    fps = request.plan.grid.fps if request.plan.grid is not None else Fraction(1)

    def inside(times: Sequence[int | None]) -> list[int | None]:
        positions = [None if pts is None else clock.position(pts) for pts in times]
        return [position for position in positions if position is None or segment.start <= position < segment.end]

    def where(positions: list[int | None]) -> str:
        return places((position / fps, (position + 1) / fps) for position in positions if position is not None)

    found = []
    for times, what in (
        (witness.lost, "did not decode: the one before was held"),
        (witness.damaged, "came damaged: concealed by the decoder"),
        (witness.followers, "refer to damaged ones and may show the damage, up to the next key frame"),
    ):
        if positions := inside(times):
            request.damage.frames += len(positions)
            found.append(f"{_pictures(len(positions))} of segment {segment.index}, {where(positions)}, {what}")
    if positions := inside(witness.unexplained):
        found.append(f"by a checksum of the file something is damaged {where(positions)}: nothing tells which pictures")
    return tuple(found)


def _pictures(count: int) -> str:
    return f"{count} picture{'s' if count > 1 else ''}"
