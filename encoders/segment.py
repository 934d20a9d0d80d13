"""One segment: decoded once, encoded in all renditions by a backend, written as final CMAF media segments, checked.

Rule: what lies in the folder after `encode_segment` has returned is what players will load; nothing is muxed again. It
does not depend on which worker made it, nor on what was encoded before.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from encoders.backends.base import Backend, BackendName, EncodedPicture, SegmentRequest
from encoders.backends.registry import open_backend
from encoders.bitstream import BITSTREAMS
from encoders.boxes import read_fragments
from encoders.cmaf import DecoderConfiguration, VideoSample, init_segment, media_segment
from encoders.errors import VerificationFailed
from encoders.ladder import Rendition
from encoders.look import Look
from encoders.media import MediaInfo
from encoders.plan import Grid, Plan, Segment
from encoders.recognition.listener import PictureListener
from encoders.scenes import Motion, measure_motion
from encoders.verify import verify_segment


@dataclass(frozen=True, slots=True, kw_only=True)
class IFrame:
    """Bytes [offset, offset + length) of a media segment hold output frame `frame`, an IDR picture, and its moof."""

    offset: int
    length: int
    frame: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaSegment:
    """One media segment of a rendition: its number from 1, and what its file holds."""

    number: int
    frames: int
    bytes: int
    sha256: str
    iframes: tuple[IFrame, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RenditionSegment:
    """What one segment of one rendition became.

    Attributes:
        init_sha256: of the init segment; the same in every segment of the rendition.
        parameter_sets_sha256: of what the encoder says once (SPS, PPS; VPS; AV1's sequence header); the same in every
            segment of the rendition.
        codec: RFC 6381 name.
        compared_frames: how many were decoded again and compared with what the backend was given (verify).
        worst_misfit: how far the worst of them was from that, in codes; None in records of earlier versions.
    """

    name: str
    init_sha256: str
    parameter_sets_sha256: str
    codec: str
    media: tuple[MediaSegment, ...]
    compared_frames: int = 0
    worst_misfit: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Luma:
    """Brightness of the source's pictures in a segment, codes from 16 (black) to 235 (white).

    Attributes:
        mean: over all frames.
        darkest, brightest: the means of single frames.
        flat_frames: frames of one even shade.
    """

    mean: float
    darkest: float
    brightest: float
    flat_frames: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentResult:
    """What `encode_segment` made.

    Attributes:
        frames: output frames in each rendition.
        renditions: from small to large.
        worst_misfit: how far the worst picture that was decoded again is from the source's, in codes (verify).
        encode_s: processor seconds of this process, verification included.
        warnings: what was concealed, one sentence each.
        concealed_frames: output frames that show something else than the source meant, since it did not decode.
        picture_marks: hashes of sampled pictures (`PictureListener.marks`). In the record and not beside it: 17 KB for
            12 s, and so it is there if and only if the segment is done.
        motion: what scene cuts are found by (scenes); None in records of earlier versions.
    """

    index: int
    frames: int
    renditions: tuple[RenditionSegment, ...]
    luma: Luma
    worst_misfit: float
    encode_s: float
    warnings: tuple[str, ...]
    concealed_frames: int = 0
    picture_marks: str = ""
    motion: Motion | None = None


def encode_segment(
    source: Path,
    info: MediaInfo,
    plan: Plan,
    segment: Segment,
    out: Path,
    backend: BackendName = BackendName.CPU,
    threads: int = 1,
    lane: Backend | None = None,
) -> SegmentResult:
    """Encode one segment of an asset.

    Args:
        source: local file, opened in this process: run this confined.
        out: folder that gets `<rendition>/init.mp4` and `<rendition>/<number>.m4s`, five digits, numbers from 1 over
            the whole asset; made when absent, files of an earlier attempt are replaced.
        threads: cores to use.
        lane: an open backend of that name to encode with, as an earlier segment has left it; None opens one.

    Raises:
        InputError: the source cannot be decoded here.
        BackendUnavailable: this host cannot run the backend.
        VerificationFailed: what came out is not what was planned. After any error `out` may hold files of no use.
    """
    begin = time.process_time()
    if info.video is None or plan.grid is None:
        raise ValueError("an asset without picture has no segments")
    lane = lane or open_backend(backend)
    look, marks = Look(), PictureListener(plan.grid.fps)
    listeners = (look.take, marks.take)

    def tap(number: int, luma: npt.NDArray[np.uint8]) -> None:
        for listener in listeners:
            listener(number, luma)

    request = SegmentRequest(source=source, video=info.video, plan=plan, segment=segment, threads=threads, tap=tap)
    writers = {rendition.name: _Writer(rendition, plan.grid, segment, out) for rendition in plan.renditions}
    for picture in lane.encode(request):
        writers[picture.rendition].take(picture, lane)
    renditions = tuple(writer.finish() for writer in writers.values())
    compared = verify_segment(plan, segment, out, look)
    renditions = tuple(
        replace(each, compared_frames=measured.frames, worst_misfit=measured.worst_misfit)
        for each in renditions
        for measured in [compared[each.name]]
    )
    return SegmentResult(
        index=segment.index,
        frames=segment.frames,
        renditions=renditions,
        luma=Luma(mean=look.mean, darkest=look.darkest, brightest=look.brightest, flat_frames=look.flat_frames),
        worst_misfit=max(each.worst_misfit for each in compared.values()),
        encode_s=time.process_time() - begin,
        warnings=lane.warnings(),
        concealed_frames=min(segment.frames, request.damage.frames),
        picture_marks=marks.marks(),
        motion=measure_motion(look.frames),
    )


class _Writer:
    """Collects the pictures of one rendition and writes a media segment as soon as it is whole."""

    def __init__(self, rendition: Rendition, grid: Grid, segment: Segment, out: Path) -> None:
        self._rendition, self._grid, self._segment = rendition, grid, segment
        self._folder = out / rendition.name
        self._folder.mkdir(parents=True, exist_ok=True)
        self._form = BITSTREAMS[rendition.codec]
        self._sets: DecoderConfiguration | None = None
        self._gops: list[list[VideoSample]] = []
        self._next = segment.start
        self._media: list[MediaSegment] = []

    def take(self, picture: EncodedPicture, lane: Backend) -> None:
        if self._sets is None:
            self._sets = self._read_sets(lane.extradata(self._rendition.name))
        if picture.idr:
            held = sum(map(len, self._gops))
            if held and held >= self._grid.media_segment_frames:
                self._write()
            self._gops.append([])
        if not self._gops:
            raise VerificationFailed(f"{self._rendition.name}: the first picture, {picture.pts}, is no IDR picture")
        self._gops[-1].append(VideoSample(data=self._form.sample_of(picture.data), frame=picture.pts))

    def _read_sets(self, extradata: bytes) -> DecoderConfiguration:
        try:
            return self._form.configuration(extradata)
        except ValueError as error:
            raise VerificationFailed(f"{self._rendition.name}: the encoder's parameter sets: {error}") from error

    def finish(self) -> RenditionSegment:
        if self._gops:
            self._write()
        if self._sets is None:
            raise VerificationFailed(f"{self._rendition.name}: the encoder gave no picture")
        width, height = self._rendition.width, self._rendition.height
        init = init_segment(self._sets, width, height, self._grid.fps, self._form.reorder_frames)
        (self._folder / "init.mp4").write_bytes(init)
        return RenditionSegment(
            name=self._rendition.name,
            init_sha256=hashlib.sha256(init).hexdigest(),
            parameter_sets_sha256=hashlib.sha256(b"".join(self._sets.units)).hexdigest(),
            codec=self._sets.codec,
            media=tuple(self._media),
        )

    def _write(self) -> None:
        number = self._segment.first_media + len(self._media) + 1
        first, frames = self._next, sum(map(len, self._gops))
        sequence, late = first // self._grid.gop_frames + 1, self._form.reorder_frames
        data = media_segment(self._gops, first, sequence, self._grid.fps, late)
        (self._folder / f"{number:05d}.m4s").write_bytes(data)
        self._media.append(
            MediaSegment(
                number=number,
                frames=frames,
                bytes=len(data),
                sha256=hashlib.sha256(data).hexdigest(),
                iframes=_iframes(data, first, self._gops),
            )
        )
        self._next += frames
        self._gops = []


def _iframes(data: bytes, first: int, gops: Sequence[Sequence[VideoSample]]) -> tuple[IFrame, ...]:
    found, frame = [], first
    for fragment, gop in zip(read_fragments(data), gops, strict=True):
        end = fragment.samples[0].offset + fragment.samples[0].size
        found.append(IFrame(offset=fragment.start, length=end - fragment.start, frame=frame))
        frame += len(gop)
    return tuple(found)
