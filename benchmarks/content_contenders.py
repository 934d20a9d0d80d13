"""Ways to find near hashes, measured one at a time: `python -m benchmarks.content_contenders NAME FOLDER`.

A process of its own with one thread, so that processor time and memory are the contender's. What is searched and asked
lies in the folder (`content_faiss`); the answer is JSON on standard output, and the pairs of near hashes in a file.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from encoders.recognition.catalogue import Catalogue, open_catalogue, write_catalogue
from encoders.recognition.fingerprint import Fingerprint
from encoders.recognition.near import NEAR_BITS, near_hashes
from encoders.recognition.pictures import HASH_BYTES, REGISTERED_VIEWS

Hashes = npt.NDArray[np.uint8]
Pairs = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
"""Questions, and numbers of the hashes that are near: of all parts, one after the other."""
UPDATE_HASHES = 115_200
"""A work of two hours, which is registered beside all others and removed again."""
TRAINED_PER_LIST = 40
"""Hashes that k-means sees for each list; faiss asks for 39 at least."""
BITS = HASH_BYTES * 8
TIMED_QUESTIONS = 352
"""What is asked about 44 s of video, in one go."""


def registered(part: Catalogue) -> Hashes:
    """All hashes under which works are found in a part, in the order of its coarse ones."""
    hashes = part.pictures["hashes"][:, list(REGISTERED_VIEWS)][part.places]
    return np.ascontiguousarray(hashes).reshape(-1, HASH_BYTES)


class Contender(ABC):
    """One way to search."""

    def __init__(self, parts: Sequence[Path], folder: Path) -> None:
        self.parts, self.folder = parts, folder

    @abstractmethod
    def build(self) -> int:
        """Make what is searched of the works; returns its bytes on disk."""

    @abstractmethod
    def load(self) -> None:
        """Open what was built, as a worker does that has a video to compare."""

    @abstractmethod
    def ask(self, wanted: Hashes) -> Pairs:
        """Near hashes of each question."""

    @abstractmethod
    def add(self, hashes: Hashes) -> int:
        """Put a work's hashes in; returns the bytes that are written for it."""

    @abstractmethod
    def remove(self) -> int:
        """Take them out again; a RuntimeError where that cannot be done."""


class Product(Contender):
    """The catalogue as it is: lists, or every hash compared."""

    listed = True

    def build(self) -> int:
        """Parts are what the folder holds; one is made again to see what it costs."""
        part = open_catalogue(self.parts[0])
        write_catalogue(
            self.folder / "again", [(w.work_id, w.title, w.video_id, part.fingerprint(w)) for w in part.works]
        )
        (self.folder / "again").unlink()
        return sum(path.stat().st_size for path in self.parts)

    def load(self) -> None:
        """Map all parts."""
        self._open = [open_catalogue(path) for path in self.parts]
        if not self.listed:
            self._open = [replace(part, starts=part.starts[:0]) for part in self._open]

    def ask(self, wanted: Hashes) -> Pairs:
        """Part by part."""
        found, before = [], 0
        for part in self._open:
            near = near_hashes(wanted, part)
            found.append((near.questions, near.places + before))
            before += len(part.coarse)
        return np.concatenate([each for each, _ in found]), np.concatenate([each for _, each in found])

    def add(self, hashes: Hashes) -> int:
        """A small part is written; works of no other are touched."""
        rows = hashes.reshape(-1, len(REGISTERED_VIEWS), HASH_BYTES)
        pictures = np.zeros(len(rows), self._open[0].pictures.dtype)
        pictures["sample"] = np.arange(len(rows)) * 2
        pictures["hashes"][:, list(REGISTERED_VIEWS)] = rows
        work = Fingerprint(pictures=pictures, sound=np.zeros(0, np.uint32))
        write_catalogue(self.folder / "added", [("added", "Added", "added", work)])
        return (self.folder / "added").stat().st_size

    def remove(self) -> int:
        """An id in the pointer; no part is touched."""
        return len(json.dumps("0" * 32))


class Scan(Product):
    """The catalogue without its lists."""

    listed = False


class Faiss(Contender):
    """An index of faiss in one file, as `read_index_binary` gives it."""

    def build(self) -> int:
        """Add the hashes of all parts, and write the file."""
        faiss = importlib.import_module("faiss")
        count = sum(len(open_catalogue(path).coarse) for path in self.parts)
        self.index = self.make(faiss, count)
        for path in self.parts:
            hashes = registered(open_catalogue(path))
            if not self.index.is_trained:
                wanted = TRAINED_PER_LIST * self.index.nlist
                self.index.train(hashes[:: max(1, len(hashes) // wanted)])
            self.index.add(hashes)
        faiss.write_index_binary(self.index, str(self.file))
        return self.file.stat().st_size

    @abstractmethod
    def make(self, faiss: Any, count: int) -> Any:
        """An empty index for so many hashes."""

    @property
    def file(self) -> Path:
        """Where the index lies."""
        return self.folder / f"{type(self).__name__}.index"

    def load(self) -> None:
        """Read the file; mapped, where faiss maps this kind of index."""
        faiss = importlib.import_module("faiss")
        self.index = faiss.read_index_binary(str(self.file), faiss.IO_FLAG_MMAP_IFC)
        self.tune()

    def tune(self) -> None:
        """What is no part of the file."""

    def ask(self, wanted: Hashes) -> Pairs:
        """All within the bound; faiss wants what lies below it."""
        limits, _, numbers = self.index.range_search(np.ascontiguousarray(wanted), NEAR_BITS + 1)
        questions = np.repeat(np.arange(len(wanted)), np.diff(limits.astype(np.int64)))
        return questions, numbers.astype(np.int64)

    def add(self, hashes: Hashes) -> int:
        """One file: all of it is read and written anew; adding to a mapped index ends the process."""
        faiss = importlib.import_module("faiss")
        self.index = faiss.read_index_binary(str(self.file))
        self.index.add(hashes)
        return self._written()

    def remove(self) -> int:
        """The same."""
        faiss = importlib.import_module("faiss")
        total = self.index.ntotal
        self.index.remove_ids(faiss.IDSelectorRange(total - UPDATE_HASHES, total))
        return self._written()

    def _written(self) -> int:
        faiss = importlib.import_module("faiss")
        faiss.write_index_binary(self.index, str(self.folder / "changed"))
        size = (self.folder / "changed").stat().st_size
        (self.folder / "changed").unlink()
        return size


class Flat(Faiss):
    """Every hash is compared, in all bits."""

    def make(self, faiss: Any, count: int) -> Any:
        """Nothing to choose."""
        return faiss.IndexBinaryFlat(BITS)


class Ivf(Faiss):
    """Lists about the centres of k-means, the nearest of which are compared."""

    def make(self, faiss: Any, count: int) -> Any:
        """As many lists as each has hashes, about."""
        self._coarse = faiss.IndexBinaryFlat(BITS)
        return faiss.IndexBinaryIVF(self._coarse, BITS, 1 << round(np.log2(np.sqrt(count))))

    def tune(self) -> None:
        """Of some thousand lists."""
        self.index.nprobe = 16


class Hash(Faiss):
    """One table by the first bits, also with one of them turned."""

    def make(self, faiss: Any, count: int) -> Any:
        """A table with about a dozen hashes an entry."""
        return faiss.IndexBinaryHash(BITS, round(np.log2(count / 12)))

    def tune(self) -> None:
        """A question looks into as many entries as it has such bits, and one."""
        self.index.nflip = 1


class MultiHash(Faiss):
    """Tables by the four pieces of 16 bits that the product has lists of."""

    def make(self, faiss: Any, count: int) -> Any:
        """The same pieces."""
        return faiss.IndexBinaryMultiHash(BITS, 4, 16)


class Hnsw(Faiss):
    """A graph of neighbours; it answers with so many nearest ones, not with all within a bound."""

    def make(self, faiss: Any, count: int) -> Any:
        """faiss's own settings."""
        return faiss.IndexBinaryHNSW(BITS, 16)

    def tune(self) -> None:
        """As many as a question may vote for."""
        self.index.hnsw.efSearch = 64

    def ask(self, wanted: Hashes) -> Pairs:
        """The nearest, without those that are not near."""
        distances, numbers = self.index.search(np.ascontiguousarray(wanted), 64)
        near = (distances <= NEAR_BITS) & (numbers >= 0)
        return np.nonzero(near)[0], numbers[near].astype(np.int64)


CONTENDERS: dict[str, type[Contender]] = {
    "lists": Product,
    "scan": Scan,
    "flat": Flat,
    "ivf": Ivf,
    "hash": Hash,
    "multihash": MultiHash,
    "hnsw": Hnsw,
}


def own_bytes() -> int:
    """Memory of this process that no other shares."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of processor time, and what came of it."""
    begin = time.process_time()
    found = work()
    return time.process_time() - begin, found


def measure(contender: Contender, wanted: Hashes, answer: Path) -> dict[str, Any]:
    """Ask a contender whose index is built."""
    before = own_bytes()
    load_s, _ = timed(contender.load)
    contender.ask(wanted[:8])
    asked = wanted[:TIMED_QUESTIONS]
    ask_s, _ = timed(lambda: contender.ask(asked))
    memory = own_bytes() - before
    pairs = contender.ask(wanted)
    np.save(answer, np.stack(pairs))
    made = np.random.default_rng(7).integers(0, 256, (UPDATE_HASHES, HASH_BYTES), np.uint8)
    changes: dict[str, Any] = {}
    for name, change in (("add", lambda: contender.add(made)), ("remove", contender.remove)):
        try:
            changes[f"{name}_s"], changes[f"{name}_bytes"] = timed(change)
        except RuntimeError:
            changes[f"{name}_s"] = changes[f"{name}_bytes"] = None
    return {"load_s": load_s, "ask_s": ask_s, "questions": len(asked), "own_bytes": memory, **changes}


def ask_confined(name: str, parts: list[str], folder: str, wanted: bytes) -> dict[str, float]:
    """In a confined child: what loading and asking takes there."""
    import_s, contender = timed(lambda: _contender(name, [Path(path) for path in parts], Path(folder)))
    load_s, _ = timed(contender.load)
    hashes = np.frombuffer(wanted, np.uint8).reshape(-1, HASH_BYTES)
    ask_s, pairs = timed(lambda: contender.ask(hashes))
    threads = len(list(Path("/proc/self/task").iterdir()))
    return {"import_s": import_s, "load_s": load_s, "ask_s": ask_s, "pairs": float(len(pairs[0])), "threads": threads}


def _contender(name: str, parts: Sequence[Path], folder: Path) -> Contender:
    kind = CONTENDERS[name]
    if issubclass(kind, Faiss):
        importlib.import_module("faiss").omp_set_num_threads(1)
    return kind(parts, folder)


def main(name: str, folder: Path) -> None:
    """Build in one process, ask in another."""
    task, _, name = name.partition(":")
    contender = _contender(name, sorted(folder.glob("part-*")), folder)
    if task == "build":
        build_s, size = timed(contender.build)
        result = {"build_s": build_s, "disk_bytes": size}
    else:
        result = measure(contender, np.load(folder / "questions.npy"), folder / f"{name}.pairs.npy")
    print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
