"""`python -m benchmarks fuzz`: broken files by the ten thousand through probe and full decoding, each confined.

What must hold: no hang, no crash of the process that asks, no memory beyond the limit, every refusal typed, and no file
accepted of which nothing can be decoded. A child that dies by a signal is a defect of a codec that the confinement
holds: it is counted and kept, not a failure.
"""

from __future__ import annotations

import os
import resource
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import click
import numpy as np
from av.container import InputContainer

from benchmarks.mutate import mutate
from encoders.confine import Confiner, Limits, evidence_of
from encoders.demux import MEDIA_ERRORS, open_source, read_packets
from encoders.errors import FarmError, Fault, MediaCrashed
from encoders.probe import probe_source
from encoders.sample import prepare

LIMITS = Limits(memory_bytes=1 << 30, cpu_s=20, wall_s=30.0, output_bytes=1 << 20)
MAX_FRAMES = 3000
MAX_PIXELS_DECODED = 400_000_000
"""A file's decoding ends after so many frames or pixels (200 frames of 1080p): more of the same finds nothing new."""
MAX_SEED_BYTES = 300_000
KINDS: tuple[tuple[str, str, str, dict[str, str]], ...] = (
    ("mp4", "libx264", "aac", {}),
    ("mp4", "libx264", "aac", {"movflags": "frag_keyframe+empty_moov"}),
    ("mov", "mpeg4", "pcm_s16le", {}),
    ("matroska", "libx264", "flac", {}),
    ("webm", "libvpx-vp9", "libopus", {}),
    ("mpegts", "mpeg2video", "mp2", {}),
    ("mpegts", "libx264", "aac", {}),
    ("avi", "mpeg4", "mp3", {}),
    ("flv", "libx264", "aac", {}),
    ("ogg", "libvpx", "libvorbis", {}),
    ("asf", "wmv2", "wmav2", {}),
    ("mxf", "mpeg2video", "pcm_s16le", {}),
)
"""Container, picture codec, sound codec and muxer options of the seeds that are made here."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a confined look at one file found."""

    pictures: int
    sounds: int
    declared: int
    peak_bytes: int


@dataclass(slots=True)
class Findings:
    """Results of a run.

    Attributes:
        codes: how files ended: "accepted" or the error's code.
        defects: sentences; any one makes the run a failure.
        contained: children that died by a signal: number of the mutation and how.
        slowest_s: longest time of one file.
        peak_bytes: most memory that one accepted file took.
    """

    codes: Counter[str] = field(default_factory=Counter)
    defects: list[str] = field(default_factory=list)
    contained: list[tuple[int, str]] = field(default_factory=list)
    slowest_s: float = 0.0
    peak_bytes: int = 0


def examine(path: Path) -> Seen:
    """Probe a file, then decode all of it, as far as it goes. Runs in a confined child."""
    info = probe_source(path, "0" * 64)
    wanted = {track.stream for track in info.audio} | ({info.video.stream} if info.video else set())
    pictures = sounds = pixels = 0
    with closing(open_source(path)) as container:
        for frame in islice(_frames(container, wanted), MAX_FRAMES):
            if isinstance(frame, av.VideoFrame):
                pictures += 1
                pixels += frame.width * frame.height
            else:
                sounds += 1
            if pixels > MAX_PIXELS_DECODED:
                break
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Seen(pictures, sounds, info.video.frames if info.video else 0, peak_bytes)


def _frames(container: InputContainer, wanted: Collection[int]) -> Iterator[object]:
    """All frames of some streams, in file order, then what the decoders still hold."""
    streams = [
        stream
        for stream in container.streams
        if stream.index in wanted and isinstance(stream, av.VideoStream | av.AudioStream)
    ]
    for stream in streams:
        prepare(stream)
    for packet in read_packets(container, [*streams]):
        with suppress(*MEDIA_ERRORS):
            yield from packet.decode()
    for stream in streams:
        with suppress(*MEDIA_ERRORS):
            yield from stream.decode(None)


def seeds_made(folder: Path) -> Iterator[bytes]:
    """Small whole files of many containers and codecs; kinds that this FFmpeg cannot write are left out."""
    for number, (container, picture, sound, options) in enumerate(KINDS):
        path = folder / f"seed-{number}"
        try:
            _write_seed(path, container, picture, sound, options)
        except (av.FFmpegError, ValueError):
            continue
        yield path.read_bytes()


def _write_seed(path: Path, container: str, picture: str, sound: str, options: dict[str, str]) -> None:
    with av.open(str(path), "w", format=container, options=options) as output:
        fast = {"preset": "ultrafast"} if picture == "libx264" else {}
        video, audio = output.add_stream(picture, rate=25, options={"g": "6", **fast}), output.add_stream(sound, 48_000)
        assert isinstance(video, av.VideoStream)
        assert isinstance(audio, av.AudioStream)
        video.width, video.height, video.pix_fmt, audio.layout = 128, 96, "yuv420p", "stereo"
        dice = np.random.default_rng(len(container))
        for number in range(18):
            pixels = np.kron(dice.integers(0, 255, (12, 16, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            output.mux(video.encode(frame))
        samples = (8000 * np.sin(np.arange(34_560) / 17)).astype(np.int16)
        block = av.AudioFrame.from_ndarray(np.stack([samples, samples]), format="s16p", layout="stereo")
        block.sample_rate, block.pts, block.time_base = 48_000, 0, Fraction(1, 48_000)
        size = audio.codec_context.frame_size or 1024
        for part in av.AudioResampler(audio.format, "stereo", 48_000, frame_size=size).resample(block):
            output.mux(audio.encode(part))
        output.mux(video.encode())
        output.mux(audio.encode())


class Fuzzer:
    """Runs mutations through confined children, several at once.

    Args:
        confiner: starts the children; not closed here.
        seeds: whole files.
        folder: for the mutated files while they are looked at.
        keep: folder for files with findings, or None.
    """

    def __init__(self, confiner: Confiner, seeds: Sequence[bytes], folder: Path, keep: Path | None = None) -> None:
        self.confiner = confiner
        self.seeds = seeds
        self.folder = folder
        self.keep = keep
        self.findings = Findings()
        self._lock = threading.Lock()

    def run(self, numbers: range, series: int, workers: int, seconds: float | None = None) -> Findings:
        """Try the mutations with these numbers, or as many as fit into `seconds`."""
        end = None if seconds is None else time.monotonic() + seconds
        queue = iter(numbers)

        def work() -> None:
            while end is None or time.monotonic() < end:
                with self._lock:
                    number = next(queue, None)
                if number is None:
                    return
                self.try_one(number, series)

        with ThreadPoolExecutor(workers) as pool:
            for done in [pool.submit(work) for _ in range(workers)]:
                done.result()
        return self.findings

    def try_one(self, number: int, series: int) -> None:
        """Make one mutation, look at it, and book what came of it."""
        data = mutate(self.seeds, number, series)
        path = self.folder / f"{series}-{number}"
        path.write_bytes(data)
        begin = time.monotonic()
        code, defect, seen = "accepted", None, None
        try:
            seen = self.confiner.run(examine, path, limits=LIMITS, readable=[path])
            if seen.declared and not seen.pictures:
                defect = "accepted, but no frame decodes"
        except MediaCrashed as error:
            code, defect = error.code, self._judge_crash(number, error)
        except FarmError as error:
            code = error.code
            if error.fault is not Fault.INPUT:
                defect = f"{error.code}: {error.detail}"
        took_s = time.monotonic() - begin
        if took_s > LIMITS.wall_s:
            defect = defect or f"hung for {took_s:.0f} s"
        with self._lock:
            self.findings.codes[code] += 1
            self.findings.slowest_s = max(self.findings.slowest_s, took_s)
            self.findings.peak_bytes = max(self.findings.peak_bytes, seen.peak_bytes if seen else 0)
            if defect:
                self.findings.defects.append(f"{series}/{number}: {defect}")
        if self.keep and (defect or code == MediaCrashed.code or took_s > LIMITS.wall_s / 3):
            (self.keep / path.name).write_bytes(data)
        path.unlink()

    def _judge_crash(self, number: int, error: MediaCrashed) -> str | None:
        """None for a death by signal, which the confinement holds; otherwise what is wrong."""
        if evidence_of(error).get("exit", "").startswith("-"):
            with self._lock:
                self.findings.contained.append((number, error.detail))
            return None
        return f"{error.detail}\n{evidence_of(error).get('traceback', '')}"


@click.command(help=__doc__)
@click.option("--count", default=20_000, show_default=True, help="Mutations.")
@click.option("--start", default=0, show_default=True, help="Number of the first one.")
@click.option("--series", default=1, show_default=True, help="Seed of the mutations.")
@click.option("--workers", default=os.cpu_count() or 1, show_default=True, help="Children at once.")
@click.option("--seeds", type=click.Path(path_type=Path, exists=True, file_okay=False), help="Folder of more seeds.")
@click.option("--keep", type=click.Path(path_type=Path, file_okay=False), help="Folder for files with findings.")
def command(count: int, start: int, series: int, workers: int, seeds: Path | None, keep: Path | None) -> None:
    """Run, print what was found, exit with 1 if anything that must hold does not."""
    if keep:
        keep.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, Confiner() as confiner:
        folder = Path(scratch)
        whole = [*seeds_made(folder), *(_small_files(seeds) if seeds else ())]
        fuzzer = Fuzzer(confiner, whole, folder, keep)
        begin = time.monotonic()
        findings = fuzzer.run(range(start, start + count), series, workers)
        took_s = time.monotonic() - begin
    total = findings.codes.total()
    print(f"{total} files from {len(whole)} seeds in {took_s:.0f} s ({total / took_s:.0f} a second)")
    print(f"slowest {findings.slowest_s:.1f} s, most memory {findings.peak_bytes >> 20} MiB")
    for code, times in findings.codes.most_common():
        print(f"  {times:7} {code}")
    for crash in islice(findings.contained, 20):
        print(f"contained: {crash[0]} {crash[1]}")
    for defect in findings.defects:
        print(f"DEFECT {defect}")
    if findings.defects:
        raise SystemExit(1)


def _small_files(folder: Path) -> list[bytes]:
    paths = [path for path in sorted(folder.iterdir()) if path.is_file() and 0 < path.stat().st_size <= MAX_SEED_BYTES]
    return [path.read_bytes() for path in paths]
