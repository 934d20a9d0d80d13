"""One sound rendition: AAC-LC stereo, encoded once and whole, cut into CMAF media segments at the picture's boundaries.

Per-segment encoding would leave a gap at every joint; so one task encodes the track from start to end and writes the
media segments as it goes. AAC frames are never cut: a media segment starts with the first frame that begins at or after
the picture's boundary.

Sync: FFmpeg's encoder delays by one frame and numbers its first packet -1024. That packet holds only what overlaps into
time 0; it is dropped, so the packet at 0 decodes to sample 0 and no player has to know of a delay. The price is that
the first 21 ms fade in.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from encoders.damage import outside, places, total_s
from encoders.downmix import Samples
from encoders.loudness import gain_for
from encoders.media import MediaInfo
from encoders.mux import aac_init, sync_media_segment
from encoders.plan import AudioRendition, Grid, Plan
from encoders.recognition.sound import HEARD, heard
from encoders.sound import Soundtrack

CODEC = "mp4a.40.2"
"""AAC-LC. Source: RFC 6381, 3.3; ISO/IEC 14496-3, table 1.17."""
FRAME_SAMPLES = 1024
"""Samples per AAC-LC frame. Source: ISO/IEC 14496-3, 4.5.2.1.1."""
CHANNELS = 2
HEARD_FIRST_S = 2
"""Sound that is heard before the encoder is set up: when it passes full scale, both sides are coded apart, since
FFmpeg's joint coding takes more than a decibel off such sound (measured: 1.0 to 1.3 dB; other sound loses nothing)."""
MEDIA_SEGMENT_S = Fraction(4)
"""Length of the media segments of an asset without picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SoundSegment:
    """One media segment of a sound rendition: its number from 1, its length in samples and in bytes, its digest."""

    number: int
    samples: int
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioResult:
    """What encoding one sound rendition gave.

    Attributes:
        name: of the rendition.
        codec: as in RFC 6381.
        media: its media segments in order.
        samples: length of all of them.
        bitrate_bps: mean rate of the media segments.
        loudness_lufs: integrated loudness of the source's track, when it was measured.
        warnings: what was odd in the source's sound and how it was handled.
        lost_s: how much of the sound did not decode, seconds.
        sound_marks: chromaprint of it (`recognition.sound.encode_words`), which the worker adds.
    """

    name: str
    codec: str
    sample_rate: int
    channels: int
    media: tuple[SoundSegment, ...]
    samples: int
    bitrate_bps: int
    loudness_lufs: float | None = None
    warnings: tuple[str, ...] = ()
    lost_s: float = 0.0
    sound_marks: str = ""

    @property
    def duration_s(self) -> Fraction:
        """Length, seconds."""
        return Fraction(self.samples, self.sample_rate)


def encode_audio(source: Path, info: MediaInfo, plan: Plan, rendition: AudioRendition, out: Path) -> AudioResult:
    """Encode one sound track of a source.

    Args:
        source: local path.
        out: folder that gets `<rendition>/init.mp4` and `<rendition>/<number>.m4s`; made when absent, files of an
            earlier attempt are written over. `<rendition>/heard.s16` is for `recognition.sound.chromaprint`.

    Raises:
        Damaged: nothing of the track decodes. What was written so far stays; another attempt writes over it.
    """
    settings = plan.audio_settings
    rate = settings.sample_rate
    least, most = sound_lengths(plan)
    track = Soundtrack(source, rendition.stream, plan.origin_s, least, most, rate)
    measured = None
    if settings.loudness_lufs is not None:
        measured, track.gain = gain_for(track, settings.loudness_lufs)
    folder = out / rendition.name
    folder.mkdir(parents=True, exist_ok=True)
    blocks = track.blocks()
    head = _first(blocks, HEARD_FIRST_S * rate)
    encoder = _Encoder(rate, settings.bitrate_bps, joint=not track.clipped_blocks)
    cutter = _Cutter(folder, boundaries(plan.grid, rate))
    sound = heard(itertools.chain(head, blocks), rate, folder / HEARD)
    for packet_at, data in encoder.packets(sound):
        cutter.add(packet_at, data)
    samples = encoder.samples
    media = cutter.finish(samples)
    size_bytes = sum(segment.size_bytes for segment in media)
    init = aac_init(encoder.config, rate, CHANNELS, settings.bitrate_bps, rendition.language)
    (folder / "init.mp4").write_bytes(init)
    return AudioResult(
        name=rendition.name,
        codec=CODEC,
        sample_rate=rate,
        channels=CHANNELS,
        media=media,
        samples=samples,
        bitrate_bps=round(size_bytes * 8 * rate / samples),
        loudness_lufs=measured,
        warnings=_warnings(track, rendition),
        lost_s=float(total_s(track.lost)),
    )


def sound_lengths(plan: Plan) -> tuple[int, int]:
    """How many samples a sound rendition has at least and at most.

    It ends where the source's sound does, within the asset; but never before the picture, since some players stop where
    the first track ends.
    """
    rate = plan.audio_settings.sample_rate
    most = max(1, round(plan.duration_s * rate))
    picture = round(plan.grid.duration_s * rate) if plan.grid is not None else 1
    return min(most, max(1, picture)), most


def boundaries(grid: Grid | None, sample_rate: int) -> Fraction:
    """Length of the picture's media segments in samples, exact; of `MEDIA_SEGMENT_S` when there is no picture."""
    if grid is None:
        return MEDIA_SEGMENT_S * sample_rate
    return grid.media_segment_frames / grid.fps * sample_rate


def _first(blocks: Iterator[Samples], samples: int) -> list[Samples]:
    """The first blocks, so many samples of them or what there is."""
    head: list[Samples] = []
    while sum(block.shape[1] for block in head) < samples and (block := next(blocks, None)) is not None:
        head.append(block)
    return head


def _warnings(track: Soundtrack, rendition: AudioRendition) -> tuple[str, ...]:
    name, found = rendition.name, []
    if track.errors:
        packets = f"{track.errors} packet{'s' if track.errors > 1 else ''}"
        where = places(track.lost)
        found.append(f"{name}: {packets} of the source's sound, {where}, did not decode: silence stands for them")
    if gaps := outside(track.gaps, track.lost):
        found.append(f"{name}: the source has no sound {places(gaps)}: silence was put in")
    if track.overlaps:
        found.append(f"{name}: the source's sound overlaps itself {places(track.overlaps)}: what came first was kept")
    return tuple(found)


class _Encoder:
    """FFmpeg's AAC encoder; packets come with the position of their first sample."""

    def __init__(self, sample_rate: int, bitrate_bps: int, *, joint: bool) -> None:
        context = av.CodecContext.create("aac", "w")
        assert isinstance(context, av.AudioCodecContext)
        context.sample_rate = sample_rate
        context.layout = "stereo"
        context.format = "fltp"
        context.bit_rate = bitrate_bps
        context.time_base = Fraction(1, sample_rate)
        context.options = {} if joint else {"aac_ms": "0"}
        self._context = context
        self._rate = sample_rate
        self.samples = 0
        """Taken so far."""

    @property
    def config(self) -> bytes:
        """AudioSpecificConfig; known once a packet came."""
        return bytes(self._context.extradata or b"")

    def packets(self, blocks: Iterator[Samples]) -> Iterator[tuple[int, bytes]]:
        """Encode everything; yields (position in samples, data) from position 0 on."""
        for frame in _frames(blocks):
            sound = av.AudioFrame.from_ndarray(np.ascontiguousarray(frame), "fltp", "stereo")
            sound.sample_rate = self._rate
            sound.time_base = Fraction(1, self._rate)
            sound.pts = self.samples
            self.samples += frame.shape[1]
            yield from self._encoded(sound)
        yield from self._encoded(None)

    def _encoded(self, sound: av.AudioFrame | None) -> Iterator[tuple[int, bytes]]:
        for packet in self._context.encode(sound):
            if packet.pts is not None and packet.pts >= 0:
                yield packet.pts, bytes(packet)


def _frames(blocks: Iterator[Samples]) -> Iterator[Samples]:
    """Blocks of any length as AAC frames; only the last may be shorter."""
    held: Samples = np.zeros((CHANNELS, 0), np.float32)
    for block in blocks:
        held = np.concatenate([held, block], axis=1)
        whole = held.shape[1] // FRAME_SAMPLES * FRAME_SAMPLES
        for at in range(0, whole, FRAME_SAMPLES):
            yield held[:, at : at + FRAME_SAMPLES]
        held = held[:, whole:]
    if held.shape[1]:
        yield held


class _Cutter:
    """Groups packets into media segments and writes each when it is whole."""

    def __init__(self, folder: Path, boundary: Fraction) -> None:
        self._folder = folder
        self._boundary = boundary
        self._start = 0
        self._packets: list[bytes] = []
        self._done: list[SoundSegment] = []

    def add(self, at: int, data: bytes) -> None:
        """Take the packet whose first sample is `at`."""
        if self._packets and at >= math.ceil(self._boundary * (len(self._done) + 1)):
            self._write(at)
        self._packets.append(data)

    def finish(self, samples: int) -> tuple[SoundSegment, ...]:
        """Write the last media segment, which ends at so many samples, and return all."""
        if self._packets:
            self._write(samples)
        return tuple(self._done)

    def _write(self, end: int) -> None:
        number = len(self._done) + 1
        length = end - self._start
        last = length - FRAME_SAMPLES * (len(self._packets) - 1)
        durations = [FRAME_SAMPLES] * (len(self._packets) - 1) + [last]
        data = sync_media_segment(number, self._start, durations, self._packets)
        (self._folder / f"{number:05d}.m4s").write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        self._done.append(SoundSegment(number=number, samples=length, size_bytes=len(data), sha256=digest))
        self._start, self._packets = end, []
