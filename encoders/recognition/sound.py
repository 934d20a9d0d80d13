"""Chromaprint of a sound track, from the blocks that are being encoded.

The confined child, which decodes, only leaves the sound in little: mono, 11025 Hz, 16 bit. Chromaprint itself is
FFmpeg's muxer of that name in the wheel's binary, run by the worker on those samples: they are the farm's own, of one
fixed form, and a confined child may start no program.
"""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np

from encoders.downmix import Samples
from encoders.errors import FarmError, Fault
from encoders.recognition.fingerprint import Words

SAMPLE_RATE = 11_025
"""What chromaprint works at. Source: chromaprint 1.5, src/fingerprinter_configuration.h, DEFAULT_SAMPLE_RATE."""
STEP_SAMPLES = 4096 // 3
"""Between words. Source: the same file, DEFAULT_FRAME_SIZE less DEFAULT_FRAME_OVERLAP."""
WORDS_PER_S = Fraction(SAMPLE_RATE, STEP_SAMPLES)
HEARD = "heard.s16"
"""File that the child leaves in the rendition's folder."""
HEARD_BYTES_S = SAMPLE_RATE * 2
"""Bytes a second of it."""
TIMEOUT_S = 60.0
SAMPLES_EACH_S = 200_000
"""Least speed of chromaprint that is waited for, samples a second: a hundredth of what it takes."""


class ChromaprintFailed(FarmError):
    """The program that makes fingerprints of sound did not answer; the sound is encoded, and can be tried again."""

    code = "chromaprint_failed"
    fault = Fault.INFRASTRUCTURE


def heard(blocks: Iterable[Samples], sample_rate: int, path: Path) -> Iterator[Samples]:
    """Pass blocks of stereo on, and write them to `path` in little."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
    with path.open("wb") as file:
        for block in blocks:
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), "fltp", "stereo")
            frame.sample_rate = sample_rate
            for small in resampler.resample(frame):
                file.write(small.to_ndarray().tobytes())
            yield block
        for small in resampler.resample(None):
            file.write(small.to_ndarray().tobytes())


def chromaprint(path: Path) -> Words:
    """The words of what `heard` wrote; none for sound of less than about three seconds.

    Raises:
        ChromaprintFailed: FFmpeg could not be run, or not in time.
    """
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "s16le", "-ar", str(SAMPLE_RATE), "-ac", "1"]
    command += ["-i", str(path), "-f", "chromaprint", "-fp_format", "raw", "-"]
    timeout_s = TIMEOUT_S + path.stat().st_size / 2 / SAMPLES_EACH_S
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False)
    except (OSError, subprocess.SubprocessError, RuntimeError) as error:
        raise ChromaprintFailed(f"ffmpeg does not make chromaprints here: {error}") from error
    if done.returncode or len(done.stdout) % 4:
        raise ChromaprintFailed(f"ffmpeg ended with {done.returncode}: {done.stderr.decode(errors='replace')[-300:]}")
    return np.frombuffer(done.stdout, "<u4").astype(np.uint32)


def encode_words(words: Words) -> str:
    """Words as they are kept in a record: base64, little end first."""
    return base64.b64encode(words.astype("<u4").tobytes()).decode()
