"""`python -m benchmarks content-scale --against faiss`: the search for near hashes beside faiss's binary indexes.

All contenders get the same hashes, in parts of the catalogue as a farm has them: real ones of the fingerprints that
`content-id --keep` left (`--kept`), and as many made ones as are asked for, drawn with the correlations of the real
bits, so that they crowd as films' do; without kept fingerprints all are random. Questions are what the product asks
about copies of real clips, or about noisy excerpts where none are kept.

Told are processor time of one thread, memory that is the process's own (what is mapped from a file is shared by all
workers of a node), bytes on disk, and what is found: of all pairs of hashes within `NEAR_BITS` (the nearest `MOST_HITS`
of a question), and of the copies.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from benchmarks import content_contenders
from benchmarks.content_contenders import CONTENDERS, Faiss, Pairs, Product
from encoders.confine import Confiner, failure_of
from encoders.errors import FarmError
from encoders.recognition.catalogue import EVERY_SAMPLE, open_catalogue, write_catalogue
from encoders.recognition.fingerprint import PICTURE, Fingerprint
from encoders.recognition.known import KnownContentSettings
from encoders.recognition.match_pictures import Asked, find_pictures, questions_of
from encoders.recognition.near import MOST_HITS, Near, bits
from encoders.recognition.pictures import HASH_BYTES, REGISTERED_VIEWS, VIEWS

Hashes = npt.NDArray[np.uint8]
PART_HASHES = 2_880_000
"""Of a part of the catalogue: 50 hours, what merging makes."""
MOST = {"scan": 3_000_000, "hnsw": 1_000_000, "ivf": 20_000_000}
"""Hashes above which a contender takes too long here: comparing all, building a graph, finding centres."""
NONE = np.zeros((0, HASH_BYTES), np.uint8)
BLOCK = 1 << 16
FLIPPED = 0.1
"""Share of bits that differ in a made copy."""
SETTINGS = KnownContentSettings()
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Film:
    """A copy that is asked about, and the work it is of."""

    work: str
    asked: Asked


def missing_faiss() -> str | None:
    """Why faiss cannot be used here; None when it can."""
    try:
        importlib.import_module("faiss")
    except ImportError as error:
        return f"faiss cannot be imported ({error}): install faiss-cpu, or put a folder that has it on PYTHONPATH"
    return None


def films_like(real: Hashes, count: int, rng: np.random.Generator) -> Hashes:
    """Hashes whose bits correlate as those of real ones do; random ones where there are none."""
    if not len(real):
        return rng.integers(0, 256, (count, HASH_BYTES), np.uint8)
    signs = np.unpackbits(real, axis=1).astype(np.float32) * 2 - 1
    # Signs of two normal numbers with correlation r have 2 / pi asin(r).
    values, vectors = np.linalg.eigh(np.sin(np.corrcoef(signs.T) * np.pi / 2))
    mix = (vectors * np.sqrt(np.maximum(values, 0))).T.astype(np.float32)
    out = np.empty((count, HASH_BYTES), np.uint8)
    for start in range(0, count, BLOCK):
        normal = rng.standard_normal((min(BLOCK, count - start), len(mix)), np.float32)
        out[start : start + BLOCK] = np.packbits(normal @ mix > 0, axis=1)
    return out


def read_kept(folder: Path) -> tuple[dict[str, Fingerprint], list[tuple[str, Fingerprint]]]:
    """Works, and copies of some of them, of what `content-id --keep` left: names are `work.clip` and `work.kind`."""
    all_of_them = {path.name: Fingerprint.from_bytes(path.read_bytes()) for path in sorted(folder.iterdir())}
    seen = {name: fingerprint for name, fingerprint in all_of_them.items() if len(fingerprint.pictures)}
    clips = {name.removesuffix(".clip"): seen[name] for name in seen if name.endswith(".clip")}
    copies = []
    for work in clips:
        copies += [(work, seen[name]) for name in seen if name.startswith(f"{work}.") and not name.endswith(".clip")]
    rest = {name: seen[name] for name in seen if not any(name.startswith(f"{work}.") for work in clips)}
    return {**rest, **clips}, copies


def made_up(rng: np.random.Generator) -> tuple[dict[str, Fingerprint], list[tuple[str, Fingerprint]]]:
    """The same, where nothing is kept: random films, and excerpts of them with some bits turned."""
    works, copies = {}, []
    for number in range(20):
        pictures = _rows(rng.integers(0, 256, (240 * len(VIEWS), HASH_BYTES), np.uint8).reshape(240, len(VIEWS), -1))
        works[f"film {number}"] = Fingerprint(pictures=pictures, sound=np.zeros(0, np.uint32))
        excerpt = pictures[60:100].copy()
        excerpt["hashes"] ^= np.packbits(rng.random((*excerpt["hashes"].shape[:2], HASH_BYTES * 8)) < FLIPPED, axis=2)
        copies.append((f"film {number}", Fingerprint(pictures=excerpt, sound=np.zeros(0, np.uint32))))
    return works, copies


def _rows(hashes: Hashes, step: int = 1) -> npt.NDArray[np.void]:
    pictures = np.zeros(len(hashes), PICTURE)
    pictures["sample"], pictures["hashes"] = np.arange(len(hashes)) * step, hashes
    return pictures


def write_parts(
    folder: Path, works: dict[str, Fingerprint], real: Hashes, hashes: int, rng: np.random.Generator
) -> list[Path]:
    """Parts of the catalogue with so many hashes together, the works in the first, all others like `real`."""
    held = sum(int((work.pictures["sample"] % EVERY_SAMPLE == 0).sum()) for work in works.values())
    paths: list[Path] = []
    left = math.ceil(hashes / len(REGISTERED_VIEWS))
    while left > 0:
        count = min(left, PART_HASHES // len(REGISTERED_VIEWS))
        made = max(0, count - held) if not paths else count
        padding = np.zeros((made, len(VIEWS), HASH_BYTES), np.uint8)
        padding[:, list(REGISTERED_VIEWS)] = films_like(real, made * len(REGISTERED_VIEWS), rng).reshape(
            made, -1, HASH_BYTES
        )
        rest = Fingerprint(pictures=_rows(padding, EVERY_SAMPLE), sound=np.zeros(0, np.uint32))
        first = (
            [(name, name, name, replace(work, sound=rest.sound)) for name, work in works.items()] if not paths else []
        )
        paths.append(folder / f"part-{len(paths):03d}")
        write_catalogue(paths[-1], [*first, (f"made {len(paths)}", "Made", "", rest)])
        left -= count
    return paths


def choose_films(copies: Sequence[tuple[str, Fingerprint]], room: int, rng: np.random.Generator) -> list[Film]:
    """Copies of all kinds and clips by chance, whole ones, with at most so many questions together."""
    chosen: list[Film] = []
    for index in rng.permutation(len(copies)):
        work, fingerprint = copies[index]
        film = Film(work=work, asked=questions_of(fingerprint.pictures))
        if len(film.asked.hashes) <= room:
            chosen.append(film)
            room -= len(film.asked.hashes)
    return chosen


class Answers:
    """What the pairs that a contender found are worth."""

    def __init__(self, folder: Path, parts: Sequence[Path], films: Sequence[Film]) -> None:
        self._folder, self._films = folder, films
        self._parts = [open_catalogue(path) for path in parts]
        self._starts = np.cumsum([0, *(len(part.coarse) for part in self._parts)])
        self._wanted = np.concatenate([film.asked.hashes for film in films])
        self._all = len(self._starts) and int(self._starts[-1])

    def nearest(self, name: str) -> Pairs:
        """Pairs that a contender found, the nearest `MOST_HITS` of each question as the product takes them."""
        questions, numbers = np.load(self._folder / f"{name}.pairs.npy")
        distances = np.empty(len(numbers), np.int64)
        for index, part in enumerate(self._parts):
            mine = (numbers >= self._starts[index]) & (numbers < self._starts[index + 1])
            places = numbers[mine] - self._starts[index]
            rows, views = np.divmod(places, len(REGISTERED_VIEWS))
            theirs = part.pictures["hashes"][part.places[rows], np.array(REGISTERED_VIEWS)[views]]
            distances[mine] = bits(theirs ^ self._wanted[questions[mine]])
        order = np.lexsort((numbers, distances, questions))
        questions, numbers = questions[order], numbers[order]
        rank = np.arange(len(questions)) - np.searchsorted(questions, questions)
        return questions[rank < MOST_HITS], numbers[rank < MOST_HITS]

    def keys(self, name: str) -> npt.NDArray[np.int64]:
        """Pairs as one number each."""
        questions, numbers = self.nearest(name)
        return np.asarray(questions * self._all + numbers, np.int64)

    def copies_found(self, name: str) -> int:
        """Of the copies, those whose work is found when the votes are these pairs."""
        questions, numbers = self.nearest(name)
        found = before = 0
        for film in self._films:
            mine = (questions >= before) & (questions < before + len(film.asked.hashes)) & (numbers < self._starts[1])
            near = Near(questions=questions[mine] - before, places=numbers[mine])
            before += len(film.asked.hashes)
            part = self._parts[0]
            spans = find_pictures(
                film.asked, part, SETTINGS.picture_share, SETTINGS.min_s, (), near=lambda *_, near=near: near
            )
            found += film.work in {part.works[span.work].work_id for span in spans}
        return found


def run_apart(task: str, folder: Path) -> dict[str, Any]:
    """One step of a contender in a process of its own."""
    command = [sys.executable, "-m", content_contenders.__name__, task, str(folder)]
    path = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        command, env={**os.environ, **ENVIRONMENT, "PYTHONPATH": path}, stdout=subprocess.PIPE, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def run_confined(confiner: Confiner, name: str, parts: Sequence[Path], folder: Path, wanted: Hashes) -> dict[str, Any]:
    """The same question in a child without rights, as workers ask it."""
    readable = [folder, Path(__file__).parent]
    if issubclass(CONTENDERS[name], Faiss):
        readable.append(Path(str(importlib.import_module("faiss").__file__)).parent.parent)
    target = f"{content_contenders.__name__}:ask_confined"
    arguments = (name, [str(path) for path in parts], str(folder), wanted.tobytes())
    try:
        return {f"confined_{key}": value for key, value in confiner.run(target, *arguments, readable=readable).items()}
    except FarmError as error:
        return {"confined_error": failure_of(error).detail}


def compare(
    folder: Path, kept: Path | None, sizes: Sequence[int], questions: int, console: Console
) -> Iterator[dict[str, Any]]:
    """A row for each contender at each size; copies are asked about until they make so many questions."""
    rng = np.random.default_rng(11)
    works, copies = read_kept(kept) if kept else made_up(rng)
    # Correlations of random hashes would be drawn at the cost of real ones.
    real = np.concatenate(
        [each.pictures["hashes"].reshape(-1, HASH_BYTES) for each in works.values()] if kept else [NONE]
    )
    films = choose_films(copies, questions, rng)
    wanted = np.concatenate([film.asked.hashes for film in films])
    console.print(
        f"{len(works)} works, {len(wanted)} questions about {len(films)} copies of {len({film.work for film in films})}"
    )
    with Confiner(preload=("encoders.recognition.recognise",)) as confiner:
        for size in sizes:
            home = folder / str(size)
            home.mkdir()
            parts = write_parts(home, works, real, size, rng)
            np.save(home / "questions.npy", wanted)
            answers = Answers(home, parts, films)
            rows = []
            # Comparing all bits of all hashes says what there is to be found.
            for name in sorted(CONTENDERS, key=lambda name: name != "flat"):
                if size > MOST.get(name, size):
                    continue
                row = {"contender": name, "hashes": size, **run_apart(f"build:{name}", home)}
                if issubclass(CONTENDERS[name], Product):
                    row["build_s"] *= len(parts)
                row |= run_apart(f"ask:{name}", home)
                truth = answers.keys("flat")
                row["near_found"] = float(np.isin(truth, answers.keys(name)).mean())
                row["near_pairs"], row["copies_found"], row["copies"] = (
                    len(truth),
                    answers.copies_found(name),
                    len(films),
                )
                row |= run_confined(confiner, name, parts, home, wanted[: content_contenders.TIMED_QUESTIONS])
                (home / f"{CONTENDERS[name].__name__}.index").unlink(missing_ok=True)
                rows.append(row)
                console.print(row)
                yield row
            for path in home.iterdir():
                path.unlink()
            print_rows(rows, console)


def print_rows(rows: Sequence[dict[str, Any]], console: Console) -> None:
    """The table of one size."""
    table = Table(
        f"{rows[0]['hashes']:,} hashes", "build", "on disk", "load", "own memory", f"{rows[0]['questions']} questions",
        "near found", "copies", "add 2 h", "written", "remove", "confined",
    )  # fmt: skip
    for row in rows:
        table.add_row(
            row["contender"],
            f"{row['build_s']:.1f} s",
            f"{row['disk_bytes'] / 1e6:.0f} MB",
            f"{row['load_s'] * 1e3:.0f} ms",
            f"{row['own_bytes'] / 1e6:.0f} MB",
            f"{row['ask_s'] * 1e3:.1f} ms",
            f"{row['near_found']:.1%}",
            f"{row['copies_found']} of {row['copies']}",
            "-" if row["add_s"] is None else f"{row['add_s']:.2f} s",
            "-" if row["add_bytes"] is None else f"{row['add_bytes'] / 1e6:.1f} MB",
            "-" if row["remove_s"] is None else f"{row['remove_s']:.2f} s",
            row.get(
                "confined_error", f"{sum(row.get(f'confined_{part}_s', 0) for part in ('import', 'load', 'ask')):.2f} s"
            ),
        )
    console.print(table)
