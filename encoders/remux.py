"""A source whose clock, frame order or index cannot be relied on, copied once into one where they can.

Nothing is encoded: packets are copied into NUT, which keeps every codec that is read here, any time base exactly, and
an index. Two things are put right on the way:

- A clock that jumps back (recordings joined byte by byte, encoders that started anew) is joined on: each part begins
  where the one before ended, all tracks moved alike, so that sound and picture of a part keep their distance.
- Frames whose times contradict the order in which they decode get the same times in that order. A decoder gives frames
  out in the order in which they are shown; writers of AVI, old MOV and some streams number packets, not pictures. Bare
  streams have no times at all: their frames come at the rate that the stream states.

Runs in a confined child (`encoders/confine.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from encoders.demux import BARE, MEDIA_ERRORS, open_source, read_packets
from encoders.errors import Damaged, InputError
from encoders.media import Copy, MediaInfo, VideoTrack
from encoders.order import joined, learn_order
from encoders.probe import REORDER_PIXELS, probe_source
from encoders.sample import HOLD_BACK
from encoders.scan import TURN_S, stated_rate
from encoders.source_limits import ProbeLimits

NAME = "source.nut"
AHEAD_S = Fraction(60)
"""A clock that rises by more at once jumps too, where the container is a stream that may have been joined. Shorter
holes stay holes: somebody may have paused."""
JOINABLE = frozenset(("mpegts", "mpeg"))
NEAR_S = Fraction(2)
"""How far a track may be from where it is due for a known part of the clock to be its own."""


def mend_source(source: Path, folder: Path, info: MediaInfo, limits: ProbeLimits | None = None) -> MediaInfo:
    """Copy a source as `info.copy` asks, and probe the copy.

    Args:
        folder: gets `NAME`; an earlier one is replaced.
        info: what the probe found of the source.

    Returns:
        what the source is, its tracks those of the copy (see `MediaInfo.copy`); where it cannot be copied or the copy
        does not read better, the source itself, with `copy` NONE.
    """
    try:
        return _mended(source, folder, info, limits or ProbeLimits())
    except InputError:
        return replace(info, copy=Copy.NONE)


def _mended(source: Path, folder: Path, info: MediaInfo, limits: ProbeLimits) -> MediaInfo:
    out, spare = folder / NAME, folder / f"spare-{NAME}"
    lift_s = math.ceil(-info.start_s) + 1 if info.start_s < 0 else 0
    wanted = Copy.CLOCK if lift_s else info.copy
    report = copy_packets(source, out, info, info.copy, sound=wanted is Copy.CLOCK, lift_s=lift_s)
    found = probe_source(out, info.sha256, limits)
    warnings, frames = list(report.warnings), report.frames
    if info.copy is Copy.CLOCK and found.copy in (Copy.ORDER, Copy.INDEX):
        again = copy_packets(out, spare, found, found.copy, sound=True)
        spare.replace(out)
        warnings += again.warnings
        frames = again.frames
        found = probe_source(out, info.sha256, limits)
    if (found.video is None) != (info.video is None) or _shorter(found, info, frames):
        raise Damaged("The copy holds less than the source.")
    if info.copy is Copy.INDEX and found.copy is Copy.INDEX:
        raise Damaged("The copy can be started from nowhere either.")
    moved = info.copy is Copy.CLOCK or report.reordered
    return replace(
        info,
        video=found.video and info.video and _as_declared(found.video, info.video, moved),
        audio=_with_names(info, found, report.streams) if wanted is Copy.CLOCK else info.audio,
        # The copy holds no text but what its pictures carry.
        subtitles=(*(each for each in info.subtitles if not each.captions), *found.subtitles),
        chapters=tuple(
            replace(each, start_s=each.start_s + lift_s, end_s=each.end_s + lift_s) for each in info.chapters
        ),
        warnings=(*warnings, *found.warnings),
        copy=wanted,
    )


def _as_declared(found: VideoTrack, source: VideoTrack, moved: bool) -> VideoTrack:
    """The copy's picture track with what only the source's container says: the shape of samples, and the rate.

    Args:
        moved: whether frames have other times than in the source, where its rate says nothing.
    """
    found = replace(found, late_s=source.late_s, sar=source.sar)
    rate = source.frame_rate
    if moved or rate is None or found.frame_rate == rate or found.frames != source.frames:
        return found
    end = found.first_pts + max(1, round(found.frames / rate / found.time_base))
    return replace(found, frame_rate=rate, average_rate=source.average_rate, typical_rate=None, end_pts=end)


def _shorter(found: MediaInfo, info: MediaInfo, frames: int | None) -> bool:
    """Whether a copy has lost pictures that the source showed: by its packets, if it was not decoded."""
    if found.video is None or info.video is None:
        return False
    return 10 * found.video.frames < 9 * (info.video.frames if frames is None else frames)


def _with_names(info: MediaInfo, found: MediaInfo, streams: dict[int, int]) -> tuple[Any, ...]:
    """The copy's sound tracks with what the source calls them."""
    sources = {streams[track.stream]: track for track in info.audio if track.stream in streams}
    return tuple(
        replace(track, language=source.language, title=source.title, default=source.default)
        for track in found.audio
        if (source := sources.get(track.stream)) is not None
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """What copying did.

    Attributes:
        joints: times on the copy's clock at which another part begins, seconds.
        reordered: whether frames got other times than their packets had.
        counted_fps: the rate of frames that had no times at all.
        frames: how many the picture has, where it was decoded for its order.
        streams: index in the source -> index in the copy.
        left_out: sound tracks (indices in the source) that the copy cannot hold.
    """

    joints: tuple[Fraction, ...]
    reordered: bool
    streams: dict[int, int]
    counted_fps: Fraction | None = None
    frames: int | None = None
    left_out: tuple[int, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was done, as sentences."""
        found = []
        if self.joints:
            times = f"{len(self.joints)} times" if self.joints[1:] else "once"
            places = ", ".join(f"{float(at):.2f} s" for at in self.joints[:5]) + (" and on" if self.joints[5:] else "")
            found.append(f"The file's clock jumps {times}; its parts were joined at {places}.")
        if self.counted_fps is not None:
            found.append(f"The file holds frames and no times; {float(self.counted_fps):.5g} are shown a second.")
        elif self.reordered:
            found.append("Timestamps contradict the order of the frames; each is shown once, in the order of decoding.")
        found += [
            f"Sound track {index} cannot be copied to a steady clock; it was left out." for index in self.left_out
        ]
        return tuple(found)


def copy_packets(
    source: Path, out: Path, info: MediaInfo, kind: Copy, *, sound: bool = False, lift_s: int = 0
) -> Copied:
    """Copy packets of the tracks that `info` names into a NUT file.

    Args:
        kind: what is put right; with CLOCK the sound is copied too.
        sound: copy it in any case.
        lift_s: is added to all times, for sources that begin before zero, which NUT cannot say.

    Raises:
        Damaged: nothing could be copied. `out` may be there, of no use.
        InputError: as `open_source`.
    """
    picture = info.video.stream if info.video is not None else None
    indices = [picture] if picture is not None else []
    if kind is Copy.CLOCK or sound:
        indices += [track.stream for track in info.audio]
    order = None
    if kind is Copy.ORDER and picture is not None:
        order = learn_order(source, picture, patient=not info.audio)
    keys = _true_keys(source, info.video) if kind is Copy.INDEX and info.video is not None else None
    clock = learn_clock(source, indices, picture) if kind is Copy.CLOCK else SteadyClock()
    options = {"avoid_negative_ts": "disabled"}
    with open_source(source) as container, av.open(str(out), "w", format="nut", options=options) as made:
        wanted = [container.streams[index] for index in indices]
        bare = container.format.name in BARE and picture is not None
        counted_fps = stated_rate(container.streams.video[0]) if bare else None
        twins = _twins(made, wanted)
        writer = _Writer(made)
        packets = read_packets(container, wanted)
        # What comes before the first key frame shows nothing by itself; but a copy states the sequence's header, and a
        # decoder that has it makes grey pictures of the rest.
        begun = info.video is None or info.video.codec in HOLD_BACK
        for packet in packets if order is None else joined(packets, picture, order.places):
            index = packet.stream_index
            shift_s = clock.shift_s(packet) if kind is Copy.CLOCK else Fraction(0)
            if index == picture:
                if keys is not None:
                    packet.is_keyframe = next(keys, False)
                begun = begun or packet.is_keyframe
                if not begun:
                    continue
            if index in twins and (index == picture or not packet.is_discard):
                _move(packet, shift_s + lift_s)
                writer.write(packet, twins[index])
    if not writer.written:
        raise Damaged("The file's packets cannot be copied. Export it again.")
    return Copied(
        joints=clock.joints_s,
        reordered=order is not None and order.moved,
        counted_fps=counted_fps,
        frames=order.frames if order is not None else None,
        streams={index: twin.index for index, twin in twins.items()},
        left_out=tuple(index for index in indices if index not in twins),
    )


def _true_keys(source: Path, video: VideoTrack) -> Iterator[bool] | None:
    """Of each packet, whether decoding can start at it; None where the container must be believed.

    That is where decoders hold back what is not whole, or where there is too much to decode.
    """
    if video.codec in HOLD_BACK or video.frames * video.width * video.height > REORDER_PIXELS:
        return None
    return iter([place.key for place in learn_order(source, video.stream).places])


class _Writer:
    """Muxes packets as they come; what the container does not take is left out."""

    def __init__(self, made: OutputContainer) -> None:
        self._made = made
        self._dts: dict[int, int] = {}
        self._key_pts: dict[int, int] = {}
        self.written = 0

    def write(self, packet: Packet[Any], twin: Stream) -> None:
        """Write one packet; without a time it cannot be.

        FFmpeg's NUT muxer ends the process where decoding times or the times of key frames do not rise; so they are
        made to, and the key frame counts as none.
        """
        if packet.pts is None:
            return
        dts, last = packet.dts, self._dts.get(twin.index)
        if dts is None:
            dts = packet.pts if last is None else min(packet.pts, last + 1)
        if last is not None:
            dts = max(dts, last + 1)
        packet.dts, packet.pts = dts, max(packet.pts, dts)
        if packet.is_keyframe:
            packet.is_keyframe = packet.pts > self._key_pts.get(twin.index, packet.pts - 1)
            self._key_pts[twin.index] = max(packet.pts, self._key_pts.get(twin.index, packet.pts))
        self._dts[twin.index] = dts
        packet.stream = twin
        try:
            self._made.mux(packet)
        except MEDIA_ERRORS:
            return
        self.written += 1


def _twins(made: OutputContainer, wanted: Iterable[Stream]) -> dict[int, Stream]:
    """Index in the source -> the copy's stream; without those that NUT has no name for."""
    twins: dict[int, Stream] = {}
    for stream in wanted:
        if isinstance(stream, VideoStream | AudioStream):
            try:
                twins[stream.index] = made.add_stream_from_template(stream, opaque=True)
            except ValueError:
                continue
    return twins


def _move(packet: Packet[Any], shift_s: Fraction) -> None:
    if shift_s and packet.time_base:
        ticks = round(shift_s / packet.time_base)
        packet.pts = packet.pts + ticks if packet.pts is not None else None
        packet.dts = packet.dts + ticks if packet.dts is not None else None


class SteadyClock:
    """Tells by how much each packet must be moved so that no track's clock jumps.

    The file is a row of parts, each with one shift for all tracks. Tracks reach a joint at different places of the
    file, so each keeps to its own part until another fits better. Where a part begins the leader says, the picture if
    there is one, as frames off the beat are seen. Another track may reach the joint first, so the file is read twice:
    `again` gives the clock for the second time.

    Args:
        joinable: whether jumps ahead are joined too.
        leader: index of the track that decides where parts begin; None: whichever comes first.
    """

    def __init__(self, *, joinable: bool = False, leader: int | None = None) -> None:
        self._joinable, self._leader = joinable, leader
        self._shifts_s = [Fraction(0)]
        self._begins_s: list[Fraction] = []
        self._own: dict[int, int] = {}
        self._due_s: dict[int, Fraction] = {}
        self._learning = True

    @property
    def joints_s(self) -> tuple[Fraction, ...]:
        """Where parts after the first begin, on the steady clock."""
        return tuple(self._begins_s)

    def again(self) -> SteadyClock:
        """The same parts, from the start of the file."""
        clock = SteadyClock(joinable=self._joinable, leader=self._leader)
        clock._shifts_s, clock._begins_s, clock._learning = self._shifts_s, self._begins_s, False
        return clock

    def shift_s(self, packet: Packet[Any]) -> Fraction:
        """Seconds to add to the times of a packet; packets come in the order of the file."""
        index = packet.stream_index
        own = self._own.get(index, len(self._shifts_s) - 1 if self._learning else 0)
        ticks = packet.dts if packet.dts is not None else packet.pts
        if ticks is None or not packet.time_base:
            return self._shifts_s[own]
        at_s = ticks * packet.time_base
        part = self._part(index, at_s, own)
        self._own[index] = part
        self._due_s[index] = at_s + self._shifts_s[part] + (packet.duration or 0) * packet.time_base
        return self._shifts_s[part]

    def _part(self, index: int, at_s: Fraction, own: int) -> int:
        due_s = self._due_s.get(index)
        if due_s is None:
            return own
        ahead_s = at_s + self._shifts_s[own] - due_s
        if ahead_s >= -TURN_S and (ahead_s <= AHEAD_S or not self._joinable):
            return own
        away_s = [abs(at_s + shift_s - due_s) for shift_s in self._shifts_s]
        part = min((other for other in range(len(away_s)) if other != own), key=away_s.__getitem__, default=own)
        if part == own or away_s[part] > NEAR_S:
            part = len(self._shifts_s)
            self._shifts_s.append(due_s - at_s)
            self._begins_s.append(due_s)
        elif self._learning and index == self._leader and part > own:
            self._shifts_s[part], self._begins_s[part - 1] = due_s - at_s, due_s
        return part


def learn_clock(source: Path, indices: list[int], leader: int | None) -> SteadyClock:
    """The clock of a source, from a first reading of its packets."""
    with open_source(source) as container:
        clock = SteadyClock(joinable=container.format.name in JOINABLE, leader=leader)
        for packet in read_packets(container, [container.streams[index] for index in indices]):
            clock.shift_s(packet)
    return clock.again()
