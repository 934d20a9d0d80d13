"""`python -m benchmarks content-id DIR`: what known-content matching finds, misses and takes for something else.

1. Pairs: all valid files of the folder against a catalogue of all of them. What its MANIFEST.tsv calls a copy or a pair
   of another file, and what this module knows to be of one film, must match; files of other films must not.
2. Copies: of clips of a few real files, each kind of copy (`content_copies`) against a catalogue of the clips and of
   all other files of the folder.
3. Short excerpts of these copies, asked with the catalogue's lists and by comparing all (`content_windows`).
4. Speed: one hash against 100 thousand and a million, and a minute of video against each.

Precision and recall are of (video, work) pairs.
"""

from __future__ import annotations

import csv
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.content_copies import COPIES, Copy, cut_clip, make_copy
from benchmarks.content_specimens import fingerprint_file
from benchmarks.content_windows import score_windows
from benchmarks.environment import write_results
from encoders.recognition.catalogue import Catalogue, open_catalogue, write_catalogue
from encoders.recognition.fingerprint import PICTURE, Fingerprint, FingerprintInvalid
from encoders.recognition.known import KnownContentSettings, MatchKind
from encoders.recognition.near import near_hashes
from encoders.recognition.pictures import REGISTERED_VIEWS
from encoders.recognition.recognise import recognise

ONE_FILM = (
    frozenset(
        {
            "copy_bbb_360p30_12s.ts",
            "copy_bbb_vp8_720p24_30s.webm",
            "hevc8_1080p24_51.ts",
            "hevc8_bbb_1080p30_10s.mp4",
            "start_pts10s_sar1137x800.mp4",
            "vvc_320x180_10bit.mp4",
        }
    ),
    frozenset({"moov_at_end_gizmo.mp4", "vp9_opus_560x320.webm"}),
)
"""Files of one film whose manifest does not say so; looked at by eye. Those of a film need not overlap, so a match
between them is right and a missing one is not counted."""
CLIPS = (
    ("film_sintel_trailer_720p24_52s.mp4", 8.0),
    ("film_agent327_1080p24_a_fmp4.mp4", 3.0),
    ("natural_coffee_720p2997.mp4", 0.0),
    ("sport_juggle_720p24_10s.mp4", 0.0),
    ("natural_night_1080p20_26s_fmp4.mp4", 0.0),
)
"""File and second from which copies are made of it."""
SETTINGS = KnownContentSettings()
LEAST_DISTINCT = 8
"""Words of a clip's sound; with fewer it is silent, and no copy of it can be found."""
MENTION = re.compile(r"(?:copy|pair)\b.*?\b(?:of|with) ([\w.-]+\.\w+)")


@dataclass(slots=True, kw_only=True)
class Score:
    """Pairs of one kind: `wanted` that should match, `found` of them, `wrong` that matched and should not."""

    name: str
    wanted: int = 0
    found: int = 0
    wrong: int = 0
    compared: int = 0

    @property
    def recall(self) -> float | None:
        """Of what should match, the share that did."""
        return self.found / self.wanted if self.wanted else None

    @property
    def precision(self) -> float | None:
        """Of what matched, the share that should."""
        return self.found / (self.found + self.wrong) if self.found + self.wrong else None


def manifest_pairs(folder: Path) -> tuple[list[str], set[frozenset[str]]]:
    """Valid files, and the pairs of them that are called copies of one another."""
    with (folder / "MANIFEST.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    valid = sorted(row["file"] for row in rows if row["kind"] == "valid")
    pairs: set[frozenset[str]] = set()
    families: defaultdict[str, list[str]] = defaultdict(list)
    for row in rows:
        told = row["exercises"]
        pairs |= {frozenset((row["file"], other)) for other in MENTION.findall(told) if other in valid}
        if "CONTENT-ID copy:" in told or "CONTENT-ID original" in told:
            families["_".join(row["file"].split("_")[:2])].append(row["file"])
    for family in families.values():
        pairs |= {frozenset((one, other)) for one in family for other in family if one != other}
    return valid, {pair for pair in pairs if len(pair) == 2 and pair <= set(valid)}


class Kept:
    """Fingerprints kept in a folder from run to run: decoding a corpus takes minutes, comparing it seconds."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def get(self, name: str, make: Callable[[], Fingerprint | None]) -> Fingerprint | None:
        """The fingerprint of a name, made when it is not there or of another version."""
        path = self._folder / re.sub(r"[^\w.-]+", "_", name)
        if path.exists():
            with suppress(FingerprintInvalid):
                return Fingerprint.from_bytes(path.read_bytes())
        fingerprint = make()
        if fingerprint is not None:
            path.write_bytes(fingerprint.to_bytes())
        return fingerprint


def read_folder(folder: Path, names: list[str], seconds: float, kept: Kept, console: Console) -> dict[str, Fingerprint]:
    """Fingerprints of all files that have one."""
    found = {}
    for name in names:
        try:
            fingerprint = kept.get(name, partial(fingerprint_file, folder / name, seconds))
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            console.print(f"{name} left out: {(error.stderr or b'')[-200:].decode(errors='replace')}")
            continue
        if fingerprint is not None and not fingerprint.empty:
            found[name] = fingerprint
    return found


def catalogue_of(path: Path, files: dict[str, Fingerprint]) -> Catalogue:
    """A catalogue in which every file is a work registered from the video of its name."""
    write_catalogue(path, [(name, name, name, fingerprint) for name, fingerprint in files.items()])
    return open_catalogue(path)


def score_pairs(
    files: dict[str, Fingerprint], catalogue: Catalogue, pairs: set[frozenset[str]]
) -> tuple[Score, list[str]]:
    """Every file against all others; the sentences name what was missed or wrong."""
    score, notes = Score(name="pairs of the folder"), []
    for name, fingerprint in files.items():
        matches = recognise(fingerprint, catalogue, SETTINGS, name).matches
        hits = {match.work_id for match in matches}
        for other in files:
            if other == name:
                continue
            score.compared += 1
            wanted = frozenset((name, other)) in pairs
            score.wanted += wanted
            score.found += wanted and other in hits
            if wanted and other not in hits:
                notes.append(f"missed: {name} holds {other}")
            if other in hits and not wanted:
                if any({name, other} <= film for film in ONE_FILM):
                    notes.append(f"right, though the manifest does not say so: {name} holds {other}")
                else:
                    score.wrong += 1
                    notes.append(f"WRONG: {name} holds {other}")
    return score, notes


def score_copies(
    folder: Path, files: dict[str, Fingerprint], work: Path, kept: Kept, console: Console
) -> tuple[list[Score], list[dict[str, Any]]]:
    """Each kind of copy of each clip against the clips and all other files, whole and in short excerpts."""
    scores = {copy.name: Score(name=copy.name) for copy in COPIES}
    works = dict(files)
    pictures: list[tuple[str, Fingerprint]] = []
    clips = {name: start_s for name, start_s in CLIPS if name in files}

    def clip_of(name: str) -> Path:
        path = work / f"{name}.clip.mp4"
        if not path.exists():
            cut_clip(folder / name, clips[name], path)
        return path

    def copy_of(name: str, copy: Copy) -> Fingerprint | None:
        path = work / ("copy.m4a" if copy.of_sound else "copy.mp4")
        return fingerprint_file(path, 60) if make_copy(clip_of(name), copy, path) else None

    def clip_fingerprint(name: str) -> Fingerprint:
        return fingerprint_file(clip_of(name), 60)

    for name in clips:
        clip = kept.get(f"{name}.clip", partial(clip_fingerprint, name))
        assert clip is not None
        works[name] = clip
    catalogue = catalogue_of(work / "clips", works)
    for name in clips:
        silent = len(np.unique(works[name].sound)) < LEAST_DISTINCT
        for copy in COPIES:
            if copy.of_sound and silent:
                continue
            fingerprint = kept.get(f"{name}.{copy.name}", partial(copy_of, name, copy))
            if fingerprint is None:
                continue
            if copy.of_sound:
                fingerprint = replace(fingerprint, pictures=np.zeros(0, PICTURE))
            else:
                fingerprint = replace(fingerprint, sound=np.zeros(0, np.uint32))
                pictures.append((name, fingerprint))
            kind = MatchKind.SOUND if copy.of_sound else MatchKind.PICTURE
            hits = {match.work_id for match in recognise(fingerprint, catalogue, SETTINGS, "").matches}
            score = scores[copy.name]
            score.wanted, score.found = score.wanted + 1, score.found + (name in hits)
            # The clips' files have other copies in the folder, which are right to match.
            others = {hit for hit in hits if hit != name and not _kin(hit, name)}
            score.wrong, score.compared = score.wrong + len(others), score.compared + len(works)
            console.print(f"{'found ' if name in hits else 'missed'} {kind:7} {name}: {copy.name}", *others)
    return list(scores.values()), score_windows(works, pictures, work)


def _kin(one: str, other: str) -> bool:
    """Whether two names are of one film, as far as names tell ("film_agent327_…", "copy_agent327_…")."""
    return one.split("_")[1:2] == other.split("_")[1:2]


def measure_speed(work: Path, query: Fingerprint) -> list[dict[str, Any]]:
    """Random catalogues of growing size: milliseconds for one hash, seconds for a minute of video."""
    rng = np.random.default_rng(0)
    results = []
    for hashes in (100_000, 1_000_000):
        rows = hashes // len(REGISTERED_VIEWS) * 2
        pictures = np.zeros(rows, PICTURE)
        pictures["sample"] = np.arange(rows)
        pictures["hashes"] = rng.integers(0, 256, pictures["hashes"].shape, np.uint8)
        words = rng.integers(0, 2**32, rows * 4, dtype=np.uint32)
        path = work / f"speed-{hashes}"
        write_catalogue(path, [("w", "Noise", "w", Fingerprint(pictures=pictures, sound=words))])
        catalogue = open_catalogue(path)
        asked = rng.integers(0, 256, (20, 32), np.uint8)
        near_hashes(asked[:1], catalogue)
        begin = time.perf_counter()
        near_hashes(asked, catalogue)
        one_s = (time.perf_counter() - begin) / len(asked)
        begin, cpu = time.perf_counter(), time.process_time()
        recognise(query, catalogue, SETTINGS, "")
        results.append(
            {
                "hashes": len(catalogue.coarse),
                "hours_of_works": round(rows / 2 / 3600, 1),
                "file_bytes": path.stat().st_size,
                "one_hash_ms": round(one_s * 1e3, 4),
                "video_s": round(len(query.pictures) / 2, 1),
                "whole_video_s": round(time.perf_counter() - begin, 4),
                "whole_video_cpu_s": round(time.process_time() - cpu, 4),
            }
        )
    return results


def print_scores(scores: list[Score], console: Console) -> None:
    """The table."""
    table = Table("", "should match", "recall", "matched wrongly", "of pairs", "precision")
    for score in scores:
        recall = "-" if score.recall is None else f"{score.recall:.0%}"
        precision = "-" if score.precision is None else f"{score.precision:.0%}"
        table.add_row(score.name, str(score.wanted), recall, str(score.wrong), str(score.compared), precision)
    console.print(table)


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--seconds", default=60.0, show_default=True, help="Of each file, as much is taken.")
@click.option("--copies/--no-copies", default=True, show_default=True, help="Make copies of clips, too.")
@click.option("--keep", type=click.Path(file_okay=False, path_type=Path), help="Keep fingerprints here between runs.")
@click.option("--json", "json_path", type=click.Path(dir_okay=False, path_type=Path), help="Write the results here.")
def command(folder: Path, seconds: float, copies: bool, keep: Path | None, json_path: Path | None) -> None:
    """Precision, recall and speed of known-content matching."""
    console = Console(width=140)
    names, pairs = manifest_pairs(folder)
    with tempfile.TemporaryDirectory(prefix="reelmill-content-") as scratch:
        work = Path(scratch)
        kept = Kept(keep or work / "kept")
        files = read_folder(folder, names, seconds, kept, console)
        score, notes = score_pairs(files, catalogue_of(work / "all", files), pairs)
        scores = [score]
        windows: list[dict[str, Any]] = []
        if copies:
            of_copies, windows = score_copies(folder, files, work, kept, console)
            scores += of_copies
        speed = measure_speed(work, max(files.values(), key=lambda each: len(each.pictures)))
    for note in sorted(notes):
        console.print(note)
    print_scores(scores, console)
    for row in [*windows, *speed]:
        console.print(row)
    if json_path:
        rows = [asdict(each) | {"recall": each.recall, "precision": each.precision} for each in scores]
        told = {"files": len(files), "scores": rows, "notes": notes, "windows": windows, "speed": speed}
        write_results(json_path, "content-id", told)
    sys.exit(1 if any(each.wrong for each in scores) else 0)
