"""Sources with sound for tests: made by PyAV, small, of known content. Times in seconds, samples are channels x n."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from encoders.audio import AudioResult
from encoders.ladder import AudioSettings, StillSettings
from encoders.media import AudioTrack, MediaInfo
from encoders.plan import AudioRendition, Grid, Plan

Samples = npt.NDArray[np.float32]


def noise(seconds: float, rate: int = 48_000, channels: int = 2, seed: int = 1, level: float = 0.2) -> Samples:
    """Band-limited noise whose level wanders, so that it is like itself at one lag only."""
    rng = np.random.default_rng(seed)
    count = round(seconds * rate)
    white = rng.standard_normal((channels, count))
    smooth = np.apply_along_axis(lambda x: np.convolve(x, np.hanning(9) / 4, "same"), 1, white)
    swell = 0.6 + 0.4 * np.sin(np.arange(count) * 2 * np.pi * 1.7 / rate)
    return np.clip(smooth * swell * level, -1, 1).astype(np.float32)


def write_sound(
    path: Path,
    sound: Samples,
    *,
    codec: str = "flac",
    rate: int = 48_000,
    layout: str = "stereo",
    start_s: Fraction = Fraction(0),
    cuts: Sequence[tuple[float, float]] = (),
    jitter_s: float = 0.0,
    step_s: Fraction = Fraction(0),
    block: int = 1024,
    early_s: Sequence[float] = (0.0,),
    bit_rate: int | None = None,
    drift: float = 0.0,
) -> Path:
    """Encode samples; `cuts` are stretches (from, to) of which no packet is written, so that timestamps jump.

    `jitter_s` moves each timestamp at random, `step_s` takes all down to whole steps, `drift` makes timestamps run
    faster by that share; from the ninth frame on, timestamps are early by those of `early_s` in turn. `block` samples
    are a frame where the codec has no size of its own.
    """
    rng = np.random.default_rng(7)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        assert isinstance(stream, av.AudioStream)
        if bit_rate is not None:
            stream.codec_context.bit_rate = bit_rate
        planar = av.AudioFormat(stream.format.name).is_planar
        size = stream.codec_context.frame_size or block
        for at in range(0, sound.shape[1], size):
            samples = sound[:, at : at + size]
            now = at / rate
            if any(begin <= now < end for begin, end in cuts):
                continue
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), "fltp", layout)
            frame.sample_rate = rate
            frame.pts = round(start_s * rate) + round(at * (1 + drift)) + round(rng.uniform(-jitter_s, jitter_s) * rate)
            if at >= 8 * size:
                frame.pts -= round(early_s[at // size % len(early_s)] * rate)
            if step_s:
                frame.pts -= frame.pts % round(step_s * rate)
            frame.time_base = Fraction(1, rate)
            converted = av.AudioResampler(stream.format.name, layout, rate).resample(frame)
            assert planar or len(converted) == 1
            for each in converted:
                container.mux(stream.encode(each))
        container.mux(stream.encode(None))
    return path


def describe(path: Path, stream: int = 0) -> MediaInfo:
    """What a probe would say of a clip's one sound track, as far as sound is concerned."""
    with av.open(str(path)) as container:
        track = container.streams[stream]
        assert isinstance(track, av.AudioStream)
        sound = AudioTrack(
            stream=stream,
            codec=track.codec_context.name,
            sample_rate=track.rate,
            channels=track.channels,
            layout=track.layout.name,
            language=None,
            title=None,
            default=True,
            start_s=Fraction(0),
            end_s=Fraction(1),
        )
        name = container.format.name
    return MediaInfo(container=name, size_bytes=path.stat().st_size, sha256="0" * 64, video=None, audio=(sound,))


def sound_plan(
    duration_s: Fraction,
    *,
    grid: Grid | None = None,
    origin_s: Fraction = Fraction(0),
    settings: AudioSettings | None = None,
) -> Plan:
    """A plan of one sound rendition."""
    rendition = AudioRendition(name="audio", stream=0, language="en", label="English", default=True)
    return Plan(
        source_sha256="0" * 64,
        profile="default",
        preset="veryfast",
        grid=grid,
        renditions=(),
        segments=(),
        audio=(rendition,),
        text=(),
        audio_settings=settings or AudioSettings(),
        still_settings=StillSettings(),
        duration_s=duration_s,
        origin_s=origin_s,
        encoder="test",
        asset_key="0" * 20,
    )


def decode_rendition(folder: Path, result: AudioResult) -> tuple[int, Samples]:
    """(first timestamp, samples) of the media segments together."""
    parts = [folder / "init.mp4"] + [folder / f"{piece.number:05d}.m4s" for piece in result.media]
    data = io.BytesIO(b"".join(part.read_bytes() for part in parts))
    with av.open(data) as container:
        frames = list(container.decode(audio=0))
    assert frames[0].pts is not None
    return frames[0].pts, np.concatenate([frame.to_ndarray() for frame in frames], axis=1)


def delay_samples(theirs: Samples, mine: Samples, reach: int = 2400) -> int:
    """By how many samples `mine` is late, by cross-correlation of the first channels; both start at the same time."""
    count = min(theirs.shape[1], mine.shape[1])
    size = 1 << (2 * count).bit_length()
    cross = np.fft.irfft(np.fft.rfft(mine[0, :count], size) * np.conj(np.fft.rfft(theirs[0, :count], size)), size)
    around = np.concatenate([cross[-reach:], cross[: reach + 1]])
    return int(np.argmax(around)) - reach
