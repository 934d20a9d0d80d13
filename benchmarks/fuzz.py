"""`python -m benchmarks fuzz`: broken files by the ten thousand through probe and full decoding, each confined.

What must hold: no hang, no crash of the process that asks, no memory beyond the limit, every refusal typed, and no file
accepted of which nothing can be decoded. A child that dies by a signal is a defect of a codec that the confinement
holds: it is counted and kept, not a failure.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import click
import numpy as np

from benchmarks.fuzz_child import Seen, examine_batch
from benchmarks.mutate import mutate
from encoders.confine import Confiner, Limits, evidence_of
from encoders.errors import FarmError, Fault, MediaCrashed

LIMITS = Limits(memory_bytes=1 << 30, cpu_s=20, wall_s=30.0, output_bytes=1 << 20)
MAX_SEED_BYTES = 300_000
BATCH = 8
"""Mutations to one child: together they stay far from its limits, and its fork costs each an eighth."""
ENCODE_EVERY = 4
"""Of how many mutations one goes on to be encoded, which costs as much as all before it."""
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


@dataclass(slots=True)
class Findings:
    """Results of a run.

    Attributes:
        codes: how files ended: "accepted" or the error's code.
        defects: sentences; any one makes the run a failure.
        contained: children that died by a signal: number of the mutation and how.
        slowest_s: longest time of one file.
        peak_bytes: most memory that a child which accepted a file had taken by then.
        encoded: files of which the first segment was encoded and verified.
    """

    codes: Counter[str] = field(default_factory=Counter)
    defects: list[str] = field(default_factory=list)
    contained: list[tuple[int, str]] = field(default_factory=list)
    slowest_s: float = 0.0
    peak_bytes: int = 0
    encoded: int = 0


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
                    batch = list(islice(queue, BATCH))
                if not batch:
                    return
                self.try_batch(batch, series)

        with ThreadPoolExecutor(workers) as pool:
            for done in [pool.submit(work) for _ in range(workers)]:
                done.result()
        return self.findings

    def try_batch(self, numbers: Sequence[int], series: int) -> None:
        """Make some mutations, look at them in one child, and book what came of each.

        What ends the child, or passes a limit that all of them share, is found by looking at each in a child of its
        own; what is booked comes of that.
        """
        with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
            paths = {number: self._make(number, series, Path(scratch)) for number in numbers}
            try:
                found = dict(zip(numbers, self._examine(paths, Path(scratch)), strict=True))
            except FarmError:
                found = {}
            for number, path in paths.items():
                self._book(number, series, path, found.get(number) or self._alone(number, path, Path(scratch)))

    def _make(self, number: int, series: int, folder: Path) -> Path:
        path = folder / f"{series}-{number}"
        path.write_bytes(mutate(self.seeds, number, series))
        return path

    def _examine(self, paths: Mapping[int, Path], scratch: Path) -> list[Seen]:
        files = [(path, number % ENCODE_EVERY == 0) for number, path in paths.items()]
        outputs = Path(tempfile.mkdtemp(dir=scratch))
        seen: list[Seen] = self.confiner.run(
            examine_batch, files, outputs, limits=LIMITS, readable=list(paths.values()), writable=[outputs]
        )
        return seen

    def _alone(self, number: int, path: Path, scratch: Path) -> Seen:
        """Look at one file in a child of its own: how that child ended is a finding too."""
        begin = time.monotonic()
        try:
            return self._examine({number: path}, scratch)[0]
        except FarmError as error:
            detail, evidence = error.detail, evidence_of(error)
            if isinstance(error, MediaCrashed) and not evidence.get("exit", "").startswith("-"):
                detail += "\n" + evidence.get("traceback", "")
            return Seen(code=error.code, fault=error.fault, detail=detail, took_s=time.monotonic() - begin)

    def _book(self, number: int, series: int, path: Path, seen: Seen) -> None:
        defect = defect_of(seen)
        with self._lock:
            findings = self.findings
            findings.codes[seen.code or "accepted"] += 1
            findings.encoded += bool(seen.encoded)
            findings.slowest_s = max(findings.slowest_s, seen.took_s)
            findings.peak_bytes = max(findings.peak_bytes, seen.peak_bytes)
            if defect:
                findings.defects.append(f"{series}/{number}: {defect}")
            elif seen.code == MediaCrashed.code:
                findings.contained.append((number, seen.detail))
        if self.keep and (defect or seen.code == MediaCrashed.code or seen.took_s > LIMITS.wall_s / 3):
            shutil.copy(path, self.keep / path.name)


def defect_of(seen: Seen) -> str | None:
    """What must not be, as a sentence; None when all is well, a death by signal included: the confinement held it."""
    if seen.took_s > LIMITS.wall_s:
        return f"hung for {seen.took_s:.0f} s"
    if not seen.code:
        return "accepted, but no frame decodes" if seen.declared and not seen.pictures else None
    died_by_signal = seen.code == MediaCrashed.code and "died: SIG" in seen.detail
    return None if seen.fault is Fault.INPUT or died_by_signal else f"{seen.code}: {seen.detail}"


@click.command(help=__doc__)
@click.option("--count", default=20_000, show_default=True, help="Mutations.")
@click.option("--start", default=0, show_default=True, help="Number of the first one.")
@click.option("--series", default=1, show_default=True, help="Seed of the mutations.")
@click.option("--seconds", type=float, help="Begin no more of them after so long.")
@click.option("--workers", default=os.cpu_count() or 1, show_default=True, help="Children at once.")
@click.option("--seeds", type=click.Path(path_type=Path, exists=True, file_okay=False), help="Folder of more seeds.")
@click.option("--seed-bytes", default=MAX_SEED_BYTES, show_default=True, help="Length of the longest file taken there.")
@click.option("--keep", type=click.Path(path_type=Path, file_okay=False), help="Folder for files with findings.")
def command(
    count: int,
    start: int,
    series: int,
    seconds: float | None,
    workers: int,
    seeds: Path | None,
    seed_bytes: int,
    keep: Path | None,
) -> None:
    """Run, print what was found, exit with 1 if anything that must hold does not."""
    if keep:
        keep.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, Confiner() as confiner:
        folder = Path(scratch)
        whole = [*seeds_made(folder), *(_small_files(seeds, seed_bytes) if seeds else ())]
        fuzzer = Fuzzer(confiner, whole, folder, keep)
        begin = time.monotonic()
        findings = fuzzer.run(range(start, start + count), series, workers, seconds)
        took_s = time.monotonic() - begin
    total = findings.codes.total()
    print(f"{total} files from {len(whole)} seeds in {took_s:.0f} s ({total / took_s:.0f} a second)")
    print(f"slowest {findings.slowest_s:.1f} s, most memory {findings.peak_bytes >> 20} MiB")
    print(f"{findings.encoded} of them encoded and verified as far as their first segment")
    for code, times in findings.codes.most_common():
        print(f"  {times:7} {code}")
    for crash in islice(findings.contained, 20):
        print(f"contained: {crash[0]} {crash[1]}")
    for defect in findings.defects:
        print(f"DEFECT {defect}")
    if findings.defects:
        raise SystemExit(1)


def _small_files(folder: Path, most_bytes: int) -> list[bytes]:
    paths = [path for path in sorted(folder.iterdir()) if path.is_file() and 0 < path.stat().st_size <= most_bytes]
    return [path.read_bytes() for path in paths]
