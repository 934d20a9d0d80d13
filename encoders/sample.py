"""Decoding a little of a source: proof that it decodes, and what only decoded frames tell.

Size, pixel format, colour, orientation and fields come from frames, because containers lie about all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import islice
from typing import Any, cast

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.filter import Graph
from av.packet import Packet
from av.sidedata.sidedata import SideData
from av.sidedata.sidedata import Type as SideDataType
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream

from encoders.demux import MAX_PIXELS, MEDIA_ERRORS, packets_from
from encoders.media import UNSPECIFIED, Colour, ColourRange
from encoders.scan import codec_name

HEAD_FRAMES = 24
HEAD_PACKETS = 900
"""A source that gives no frame within this many packets is taken for one that does not decode: 30 s at 30 fps."""
WINDOW_FRAMES = 10
FIELD_HEIGHTS = frozenset((480, 486, 512, 576, 608, 1080, 1088))
"""Heights of interlaced pictures: fields do not survive scaling, so other heights hold none. Fine patterns that move
look like fields to any detector. Source: ITU-R BT.601, BT.709 part 2, SMPTE ST 314 and 125."""

# Source: ITU-T H.273 (2021), tables 2, 3 and 4: codes that are assigned.
PRIMARIES = frozenset((1, 4, 5, 6, 7, 8, 9, 10, 11, 12, 22))
TRANSFERS = frozenset((1, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18))
MATRICES = frozenset((0, 1, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14))
FULL_RANGE = 2
"""AVCOL_RANGE_JPEG."""
HOLD_BACK = frozenset(("h264", "hevc", "vvc", "av1"))
"""Codecs that may start at pictures which are whole only after a while (recovery points, gradual refresh); their
decoders give out none that is not. Others decode whatever they are told to start with."""
PREDICTED = frozenset((PictureType.P, PictureType.B, PictureType.S, PictureType.SP))
DOLBY = frozenset((SideDataType.DOVI_METADATA, SideDataType.DOVI_RPU_BUFFER))
MOST_SIDE_DATA = 64
"""Kinds of side data that a frame can have, and some to come. Source: AVFrameSideDataType, 32 of them in FFmpeg 8."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameFacts:
    """What the first decoded frame is.

    Attributes:
        dolby_only: in colours that nothing but a decoder of Dolby Vision shows rightly.
    """

    width: int
    height: int
    pixel_format: str
    bit_depth: int
    colour: Colour
    rotation: int
    mirrored: bool
    dolby_only: bool = False


@dataclass(slots=True)
class PictureSample:
    """What a few decoded stretches of a picture track showed.

    Attributes:
        facts: of the first frame; None when nothing decodes.
        head_pts: times of the first frames, in the order in which the decoder gave them out.
        sizes: sizes met.
        errors: packets that did not decode.
        flagged, plain: frames that say that they are interlaced, or not.
        verdicts: of the content: "tff", "bff", "progressive", "undetermined" -> frames.
    """

    facts: FrameFacts | None = None
    head_pts: list[int | None] = field(default_factory=list)
    sizes: set[tuple[int, int]] = field(default_factory=set)
    errors: int = 0
    flagged: int = 0
    plain: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)

    @property
    def interlaced(self) -> bool:
        """Fields, by flags unless the content clearly says otherwise."""
        fields = self.verdicts["tff"] + self.verdicts["bff"]
        if self.flagged > self.plain:
            # Fields that move slowly look progressive, and a film may have an interlaced title: the flags are
            # overruled only if the content says so at its head and at most of the places looked at further on.
            return not (fields == 0 and self.verdicts["progressive"] >= HEAD_FRAMES + 2 * WINDOW_FRAMES)
        one_order = max(self.verdicts["tff"], self.verdicts["bff"]) >= 0.9 * fields
        return fields >= 12 and one_order and fields >= 0.6 * self.verdicts.total()


def prepare(stream: VideoStream | AudioStream) -> None:
    """Bound a stream's decoder before its first use: pixels, and threads that cost memory."""
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
    stream.codec_context.thread_count = 2
    stream.codec_context.thread_type = "AUTO"


def decode(packets: Iterable[Packet[Any]], max_packets: int, errors: list[str]) -> Iterator[Any]:
    """Frames of one track's packets; packets that do not decode are passed over, and told in `errors`."""
    for number, packet in enumerate(packets):
        if number >= max_packets:
            return
        try:
            yield from packet.decode()
        except MEDIA_ERRORS as error:
            errors.append(str(error))


def sample_head(container: InputContainer, stream: VideoStream, sample: PictureSample) -> None:
    """Decode the track's first frames into `sample`; the container must stand at its start."""
    errors: list[str] = []
    with closing(_Onlooker(sample)) as onlooker:
        try:
            for frame in islice(decode(container.demux(stream), HEAD_PACKETS, errors), HEAD_FRAMES):
                sample.facts = sample.facts or describe_frame(frame, stream)
                sample.head_pts.append(frame.pts)
                onlooker.look(frame)
        except MEDIA_ERRORS as error:
            errors.append(str(error))
    sample.errors += len(errors)


def sample_window(
    container: InputContainer, stream: VideoStream, key_pts: int, sample: PictureSample, *, all_keys: bool = False
) -> bool:
    """Decode a few frames from a key frame on into `sample`.

    Args:
        all_keys: the container marks all frames as key frames, which is true for some codecs only.

    Returns:
        Whether the key frame's own picture came out, and is one: decoding can start there.
    """
    codec = codec_name(stream)
    trusting = not all_keys or codec in HOLD_BACK or stream.codec_context.codec.intra_only
    found, seen = False, 0
    with closing(_Onlooker(sample)) as onlooker:
        try:
            for frame in decode(packets_from(container, stream, key_pts), HEAD_PACKETS, []):
                if frame.pts == key_pts and starts_afresh(frame, codec):
                    found = found or trusting or tells_its_kind(frame)
                if frame.pts is not None and frame.pts >= key_pts:
                    onlooker.look(frame)
                    seen += 1
                if seen >= WINDOW_FRAMES:
                    break
        except MEDIA_ERRORS:
            return found
    return found


def starts_afresh(frame: VideoFrame, codec: str) -> bool:
    """Whether a frame from which decoding began owes nothing to earlier ones, whatever the container says of it.

    Args:
        codec: FFmpeg's name of it.
    """
    return codec in HOLD_BACK or frame.key_frame or frame.pict_type not in PREDICTED


def tells_its_kind(frame: VideoFrame) -> bool:
    """Whether a decoder says what a frame owes to others; those of Cinepak and of screen codecs often do not."""
    return bool(frame.key_frame) or frame.pict_type != PictureType.NONE


def decode_times(container: InputContainer, stream: VideoStream, max_packets: int) -> list[int | None]:
    """Times of all frames in the order in which the decoder gives them out; the container must stand at its start."""
    times: list[int | None] = []
    try:
        times.extend(frame.pts for frame in decode(container.demux(stream), max_packets, []))
    except MEDIA_ERRORS:
        return times
    return times


class _Onlooker:
    """Counts what successive frames show into a sample; holds no frame, since 8K ones are large."""

    def __init__(self, sample: PictureSample) -> None:
        self._sample = sample
        self._judge: FieldJudge | None = None
        self._size: tuple[int, int] | None = None

    def look(self, frame: VideoFrame) -> None:
        """Take one more frame into account."""
        size = (frame.width, frame.height)
        self._sample.sizes.add(size)
        self._sample.flagged += frame.interlaced_frame
        self._sample.plain += not frame.interlaced_frame
        if self._size is None:
            self._size = size
            self._judge = FieldJudge(frame) if frame.height in FIELD_HEIGHTS else None
        if self._judge is not None and size == self._size:
            self._judge.push(frame)

    def close(self) -> None:
        """Add the verdicts on fields."""
        if self._judge is not None:
            self._sample.verdicts.update(self._judge.finish())


class FieldJudge:
    """FFmpeg's `idet` on neighbouring frames of one size and format. Once something fails, it says nothing more."""

    def __init__(self, first: VideoFrame) -> None:
        self._verdicts: Counter[str] = Counter()
        self._graph: Graph | None = Graph()
        source = self._graph.add_buffer(
            width=first.width, height=first.height, format=first.format, time_base=first.time_base or Fraction(1, 1000)
        )
        detector, sink = self._graph.add("idet"), self._graph.add("buffersink")
        source.link_to(detector)
        detector.link_to(sink)
        try:
            self._graph.configure()
        except MEDIA_ERRORS:
            self._graph = None

    def push(self, frame: VideoFrame | None) -> None:
        """Judge one more frame; None at the end."""
        if self._graph is None:
            return
        try:
            self._graph.push(frame)
            while True:
                judged = cast(VideoFrame, self._graph.pull())
                self._verdicts[judged.metadata.get("lavfi.idet.multiple.current_frame", "undetermined")] += 1
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        except MEDIA_ERRORS:
            self._graph = None

    def finish(self) -> Counter[str]:
        """Verdict -> number of frames: "tff", "bff", "progressive", "undetermined"."""
        self.push(None)
        return self._verdicts


def describe_frame(frame: VideoFrame, stream: VideoStream) -> FrameFacts:
    """Facts of a decoded frame; what it leaves open is taken from the stream."""
    rotation, mirrored = orientation(_display_matrix(frame))
    components, colour = frame.format.components, _colour(frame, stream)
    return FrameFacts(
        width=frame.width,
        height=frame.height,
        pixel_format=frame.format.name,
        bit_depth=max((component.bits for component in components), default=8),
        colour=colour,
        rotation=rotation,
        mirrored=mirrored,
        dolby_only=is_dolby_only((data.type for data in _side_data(frame)), colour),
    )


def is_dolby_only(beside: Iterable[SideDataType], colour: Colour) -> bool:
    """Whether a frame with these kinds of side data is Dolby Vision of profile 5, coded as intensity and two axes.

    Other profiles say what their base layer is, HDR10, HLG or SDR, which is what is read of them; profile 5 has none
    that could be said. Source: Dolby Vision Streams Within the ISO Base Media File Format 2.3, section 3 and annex C.
    """
    unsaid = (colour.primaries, colour.transfer, colour.matrix) == (UNSPECIFIED,) * 3
    return unsaid and not DOLBY.isdisjoint(beside)


def _colour(frame: VideoFrame, stream: VideoStream) -> Colour:
    context = stream.codec_context
    rgb = frame.format.is_rgb or frame.format.name.startswith(("gbr", "pal8"))
    full = rgb or _code(frame, "color_range") == FULL_RANGE or frame.format.name.startswith("yuvj")
    return Colour(
        range=ColourRange.FULL if full else ColourRange.LIMITED,
        primaries=_assigned(PRIMARIES, _code(frame, "color_primaries"), _code(context, "color_primaries")),
        transfer=_assigned(TRANSFERS, _code(frame, "color_trc"), _code(context, "color_trc")),
        matrix=0 if rgb else _assigned(MATRICES, _code(frame, "colorspace"), _code(context, "colorspace")),
    )


def _code(thing: object, name: str) -> int:
    try:
        return int(getattr(thing, name))
    except (ValueError, TypeError, OverflowError):
        return UNSPECIFIED  # PyAV refuses codes that are in none of its enumerations


def _assigned(known: frozenset[int], *codes: int) -> int:
    return next((code for code in codes if code in known), UNSPECIFIED)


def _display_matrix(frame: VideoFrame) -> tuple[int, int, int, int]:
    for data in _side_data(frame):
        if data.type == SideDataType.DISPLAYMATRIX and data.buffer_size >= 36:
            a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].tolist()
            return a, b, c, d
    return 1, 0, 0, 1


def _side_data(frame: VideoFrame) -> Iterable[SideData]:
    """What a frame carries beside its picture.

    One kind that PyAV has no name for makes it refuse all of them: Exif of a camera's JPEG, views of spatial HEVC.
    Such kinds are taken off by a filter first.
    """
    # A mapping by type whose iteration gives the values, whatever the annotations say.
    try:
        return cast(Iterable[SideData], frame.side_data)
    except ValueError:
        return cast(Iterable[SideData], _without(frame, range(len(SideDataType), MOST_SIDE_DATA)).side_data)


def _without(frame: VideoFrame, kinds: Iterable[int]) -> VideoFrame:
    graph = Graph()
    last = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1, 1000)
    )
    for name, arguments in [*(("sidedata", f"mode=delete:type={kind}") for kind in kinds), ("buffersink", None)]:
        last.link_to(following := graph.add(name, arguments))
        last = following
    graph.configure()
    graph.push(frame)
    return cast(VideoFrame, graph.pull())


def orientation(matrix: tuple[int, int, int, int]) -> tuple[int, bool]:
    """(rotation, mirrored) of a display matrix: flip left-right first if mirrored, then turn clockwise.

    Args:
        matrix: a, b, c, d of x' = a x + c y, y' = b x + d y. Source: ISO/IEC 14496-12, 6.2.2 and 8.3.2.

    Angles between quarter turns go to the nearest one.
    """
    a, b, c, d = matrix
    if abs(b) + abs(c) > abs(a) + abs(d):
        # y' grows with x: a clockwise quarter turn takes x to y and y to -x.
        if b >= 0:
            return (90, False) if c < 0 else (270, True)
        return (90, True) if c < 0 else (270, False)
    if a >= 0:
        return (0, False) if d >= 0 else (180, True)
    return (0, True) if d >= 0 else (180, False)


def sample_sound(container: InputContainer, stream: AudioStream) -> AudioFrame | None:
    """The first frame of sound that decodes, None when none of the first packets gives one."""
    errors: list[str] = []
    try:
        for frame in decode(container.demux(stream), HEAD_PACKETS, errors):
            if frame.samples and frame.sample_rate:
                return cast(AudioFrame, frame)
    except MEDIA_ERRORS as error:
        errors.append(str(error))
    return None
