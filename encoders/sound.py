"""A source's sound track as one unbroken stereo signal on the asset's clock.

Sample 0 is the asset's time 0. Everything is placed by its timestamp: silence before a late start and in gaps, what
lies before time 0 or twice is dropped. Timestamps that jitter move nothing; a clock that drifts is followed by
stretching a little, so that no click is heard and sync holds over hours.

Memory: decoded frames of a few seconds and a few blocks, whatever the length.
"""

from __future__ import annotations

import contextlib
import math
import statistics
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
from av.packet import Packet

from encoders import mpegaudio
from encoders.damage import Span
from encoders.demux import open_source, read_packets
from encoders.downmix import Limiter, Samples, clipped, stereo_matrix
from encoders.errors import Damaged
from encoders.medialog import listening
from encoders.scan import codec_name
from encoders.signs import SOUND_CHECKSUMMED, means_damage
from encoders.tape import SILENCE_BLOCK, Tape

GAP_S = 0.015
"""Timestamps off by more, with those that follow, are a gap or an overlap: shorter than any codec's frame (Opus 20 ms,
AAC-LC 21.3 ms at 48 kHz), longer than the rounding of any container (1 ms in Matroska, FLV and ASF)."""
DRIFT_S = 0.004
"""Offset from which the signal is stretched towards its timestamps, until it is within a quarter of that."""
STRETCH = 0.005
"""Most that a block is stretched or squeezed: 0.5 %, under a tenth of a semitone."""
LOOK_AHEAD_FRAMES = 8
"""Frames whose timestamps vote on an offset, so that one wrong timestamp moves nothing."""
STEADY_S = 3.0
"""How far is looked ahead for a coarse clock, as of ASF files that tell times in twentieths of a second: once times
come back to the signal, offsets of no more than the clock's step are its rounding."""
WAVERING_TURNS = 4
"""So often must timestamps turn back and forth in what is looked ahead; lost packets make one or two jumps."""
MOST_WAVERING_S = 0.25
"""No frame of a lossless codec is longer by so much than another."""
MOST_AHEAD_FRAMES = 512
"""Frames that are held to see that far; frames of the usual codecs last 20 to 60 ms."""
MOST_UNHEARD_FRAMES = 2
"""So many frames are missing at most between a track's first packet and the first time that a frame tells: one that
only primes the decoder's overlap, and one that ends in the packet after its own. Measured: WMA Pro."""
LATE_BY_A_PACKET = "wmalossless"
"""The codec whose decoder gives out a packet's frames only with the next one, under its time, unless its frames tell
their lengths; then the first packet gives some. Measured: 77 packets of a WMA Lossless file, whose samples lie within a
millisecond of the times of the packets before, and up to 186 ms away from those of their own."""
LIMITER_S = 0.01
"""Half of the limiter's window."""


@dataclass
class Soundtrack:
    """Reads one sound track. Iterate `blocks` to its end, then read `errors` and `odd`.

    Attributes:
        source: local path.
        stream: index of the stream in the container.
        origin_s: time on the source's clock of the first sample returned.
        least: samples that are returned at least: silence is added up to there.
        most: samples that are returned at most: what comes later is dropped.
        sample_rate: of what is returned, Hz.
        gain: factor applied to everything, before the limiter.
        errors: packets that did not decode.
        decoded_samples: of the source, at its own rate.
        clipped_blocks: blocks in which the source itself passes full scale.
        lost: when the packets that did not decode would have been heard, on the asset's clock.
        gaps, overlaps: where silence was put in and where sound was dropped, on the asset's clock.
    """

    source: Path
    stream: int
    origin_s: Fraction
    least: int
    most: int
    sample_rate: int
    gain: float = 1.0
    errors: int = 0
    decoded_samples: int = 0
    clipped_blocks: int = 0
    lost: list[Span] = field(default_factory=list)
    gaps: list[Span] = field(default_factory=list)
    overlaps: list[Span] = field(default_factory=list)
    _mixed: bool = False
    _first_s: Fraction | None = None

    def blocks(self) -> Iterator[Samples]:
        """The signal, 2 x n at a time, n > 0.

        Raises:
            Damaged: not one sample of the track decodes.
        """
        limiter = Limiter(round(LIMITER_S * self.sample_rate))
        left = self.least
        for block in self._placed():
            left -= block.shape[1]
            # What is above full scale in the source itself is heard cut off; what is added here is turned down.
            if self.gain > 1.0 or self._mixed:
                ready = limiter.push(block * np.float32(self.gain))
            else:
                own = block * np.float32(self.gain)
                kept = clipped(own)
                self.clipped_blocks += kept is not own
                ready = limiter.push(kept)
            if ready.shape[1]:
                yield ready
        rest = limiter.flush()
        if rest.shape[1]:
            yield rest
        if not self.decoded_samples:
            raise Damaged(f"no sound of stream {self.stream} decodes: upload a file whose sound plays")
        while left > 0:
            step = min(left, SILENCE_BLOCK)
            left -= step
            yield np.zeros((2, step), np.float32)

    def _placed(self) -> Iterator[Samples]:
        """The signal by timestamps, cut at the asset's end, not padded to it."""
        tape = Tape(self.most, self.sample_rate)
        run: _Run | None = None
        with open_source(self.source) as container:
            window: deque[av.AudioFrame] = deque()
            ahead_s = 0.0
            for frame in self._frames(container):
                window.append(frame)
                ahead_s += frame.samples / frame.sample_rate
                while len(window) > LOOK_AHEAD_FRAMES and (ahead_s > STEADY_S or len(window) > MOST_AHEAD_FRAMES):
                    ahead_s -= window[0].samples / window[0].sample_rate
                    run = self._take(window, run, tape)
                    yield from tape.ready()
                    if tape.full:
                        return
            while window and not tape.full:
                run = self._take(window, run, tape)
                yield from tape.ready()
            if run is not None:
                tape.write(run.drain())
            yield from tape.ready(final=True)

    def _take(self, window: deque[av.AudioFrame], run: _Run | None, tape: Tape) -> _Run:
        """Move the first frame of the window to the tape; returns the run it belongs to."""
        frame = window[0]
        offset = run.offset_s(window) if run is not None else None
        self.decoded_samples += frame.samples
        if run is None or not run.fits(frame) or (offset is not None and abs(offset) > GAP_S):
            if run is not None:
                tape.write(run.drain())
            at_s = _time_s(frame)
            if at_s is None:
                at_s = run.end_s if run is not None else self._untold_start_s(window)
            if run is not None and offset is not None and abs(offset) > GAP_S:
                away_s = Fraction(abs(offset)).limit_denominator(self.sample_rate)
                begin_s = at_s - self.origin_s - (away_s if offset > 0 else 0)
                (self.gaps if offset > 0 else self.overlaps).append((begin_s, begin_s + away_s))
            run = _Run(at_s, frame, self.sample_rate)
            self._mixed |= len(frame.layout.channels) > 2
            tape.place(round((at_s - self.origin_s) * self.sample_rate))
            offset = None
        tape.write(run.convert(frame, offset))
        window.popleft()
        return run

    def _untold_start_s(self, window: deque[av.AudioFrame]) -> Fraction:
        """When a track starts whose first frame tells no time, as of WMA Pro: its packet's time.

        Or a little later, where all then join the first that tells one: silence before the sound, no hole in it.
        """
        begin_s = at_s = self.origin_s if self._first_s is None else self._first_s
        for frame in window:
            length_s = Fraction(frame.samples, frame.sample_rate)
            stamp_s = _time_s(frame)
            if stamp_s is not None:
                late_s = stamp_s - at_s
                return begin_s + late_s if 0 < late_s <= MOST_UNHEARD_FRAMES * length_s + DRIFT_S else begin_s
            at_s += length_s
        return begin_s

    def _frames(self, container: av.container.InputContainer) -> Iterator[av.AudioFrame]:
        """Frames that decode, in order; counts packets that do not."""
        stream = container.streams[self.stream]
        assert isinstance(stream, av.AudioStream)
        codec = codec_name(stream)
        if codec in SOUND_CHECKSUMMED:
            stream.codec_context.options = {"err_detect": "crccheck"}
        framed = codec in mpegaudio.CODECS
        before: av.AudioFrame | None = None
        late = False
        last: Packet[Any] | None = None
        for packet in read_packets(container, [stream]):
            try:
                if framed and mpegaudio.cut_short(bytes(packet)):
                    # Decoders would make noise of it. The frame before fades out in its place.
                    if before is not None:
                        yield _dying_away(before, packet)
                    raise ValueError("cut short")
                with listening() as said:
                    decoded = packet.decode()
                if means_damage(said):
                    raise ValueError("a checksum fails")
            except (av.error.FFmpegError, ValueError):
                self.errors += 1
                if packet.pts is not None and packet.time_base:
                    at_s = packet.pts * packet.time_base - self.origin_s
                    self.lost.append((at_s, at_s + (packet.duration or 0) * packet.time_base))
                continue
            late |= codec == LATE_BY_A_PACKET and last is None and not decoded
            for frame in decoded:
                if isinstance(frame, av.AudioFrame) and frame.samples and frame.sample_rate:
                    if late and last is not None and frame.pts is not None:
                        frame.pts, frame.time_base = last.pts, last.time_base
                    if self._first_s is None and packet.pts is not None and packet.time_base:
                        self._first_s = packet.pts * packet.time_base
                    before = frame if frame.format.is_planar else None
                    yield frame
            last = packet
        with contextlib.suppress(av.error.FFmpegError, ValueError):
            for frame in stream.decode(None):
                if late:
                    frame.pts = None
                if frame.samples and frame.sample_rate:
                    yield frame


def _dying_away(before: av.AudioFrame, packet: Packet[Any]) -> av.AudioFrame:
    """A frame backwards and ever quieter, in place of the one that a packet should have been."""
    samples: Any = before.to_ndarray()
    faded: Any = np.ascontiguousarray(samples[:, ::-1] * np.linspace(1.0, 0.0, samples.shape[1]), samples.dtype)
    frame = av.AudioFrame.from_ndarray(faded, before.format.name, before.layout.name)
    frame.sample_rate, frame.pts, frame.time_base = before.sample_rate, packet.pts, packet.time_base
    return frame


class _Run:
    """Frames of one format that follow each other without a gap."""

    def __init__(self, start_s: Fraction, frame: av.AudioFrame, sample_rate: int) -> None:
        self._format = _format_of(frame)
        self._rate = frame.sample_rate
        self._sample_rate = sample_rate
        self.end_s = start_s
        """Where the next frame starts, on the source's clock, by what was written."""
        self._stretching = False
        self._coarse_s = 0.0
        """Step of a clock that was found to be coarse, or by how much it wavers."""
        self._matrix = stereo_matrix([channel.name for channel in frame.layout.channels])
        # Packed: PyAV reads the planes of at most eight channels.
        self._resampler = av.AudioResampler(format="flt", layout=frame.layout, rate=sample_rate)

    def fits(self, frame: av.AudioFrame) -> bool:
        """Whether a frame has this run's format."""
        return _format_of(frame) == self._format

    def offset_s(self, window: deque[av.AudioFrame]) -> float | None:
        """How late the window's frames are against where they would be written, seconds; None when untold.

        Their median, or what the first says itself when that is nearer to zero; 0 if it is a coarse clock's rounding.
        """
        first = _time_s(window[0])
        if first is None:
            return None
        first_s = float(first - self.end_s)
        if abs(first_s) <= DRIFT_S / 4:
            # Nothing is done about so little, and the median could only be less; it took a third of a track's time.
            return first_s
        near_s = min(first_s, statistics.median(self._offsets_s(islice(window, LOOK_AHEAD_FRAMES + 1))), key=abs)
        if abs(near_s) <= self._coarse_s:
            return 0.0
        step_s = _clock_step_s(window)
        if abs(near_s) <= step_s and any(abs(offset_s) <= DRIFT_S for offset_s in self._offsets_s(window)):
            self._coarse_s = step_s
            return 0.0
        if abs(near_s) > DRIFT_S and abs(near_s) <= (wavering_s := _wavering_s([*self._offsets_s(window)])):
            self._coarse_s = wavering_s
            return 0.0
        return near_s

    def _offsets_s(self, frames: Iterable[av.AudioFrame]) -> Iterator[float]:
        """How late each frame that has a time is, if all are written one after the other."""
        at_s = float(self.end_s)
        for frame in frames:
            stamp = _time_s(frame)
            if stamp is not None:
                yield float(stamp) - at_s
            at_s += frame.samples / frame.sample_rate

    def convert(self, frame: av.AudioFrame, offset_s: float | None) -> Samples:
        """A frame as stereo at the output's rate, stretched towards its timestamps when they drift."""
        self.end_s += Fraction(frame.samples, self._rate)
        frame.pts = None
        block = self._stereo(self._resampler.resample(frame))
        if offset_s is not None:
            limit = DRIFT_S / 4 if self._stretching else DRIFT_S
            self._stretching = abs(offset_s) > limit
            if self._stretching and block.shape[1] > 1:
                block = self._stretched(block, offset_s)
        return block

    def drain(self) -> Samples:
        """The resampler's tail."""
        return self._stereo(self._resampler.resample(None))

    def _stretched(self, block: Samples, offset_s: float) -> Samples:
        count = block.shape[1]
        most = max(1, int(STRETCH * count))
        extra = max(-most, min(most, round(offset_s * self._sample_rate)))
        if not extra:
            return block
        self.end_s += Fraction(extra, self._sample_rate)
        places = np.linspace(0, count - 1, count + extra)
        return np.stack([np.interp(places, np.arange(count), channel) for channel in block]).astype(np.float32)

    def _stereo(self, frames: list[av.AudioFrame]) -> Samples:
        channels = self._matrix.shape[1]
        blocks = [frame.to_ndarray().reshape(-1, channels) for frame in frames if frame.samples]
        if not blocks:
            return np.zeros((2, 0), np.float32)
        block = np.concatenate(blocks).T.astype(np.float32, copy=False)
        if not np.isfinite(block).all():
            block = np.nan_to_num(block, nan=0.0, posinf=0.0, neginf=0.0)
        return np.asarray(self._matrix @ block, np.float32)


def _format_of(frame: av.AudioFrame) -> tuple[int, str, str]:
    return frame.sample_rate, frame.layout.name, frame.format.name


def _wavering_s(offsets_s: list[float]) -> float:
    """How far from the signal timestamps come that go to and fro beside it; 0 if they do not.

    A gap moves all that follow it, once. Where they waver, packets tell the time of another frame than their first, as
    where bits are lent from one to the next: following them would cut and stop the sound at each.
    """
    steps = [after - before for before, after in pairwise(offsets_s)]
    signs = [step > 0 for step in steps if abs(step) > DRIFT_S]
    turns = sum(before != after for before, after in pairwise(signs))
    if turns < WAVERING_TURNS:
        return 0.0
    spread_s = max(offsets_s) - min(offsets_s)
    beside = min(map(abs, offsets_s)) <= spread_s <= MOST_WAVERING_S
    return max(map(abs, offsets_s)) if beside else 0.0


def _clock_step_s(frames: Iterable[av.AudioFrame]) -> float:
    """The step in which times are told, where it is longer than a gap and no frame lasts whole steps; else 0."""
    step, last = 0, None
    for frame in frames:
        if frame.pts is None or frame.time_base is None:
            continue
        if last is not None and last.pts is not None:
            step = math.gcd(step, frame.pts - last.pts)
            if step and step * frame.time_base < GAP_S:
                return 0.0
        last = frame
    if not step or last is None or last.time_base is None:
        return 0.0
    whole = Fraction(last.samples, last.sample_rate) % (step * last.time_base) == 0
    return 0.0 if whole else float(step * last.time_base)


def _time_s(frame: av.AudioFrame) -> Fraction | None:
    """A frame's timestamp, seconds on the source's clock."""
    if frame.pts is None or frame.time_base is None:
        return None
    return frame.pts * frame.time_base
