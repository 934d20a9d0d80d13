"""In which order, when, and from where a picture track's frames come: learnt by decoding it once.

Three things that a container may tell wrongly are seen here: times that contradict the order in which frames decode,
key frames at which nothing can start, and fields that lie in packets of their own, as transport streams and bare
streams keep them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from encoders.demux import BARE, MEDIA_ERRORS, open_source, read_packets
from encoders.sample import HOLD_BACK, prepare, starts_afresh, tells_its_kind
from encoders.scan import codec_name, stated_step

FIELDS_APART = "h264"
"""The codec whose fields demuxers give out one by one; those of MPEG-2 they join, and of HEVC each is a frame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What becomes of one packet.

    Attributes:
        pts, dts: the times that it gets.
        key: decoding can start at it.
        rest: it holds only the second field of the frame that the packet before began.
    """

    pts: int
    dts: int
    key: bool
    rest: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """The places of all packets of a track.

    Attributes:
        frames: how many come out.
        moved: whether a packet that told a time got another one.
    """

    places: list[Place]
    frames: int
    moved: bool


@dataclass(slots=True)
class _Seen:
    """What decoding showed, by number of the packet.

    Attributes:
        shown: (packet, its frame's time or None) in the order in which frames came out.
        told: the packets' own times of presentation; due: those of decoding, counted where there are none.
        keys: packets that are marked as keys; of them, starts: those at which decoding can start; silent: those of
            which the decoder does not say it.
        failed: packets that do not decode.
        fields: packets whose frame consists of two fields.
    """

    shown: list[tuple[int, int | None]] = field(default_factory=list)
    told: list[int | None] = field(default_factory=list)
    due: list[int | None] = field(default_factory=list)
    keys: set[int] = field(default_factory=set)
    starts: set[int] = field(default_factory=set)
    silent: set[int] = field(default_factory=set)
    failed: set[int] = field(default_factory=set)
    fields: set[int] = field(default_factory=set)

    @property
    def timed(self) -> bool:
        """Whether any packet tells a time."""
        return any(time is not None for time in self.told)


def learn_order(source: Path, picture: int, *, patient: bool = False) -> Order:
    """The places of a track's packets, such that frames are shown in the order of decoding.

    A packet that gives no frame of its own has the time of the one before.

    Args:
        patient: let the first frame stay until no frame comes before the time that its own packet tells, as players
            that go by those do; right where no sound has to fit.
    """
    with open_source(source) as container:
        stream = container.streams[picture]
        assert isinstance(stream, VideoStream)
        # AVI holds no times: its n-th picture is the n-th that is shown, and FFmpeg guesses a delay on top.
        numbered = container.format.name == "avi" or container.format.name in BARE
        seen = _decode_all(container, stream)
        step = stated_step(stream)
        all_keys = len(seen.keys) == len(seen.told)
        keys = seen.starts | (set() if all_keys and not stream.codec_context.codec.intra_only else seen.silent)
    frames = [time for _, time in seen.shown]
    if not seen.timed:
        ordered = [number * step for number in range(len(frames))]
    elif not numbered and (counted := _by_decoding_time(seen)) is not None:
        ordered = counted
    else:
        ordered = in_order([seen.due[number] for number, _ in seen.shown] if numbered else frames)
    if patient:
        ordered = after_their_time(ordered, frames)
    times: dict[int, int] = {}
    for (number, _), time in zip(seen.shown, ordered, strict=True):
        times.setdefault(number, time)
    places = _places(seen, times, keys)
    moved = any(
        told is not None and told != place.pts and not place.rest for told, place in zip(seen.told, places, strict=True)
    )
    return Order(places=places, frames=len(times), moved=moved)


def _by_decoding_time(seen: _Seen) -> list[int] | None:
    """The frames' times by when their packets are due, where that is sound and what the packets tell is not.

    Demuxers guess the times that a stream leaves out, and give some frames the time of others; decoding times they
    count. None where the packets' own times are distinct.
    """
    told = [time for _, time in seen.shown if time is not None]
    due = [seen.due[number] for number, _ in seen.shown]
    known = sorted(time for time in due if time is not None)
    if len(set(told)) == len(told) or len(set(known)) < len(due):
        return None
    return [time + min(told) - known[0] for time in known]


def _places(seen: _Seen, times: dict[int, int], keys: set[int]) -> list[Place]:
    rest = {
        number
        for number in range(1, len(seen.told))
        if number not in times and number not in seen.failed and number - 1 in seen.fields
    }
    presented: list[int] = []
    for number in range(len(seen.told)):
        presented.append(times.get(number, presented[-1] if presented else min(times.values(), default=0)))
    kept = [time for number, time in enumerate(presented) if number not in rest]
    decoded = strictly_rising(sorted(kept))
    late = max((dts - pts for dts, pts in zip(decoded, kept, strict=True)), default=0)
    own = iter(decoded)
    places: list[Place] = []
    for number, pts in enumerate(presented):
        dts = places[-1].dts if number in rest else next(own) - late
        places.append(Place(pts=pts, dts=dts, key=number in keys, rest=number in rest))
    return places


def _decode_all(container: InputContainer, stream: VideoStream) -> _Seen:
    seen, codec = _Seen(), codec_name(stream)
    prepare(stream)
    stream.codec_context.copy_opaque = True
    for number, frame in _numbered_frames(stream, read_packets(container, [stream]), seen):
        seen.shown.append((number, frame.pts))
        if frame.interlaced_frame and codec == FIELDS_APART:
            seen.fields.add(number)
        if number in seen.keys and starts_afresh(frame, codec):
            (seen.starts if tells_its_kind(frame) or codec in HOLD_BACK else seen.silent).add(number)
    return seen


def _numbered_frames(
    stream: VideoStream, packets: Iterable[Packet[Any]], seen: _Seen
) -> Iterator[tuple[int, VideoFrame]]:
    """(number of its packet, frame) in the order of decoding; what packets say is noted as they pass."""
    end = 0
    for number, packet in enumerate(packets):
        seen.told.append(packet.pts if packet.pts is not None else packet.dts)
        seen.due.append(end if seen.told[-1] is None else packet.dts)
        end += packet.duration or 0
        if packet.is_keyframe:
            seen.keys.add(number)
        packet.opaque = number
        try:
            frames = packet.decode()
        except MEDIA_ERRORS:
            seen.failed.add(number)
            continue
        yield from ((frame.opaque, frame) for frame in frames if isinstance(frame.opaque, int))
    try:
        rest = stream.codec_context.decode(None)
    except MEDIA_ERRORS:
        return
    yield from ((frame.opaque, frame) for frame in rest if isinstance(frame.opaque, int))


def joined(packets: Iterable[Packet[Any]], picture: int | None, places: list[Place]) -> Iterator[Packet[Any]]:
    """Packets of several tracks; those of the picture at their places, the fields of one frame together.

    A packet beyond the last place was not decoded, and is left out.
    """
    following = iter(places)
    waiting: list[Packet[Any]] = []
    first: Packet[Any] | None = None
    for packet in packets:
        if packet.stream_index != picture:
            if first is None:
                yield packet
            else:
                waiting.append(packet)
            continue
        place = next(following, None)
        if place is None:
            continue
        if place.rest and first is not None:
            first = _with_rest(first, packet)
            continue
        if first is not None:
            yield first
        yield from waiting
        waiting.clear()
        packet.pts, packet.dts, packet.is_keyframe = place.pts, place.dts, place.key
        first = packet
    if first is not None:
        yield first
    yield from waiting


def _with_rest(first: Packet[Any], second: Packet[Any]) -> Packet[Any]:
    """Both fields of a frame in one packet, with the first one's times."""
    both: Packet[Any] = Packet(bytes(first) + bytes(second))
    both.stream, both.time_base = first.stream, first.time_base
    both.pts, both.dts, both.is_keyframe = first.pts, first.dts, first.is_keyframe
    both.duration = (first.duration or 0) + (second.duration or 0)
    return both


def in_order(times: list[int | None]) -> list[int]:
    """As many times, rising: the known ones sorted; a missing one is taken for a step after the one before.

    Times that occur several times are spread up to the next one.
    """
    known = sorted({time for time in times if time is not None})
    step = max(1, int(np.median(np.diff(known)))) if len(known) > 1 else 1
    filled: list[int] = []
    for time in times:
        filled.append(time if time is not None else (filled[-1] + step if filled else (known[0] if known else 0)))
    filled.sort()
    spread: list[int] = []
    while len(spread) < len(filled):
        at = len(spread)
        same = bisect_right(filled, filled[at]) - at
        following = filled[at + same] if at + same < len(filled) else filled[at] + same * step
        spread += [filled[at] + (following - filled[at]) * place // same for place in range(same)]
    return strictly_rising(spread)


def after_their_time(ordered: list[int], told: list[int | None]) -> list[int]:
    """Times moved later, but the first, until none of the frames that move on in what packets tell comes early.

    Both count from their first frame; at most two steps are added.
    """
    first = next((time for time in told if time is not None), 0)
    early, latest = 0, first
    for time, own in zip(ordered, told, strict=True):
        if own is not None and own > latest:
            latest = own
            early = max(early, (own - first) - (time - ordered[0]))
    step = int(np.median(np.diff(ordered))) if len(ordered) > 1 else 0
    return ordered[:1] + [time + min(early, 2 * step) for time in ordered[1:]]


def strictly_rising(times: list[int]) -> list[int]:
    """Times that do not fall, each moved up as little as it takes to lie behind the one before."""
    rising: list[int] = []
    for time in times:
        rising.append(max(time, rising[-1] + 1) if rising else time)
    return rising
