"""Fingerprint of a file without encoding it: the same decode, grid, smallest rendition and listeners as the farm's.

`python -m benchmarks.content_specimens FILE OUT SECONDS` is what the benchmark runs for each file, so that a file that
breaks a decoder ends one process. The smallest rendition is scaled from the source at once here and through the larger
ones in the farm; hashes do not feel the difference.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import numpy as np

from encoders.audio import sound_lengths
from encoders.backends.base import SegmentRequest
from encoders.backends.cpu import read_on_grid
from encoders.backends.frames import FrameReader
from encoders.backends.painter import Painter
from encoders.plan import Plan, Segment, plan_asset
from encoders.probe import probe_source
from encoders.profiles.load import load_profile
from encoders.recognition.fingerprint import Fingerprint, fingerprint_of
from encoders.recognition.listener import PictureListener, sample_at
from encoders.recognition.sound import chromaprint, encode_words, heard
from encoders.sound import Soundtrack
from encoders.timing import FrameClock

TIMEOUT_S = 300


def fingerprint_file(path: Path, seconds: float) -> Fingerprint:
    """Fingerprint of a file's first seconds.

    Raises:
        CalledProcessError, TimeoutExpired: the file does not decode, or not in time.
    """
    with tempfile.TemporaryDirectory(prefix="reelmill-specimen-") as folder:
        out = Path(folder) / "fingerprint"
        command = [sys.executable, "-m", __name__, str(path.resolve()), str(out), str(seconds)]
        subprocess.run(command, check=True, capture_output=True, timeout=TIMEOUT_S)
        return Fingerprint.from_bytes(out.read_bytes())


def _listen(path: Path, seconds: float) -> Fingerprint:
    info = probe_source(path, "0" * 64)
    plan = plan_asset(info, load_profile("default"), 2, "none")
    marks, words = "", ""
    if plan.grid is not None and info.video is not None:
        grid, listener = plan.grid, PictureListener(plan.grid.fps)
        end = min(grid.frames, int(seconds * grid.fps) + 1)
        whole = Segment(index=0, start=0, end=end, first_media=0)
        request = SegmentRequest(source=path, video=info.video, plan=plan, segment=whole, threads=2)
        painter = Painter(info.video, plan.renditions[:1])
        with FrameReader(path, info.video, 2) as reader:
            for number, frame in read_on_grid(request, FrameClock.of(info.video, grid), reader):
                if sample_at(number, grid.fps) is not None:
                    plane = painter.paint(frame)[0].planes[0]
                    luma = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
                    listener.take(number, luma[: plane.height, : plane.width])
        marks = listener.marks()
    if plan.audio:
        words = _words(path, plan, Fraction(round(seconds)))
    return fingerprint_of([marks], words)


def _words(path: Path, plan: Plan, seconds: Fraction) -> str:
    rate = plan.audio_settings.sample_rate
    least, most = (min(length, int(seconds * rate)) for length in sound_lengths(plan))
    default = next(each for each in plan.audio if each.default)
    track = Soundtrack(path, default.stream, plan.origin_s, least, most, rate)
    with tempfile.TemporaryDirectory(prefix="reelmill-heard-") as folder:
        small = Path(folder) / "heard"
        for _ in heard(track.blocks(), rate, small):
            pass
        return encode_words(chromaprint(small))


if __name__ == "__main__":
    Path(sys.argv[2]).write_bytes(_listen(Path(sys.argv[1]), float(sys.argv[3])).to_bytes())
