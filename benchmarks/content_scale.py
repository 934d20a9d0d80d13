"""`python -m benchmarks content-scale`: what the catalogue of works costs as it grows.

Changes: works of two hours registered and removed beside so many others, in a store on this disk; what a writer looks
at of the others is the heads of their parts, so these have no bodies. Questions: a video against parts of random
hashes as large as merging makes them; disks being too small for all, the same files are asked again and again, which
costs the same processor time and less of the page cache than real ones.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console

from benchmarks.content_faiss import compare, missing_faiss
from benchmarks.environment import write_results
from cluster import layout
from cluster.catalogue import BINARY, FAN, read_pointer, renew, tend
from cluster.metadata.schema import Work
from cluster.storage.local import LocalStore
from encoders.recognition.catalogue import write_catalogue
from encoders.recognition.fingerprint import PICTURE, Fingerprint
from encoders.recognition.known import KnownContentSettings
from encoders.recognition.listener import SAMPLES_PER_S
from encoders.recognition.recognise import recognise_in

WORK_H, PART_H = 2.0, 50.0
WORDS_PER_SAMPLE = 4


def noise(seconds: float, seed: int) -> Fingerprint:
    """A fingerprint of random hashes and words."""
    rng = np.random.default_rng(seed)
    pictures = np.zeros(round(seconds * SAMPLES_PER_S), PICTURE)
    pictures["sample"] = np.arange(len(pictures))
    pictures["hashes"] = rng.integers(0, 256, pictures["hashes"].shape, np.uint8)
    words = rng.integers(0, 2**32, len(pictures) * WORDS_PER_SAMPLE, dtype=np.uint32)
    return Fingerprint(pictures=pictures, sound=words)


def row(number: int, fingerprint: Fingerprint) -> Work:
    """A registered work as the database has it."""
    name = f"{number:032x}"
    pictures, words = len(fingerprint.pictures), len(fingerprint.sound)
    return Work(id=name, title=f"Work {number}", video_id=name, pictures=pictures, words=words)


def timed(work: Callable[[], object]) -> float:
    """Seconds of processor time."""
    begin = time.process_time()
    work()
    return round(time.process_time() - begin, 3)


def measure_changes(folder: Path, hours: float) -> dict[str, Any]:
    """One work registered and one removed beside so many hours of works."""
    store = LocalStore(folder / f"store-{hours:g}", "", b"s" * 32)
    nothing, film, now = Fingerprint.nothing(), noise(WORK_H * 3600, 1), time.time()
    rows: list[Work] = []
    for _ in range(round(hours / PART_H)):
        for _ in range(round(PART_H / WORK_H)):
            rows.append(row(len(rows), nothing))
            store.put_bytes(layout.work_key(rows[-1].id), nothing.to_bytes(), BINARY)
        renew(store, rows, now)
    held = {info.key for info in store.list(layout.catalogue_key(""))}
    rows.append(row(len(rows), film))
    store.put_bytes(layout.work_key(rows[-1].id), film.to_bytes(), BINARY)
    added_s = timed(lambda: renew(store, rows, now))
    written = [info.size_bytes for info in store.list(layout.catalogue_key("")) if info.key not in held]
    return {
        "hours": hours,
        "works": len(rows),
        "add_cpu_s": added_s,
        "add_bytes": sum(written),
        "remove_cpu_s": timed(lambda: renew(store, rows[1:], now)),
        "pointer_bytes": len(store.get_bytes(layout.CATALOGUE_POINTER)),
    }


def measure_merge(folder: Path) -> dict[str, Any]:
    """The smallest merge of whole films; it does not depend on what is beside."""
    store, rows, film = LocalStore(folder / "merge", "", b"s" * 32), [], noise(WORK_H * 3600, 1)
    for number in range(FAN):
        rows.append(row(number, film))
        store.put_bytes(layout.work_key(rows[-1].id), film.to_bytes(), BINARY)
        renew(store, rows, time.time())
    cpu_s = timed(lambda: tend(store, time.time()))
    return {"merged_hours": FAN * WORK_H, "merge_cpu_s": cpu_s, "parts_left": len(read_pointer(store).parts)}


def measure_questions(paths: list[Path], hours: float, asked_s: float) -> dict[str, Any]:
    """Seconds of processor time of one video's comparison with so many hours of works."""
    parts = [paths[index % len(paths)] for index in range(max(1, round(hours / PART_H)))]
    asked = noise(asked_s, 2).to_bytes()
    recognise_in(asked, parts[:1], (), KnownContentSettings(), "")
    cpu_s = timed(lambda: recognise_in(asked, parts, (), KnownContentSettings(), ""))
    return {
        "hours": hours,
        "asked_s": asked_s,
        "file_bytes": parts[0].stat().st_size * len(parts),
        "video_cpu_s": cpu_s,
    }


@click.command(help=__doc__)
@click.option(
    "--hours", multiple=True, default=(100.0, 1000.0, 10_000.0), show_default=True, help="Of registered works."
)
@click.option("--asked-s", default=44.0, show_default=True, help="Length of the video that is compared.")
@click.option("--files", default=4, show_default=True, help="Different parts of 50 hours on disk, 0.3 GB each.")
@click.option(
    "--against", type=click.Choice(["faiss"]), help="Compare the search with another library's, nothing else."
)
@click.option(
    "--hashes", multiple=True, default=(1_000_000, 10_000_000), show_default=True, help="With --against: how many."
)
@click.option("--most", default=4000, show_default=True, help="With --against: hashes that are asked, at most.")
@click.option(
    "--kept",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="With --against: what `content-id --keep` left; without, everything is random.",
)
@click.option("--json", "json_path", type=click.Path(dir_okay=False, path_type=Path), help="Write the results here.")
def command(
    hours: tuple[float, ...],
    asked_s: float,
    files: int,
    against: str | None,
    hashes: tuple[int, ...],
    most: int,
    kept: Path | None,
    json_path: Path | None,
) -> None:
    """Changes and questions as the catalogue grows."""
    console = Console(width=180 if against else 140)
    if against:
        if reason := missing_faiss():
            raise click.ClickException(reason)
        with tempfile.TemporaryDirectory(prefix="reelmill-faiss-") as scratch:
            rows = list(compare(Path(scratch), kept, hashes, most, console))
        if json_path:
            write_results(json_path, "content-scale-faiss", {"rows": rows})
        return
    changes, questions = [], []
    with tempfile.TemporaryDirectory(prefix="reelmill-scale-") as scratch:
        folder = Path(scratch)
        for each in hours:
            changes.append(measure_changes(folder, each))
            console.print(changes[-1])
        merge = measure_merge(folder)
        console.print(merge)
        paths = [folder / f"part-{number}" for number in range(files)]
        for number, path in enumerate(paths):
            write_catalogue(path, [("w", "Noise", "w", noise(PART_H * 3600, 10 + number))])
        for each in hours:
            questions.append(measure_questions(paths, each, asked_s))
            console.print(questions[-1])
    if json_path:
        write_results(json_path, "content-scale", {"changes": changes, "merge": merge, "questions": questions})
