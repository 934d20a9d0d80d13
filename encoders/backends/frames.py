"""Decoded frames of a source from a key frame on, in presentation order, with what went wrong on the way.

Rule: which frames come out depends on the source and the segment only, not on the backend or the number of threads.
Frames without a presentation time, and frames that do not move on, are left out, as the probe leaves them out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from fractions import Fraction
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import av
import av.error
from av.container import InputContainer
from av.filter import Graph
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from encoders.backends.witness import Witness
from encoders.containers.matroska import ClusterCheck
from encoders.containers.ogg import PageCheck
from encoders.demux import open_source, read_packets
from encoders.errors import ResourceExceeded
from encoders.media import VideoTrack
from encoders.medialog import listening
from encoders.sample import HOLD_BACK, starts_afresh
from encoders.signs import CHECKSUMMED

MOST_LEADING = 8
"""Frames that may come out before the key frame that was decoded first; of older codecs, hardly ever one."""

OPTIONS = {codec: {"err_detect": "crccheck"} for codec in CHECKSUMMED} | {"av1": {"max_frame_delay": "1"}}
"""Of FFmpeg's decoders. dav1d works on several pictures at once unless it is told not to."""


class FrameReader:
    """Reads the picture track of a source; one pass, one use. Close it, or use it as a context manager.

    Attributes:
        witness: what was seen of damage since decoding began; None before.
    """

    def __init__(self, source: Path, video: VideoTrack, threads: int) -> None:
        self._source, self._video, self._threads = source, video, threads
        self._container: InputContainer | None = None
        self._from_start = True
        self.witness: Witness | None = None

    def __enter__(self) -> FrameReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the file and the decoder; harmless when there is nothing to release."""
        if self._container is not None:
            self._container.close()
            self._container = None

    def frames(self, from_pts: int | None) -> Iterator[VideoFrame]:
        """Frames whose time rises, from a key frame on.

        Args:
            from_pts: presentation time of a key frame; None for the start of the file. Frames before it may come too.

        Raises:
            NotAVideo, ForbiddenFormat, Damaged, ResourceExceeded: as `open_source`, or a frame wants too much memory.
        """
        shown: int | None = None
        for frame in self._whole(from_pts):
            if frame.pts is None or (shown is not None and frame.pts <= shown):
                continue
            shown = frame.pts
            yield frame

    def _whole(self, from_pts: int | None) -> Iterator[VideoFrame]:
        """Frames from a key frame on; from the start of the file where the container calls others key frames too.

        The probe tries a few of them only.
        """
        packets = self._watched(from_pts, audit=True)
        first = next(packets, None)
        if first is None:
            return
        frames = self._decode(chain([first], packets))
        if not self._from_start and self._video.codec not in HOLD_BACK:
            head: list[VideoFrame] = []
            for frame in frames:
                head.append(frame)
                if len(head) == MOST_LEADING or (frame.pts is not None and frame.pts >= (first.pts or 0)):
                    break
            if all(starts_afresh(frame, self._video.codec) for frame in head if frame.pts == first.pts):
                yield from head
            else:
                frames = self._decode(self._watched(None, audit=True))
        yield from frames

    def _open(self) -> VideoStream:
        self.close()
        self._container = open_source(self._source)
        stream = self._container.streams[self._video.stream]
        assert isinstance(stream, VideoStream)
        stream.codec_context.thread_count = self._threads
        # Threads share the slices of one picture: of several pictures at once, nobody could tell whose damage it is
        # that a decoder speaks of.
        stream.thread_type = "SLICE" if self._threads > 1 else "NONE"
        options = OPTIONS.get(self._video.codec, {})
        if options:
            stream.codec_context.options = options
        return stream

    def _open_primed(self) -> VideoStream:
        """Open the source for a start in its middle.

        4:4:4 of x264 before build 151 is coded by mistake; decoders know it by a note beside the first picture.
        """
        stream = self._open()
        full_chroma = "444" in self._video.pixel_format or self._video.pixel_format.startswith("gbr")
        if self._video.codec == "h264" and full_chroma and self._container is not None:
            first = next(read_packets(self._container, [stream]), None)
            with suppress(av.FFmpegError, ValueError):
                if first is not None:
                    first.decode()
        return stream

    def packets(self, from_pts: int | None) -> Iterator[Packet[Any]]:
        """Packets from the key frame on, for decoders other than FFmpeg's; take these or `frames`.

        The witness has seen each: whether `suspects` is to be asked before it is decoded.
        """
        return self._watched(from_pts, audit=False)

    def _watched(self, from_pts: int | None, *, audit: bool) -> Iterator[Packet[Any]]:
        packets = self._packets(from_pts)
        first = next(packets, None)
        if first is None:
            return
        extradata = bytes(first.stream.codec_context.extradata or b"")
        self.witness = witness = Witness(self._video.codec, extradata, self._video.time_base, audit=audit)
        pages = PageCheck(self._source) if self._container_is("ogg") else None
        clusters = ClusterCheck(self._source) if self._container_is("matroska,webm") else None
        before: Packet[Any] | None = None
        gap = False
        for packet in chain([first], packets):
            if pages is not None:
                # FFmpeg gives the first packet behind a gap the time of the first that is lost: the next one knows.
                after_gap, gap = gap, pages.lost_before(packet.pos)
                missing = times_between(before, packet) if gap or after_gap else []
                if gap or missing:
                    witness.miss(missing)
            witness.feed(packet, clusters.broken_at(packet.pos) if clusters is not None else None)
            before = packet
            yield packet

    def _container_is(self, name: str) -> bool:
        return self._container is not None and self._container.format.name == name

    def _packets(self, from_pts: int | None) -> Iterator[Packet[Any]]:
        """Packets from the key frame on; from an earlier one where the container cannot seek to it exactly."""
        self._from_start = False
        for target in _further_back(self._video.keyframe_pts, from_pts):
            stream = self._open_primed()
            assert self._container is not None
            try:
                self._container.seek(target, stream=stream)
            except av.FFmpegError:
                continue
            packets = read_packets(self._container, [stream])
            for packet in packets:
                if packet.is_keyframe and packet.pts is not None:
                    if from_pts is not None and packet.pts <= from_pts:
                        return chain([packet], packets)
                    break
        self._from_start = True
        stream = self._open()
        assert self._container is not None
        return read_packets(self._container, [stream])

    def _decode(self, packets: Iterator[Packet[Any]]) -> Iterator[VideoFrame]:
        last: Packet[Any] | None = None
        for packet in packets:
            last = packet
            yield from self._decoded(packet.decode)
        if last is not None:
            yield from self._decoded(last.stream.codec_context.decode)

    def _decoded(self, decode: Callable[[], list[Any]]) -> list[VideoFrame]:
        witness = self.witness
        assert witness is not None
        with listening(all_threads=self._threads > 1) as said:
            try:
                frames = decode()
            except (MemoryError, av.error.MemoryError) as error:
                raise ResourceExceeded("A frame of the file asks for more memory than one source may have.") from error
            except (av.FFmpegError, ValueError):
                witness.fail()
                frames = []
        witness.hear(said)
        for frame in frames:
            witness.show(frame)
        return frames


MOST_MISSING = 1000
"""Pictures that one gap may have held at most, as they are counted."""


def times_between(before: Packet[Any] | None, after: Packet[Any]) -> list[int | None]:
    """When the pictures between two packets would have been shown; one at an unknown time where that is not told."""
    if before is None or before.pts is None or after.pts is None or not before.duration:
        return [None]
    return [*range(before.pts + before.duration, after.pts, before.duration)][:MOST_MISSING]


def _further_back(keyframe_pts: tuple[int, ...], from_pts: int | None) -> Iterator[int]:
    """The key frame to seek to, then ever earlier ones; nothing for the start of the file."""
    if from_pts is None or from_pts not in keyframe_pts:
        return
    index, step = keyframe_pts.index(from_pts), 0
    while index - step > 0:
        yield keyframe_pts[index - step]
        step = 2 * step + 1


FIELD_MARGIN_FRAMES = 2
"""Frames before a segment that deinterlacing must see, so that it does the same as in one pass."""


def deinterlaced(frames: Iterator[VideoFrame], time_base: Fraction) -> Iterator[VideoFrame]:
    """Whole frames from frames of two fields, one for one and with their times (bwdif).

    All frames are treated alike: flags of single frames lie too often, and the track was found to be interlaced.
    """
    graph: Graph | None = None
    shape: tuple[int, int, str] | None = None
    for frame in frames:
        if shape != (frame.width, frame.height, frame.format.name):
            if graph is not None:
                yield from _drained(graph, time_base)
            shape = (frame.width, frame.height, frame.format.name)
            graph = _bwdif(frame, time_base)
        assert graph is not None
        graph.vpush(frame)
        yield from _ready(graph, time_base)
    if graph is not None:
        yield from _drained(graph, time_base)


def _bwdif(frame: VideoFrame, time_base: Fraction) -> Graph:
    graph = Graph()
    graph.threads = 1
    # Nothing of colour, which the frames bring along: broken streams have codes with which no filter starts.
    arguments = f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}"
    arguments += f":time_base={time_base.numerator}/{time_base.denominator}"
    nodes = [
        graph.add("buffer", arguments),
        graph.add("bwdif", "mode=send_frame:parity=auto:deint=all"),
        graph.add("buffersink"),
    ]
    for before, after in pairwise(nodes):
        before.link_to(after)
    graph.configure()
    return graph


def _ready(graph: Graph, time_base: Fraction) -> Iterator[VideoFrame]:
    while True:
        try:
            frame = graph.vpull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        if frame.pts is not None:
            # bwdif halves the time base, for the field rate that is not asked for.
            frame.pts = round(frame.pts * (frame.time_base or time_base) / time_base)
            frame.time_base = time_base
        yield frame


def _drained(graph: Graph, time_base: Fraction) -> Iterator[VideoFrame]:
    graph.vpush(None)
    yield from _ready(graph, time_base)
