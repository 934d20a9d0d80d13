"""The encoders of a whole ladder on the cores: x264, x265 and SVT-AV1, over one segment.

Which library encodes a rendition is its codec's matter; what goes in and comes out is the same for all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from encoders.backends.base import EncodedPicture
from encoders.backends.svtav1 import header_in, open_svtav1, svt_identity
from encoders.backends.x264 import open_x264, tail_frames, x264_identity
from encoders.backends.x265 import hevc_tail_frames, open_x265, x265_identity
from encoders.ladder import Codec, Rendition
from encoders.plan import Grid, Segment
from encoders.tuning import tuning_of

_IDENTITIES = {Codec.H264: x264_identity, Codec.HEVC: x265_identity, Codec.AV1: svt_identity}


def software_identity(preset: str, codecs: Iterable[Codec] = (Codec.H264,)) -> str:
    """Version and settings of every encoder that these codecs need, in one name."""
    wanted = set(codecs)
    return "+".join(identity(preset) for codec, identity in _IDENTITIES.items() if codec in wanted)


def tail_of(codec: Codec, preset: str, threads: int) -> int:
    """Frames after a segment that a codec's encoder must see before it has given out all of the segment's pictures."""
    if codec is Codec.AV1:
        return 0
    return hevc_tail_frames(preset, threads) if codec is Codec.HEVC else tail_frames(preset, threads)


class SoftwareLadder:
    """One encoder for each rendition. Pictures in, in order; `finish` when there are no more."""

    def __init__(
        self, renditions: Sequence[Rendition], grid: Grid, segment: Segment, preset: str, threads: int
    ) -> None:
        """Args: threads: frame threads of each encoder, where the codec's encoder has any."""
        self._encoders = {each.name: _RenditionEncoder(each, grid, segment, preset, threads) for each in renditions}
        self.seen_until = max((each.seen_until for each in self._encoders.values()), default=segment.end)

    @property
    def done(self) -> bool:
        """Whether all pictures of the segment have come out."""
        return not any(encoder.due for encoder in self._encoders.values())

    def encode(self, number: int, pictures: Sequence[VideoFrame]) -> Iterator[EncodedPicture]:
        """Take one output frame: of the segment, or of those after it up to `seen_until`, which are only looked at.

        Args:
            number: of the output frame.
            pictures: yuv420p of each rendition, from small to large; their times and types are overwritten.
        """
        for encoder, picture in zip(self._encoders.values(), pictures, strict=True):
            yield from encoder.encode(number, picture)

    def finish(self) -> Iterator[EncodedPicture]:
        """What the encoders still hold of the segment."""
        for encoder in self._encoders.values():
            yield from encoder.finish()

    def extradata(self, rendition: str) -> bytes:
        """Parameter sets of a rendition, once its first picture is out."""
        return self._encoders[rendition].extradata


class _RenditionEncoder:
    """The encoder of one rendition. It is given no more frames once all of the segment's pictures are out."""

    def __init__(self, rendition: Rendition, grid: Grid, segment: Segment, preset: str, threads: int) -> None:
        self._rendition, self._grid, self._end = rendition, grid, segment.end
        self._context = _open(rendition, grid, preset, threads)
        self.due = segment.frames
        self.seen_until = min(grid.frames, segment.end + tail_of(rendition.codec, preset, threads))
        self._extradata = b""

    def encode(self, number: int, picture: VideoFrame) -> Iterator[EncodedPicture]:
        if not self.due:
            return
        if number >= self.seen_until:
            yield from self.finish()
            return
        picture.pts, picture.time_base = number, 1 / self._grid.fps
        # A decoder's picture types would be taken for orders.
        picture.pict_type = 0
        yield from self._out(picture)

    def finish(self) -> Iterator[EncodedPicture]:
        if self.due:
            yield from self._out(None)
            self.due = 0  # what has not come now never comes; verification will miss it

    @property
    def extradata(self) -> bytes:
        return self._extradata or self._context.extradata or b""

    def _out(self, picture: VideoFrame | None) -> Iterator[EncodedPicture]:
        name, codec = self._rendition.name, self._rendition.codec
        for packet in self._context.encode(picture):
            assert packet.pts is not None
            assert packet.dts is not None
            if packet.pts >= self._end:
                continue
            data = bytes(packet)
            if codec is Codec.AV1 and not self._extradata:
                self._extradata = header_in(data)
            self.due -= 1
            yield EncodedPicture(rendition=name, data=data, pts=packet.pts, dts=packet.dts, idr=packet.is_keyframe)


def _open(rendition: Rendition, grid: Grid, preset: str, threads: int) -> VideoCodecContext:
    match rendition.codec:
        case Codec.HEVC:
            return open_x265(rendition, grid, preset, threads)
        case Codec.AV1:
            return open_svtav1(rendition, grid, preset)
        case _:
            return open_x264(rendition, grid, tuning_of(preset, rendition.width, rendition.height), threads)
