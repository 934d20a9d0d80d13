"""Registered works in a file that workers map into memory: never changed once written, shared by a whole node.

Layout: magic, length of the header, header (JSON: works and arrays), then the arrays, each at a multiple of 64 bytes:
    pictures    rows of PICTURE of all works, one work after the other
    coarse      first 64 bits of each registered view of every second sample, what is compared first
    places      row in `pictures` of each sample in `coarse`
    listed      of each of the `BANDS` times 16 bits of `coarse`, places in `coarse` in the order of these bits, and
    starts      where in `listed` each value's places begin; both only where `INDEXED_HASHES` make it worth it
    words       chromaprint words of all works, one work after the other
    sorted      the same words in order, and
    positions   where in `words` each of them stands
Reading costs no memory but the pages that are looked at, and the kernel shares those between workers.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter

from encoders.errors import FarmError, Fault
from encoders.recognition.fingerprint import PICTURE, VERSION, Fingerprint, PictureMarks, Words
from encoders.recognition.pictures import REGISTERED_VIEWS

_MAGIC = b"RMct"
_HEAD = struct.Struct("<4sI")
HEAD_BYTES = _HEAD.size
UNREADABLE = "the catalogue of works cannot be read by this version of the farm"
_ALIGNMENT = 64
EVERY_SAMPLE = 2
"""Of a work's samples each so-manieth is compared first; the ones between take part when an offset is checked."""

BANDS, VALUES = 4, 1 << 16
"""Pieces of 16 bits in a coarse hash, and how many values one has."""
INDEXED_HASHES = 1 << 16
"""From so many on (an hour) a part has lists, a third of its file at most: a look into them finds most near hashes, and
comparing so many with those of 44 s of video takes ten times as long as the lists of a part of 50 hours."""


class CatalogueInvalid(FarmError):
    """The catalogue of registered works cannot be read; nothing was compared."""

    code = "catalogue_invalid"
    fault = Fault.INFRASTRUCTURE


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One registered work.

    Attributes:
        video_id: the video it was registered from, which never matches it.
        pictures, words: [start, end) in the catalogue's arrays.
    """

    work_id: str
    title: str
    video_id: str
    pictures: tuple[int, int]
    words: tuple[int, int]


_WORKS = TypeAdapter(tuple[Work, ...])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Catalogue:
    """Registered works, ready to be searched."""

    works: tuple[Work, ...]
    pictures: PictureMarks
    coarse: npt.NDArray[np.uint64]
    places: npt.NDArray[np.uint32]
    listed: npt.NDArray[np.uint32]
    starts: npt.NDArray[np.uint32]
    words: Words
    sorted_words: Words
    positions: npt.NDArray[np.uint32]

    def __repr__(self) -> str:
        return f"Catalogue({len(self.works)} works, {len(self.coarse)} hashes, {len(self.words)} words)"

    def lists_of(self, pieces: npt.NDArray[np.uint16]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Where in `listed` the places of hashes with the same pieces begin, and how many; n x `BANDS` each."""
        bands = np.arange(BANDS)
        at = pieces.astype(np.int64) + bands * (VALUES + 1)
        begins, ends = self.starts[at].astype(np.int64), self.starts[at + 1].astype(np.int64)
        return begins + bands * len(self.coarse), ends - begins

    def work_of_picture(self, rows: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """Index of the work that each row of `pictures` belongs to."""
        return _owners([work.pictures[0] for work in self.works], rows)

    def work_of_word(self, places: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """Index of the work that each place in `words` belongs to."""
        return _owners([work.words[0] for work in self.works], places)

    def fingerprint(self, work: Work) -> Fingerprint:
        """What one of the works was registered with."""
        pictures, words = self.pictures[slice(*work.pictures)], self.words[slice(*work.words)]
        return Fingerprint(pictures=np.array(pictures, PICTURE), sound=np.array(words, np.uint32))


def write_catalogue(
    path: Path, works: Iterable[tuple[str, str, str, Fingerprint]], lists_from: int = INDEXED_HASHES
) -> None:
    """Put works (id, title, video, fingerprint) into one file; meanwhile they are in memory about twice.

    Args:
        lists_from: hashes from which on the file has lists.
    """
    entries, pictures, words = [], [np.zeros(0, PICTURE)], [np.zeros(0, np.uint32)]
    rows = heard = 0
    for work_id, title, video_id, fingerprint in works:
        end, until = rows + len(fingerprint.pictures), heard + len(fingerprint.sound)
        entries.append(
            Work(work_id=work_id, title=title, video_id=video_id, pictures=(rows, end), words=(heard, until))
        )
        pictures.append(fingerprint.pictures)
        words.append(fingerprint.sound)
        rows, heard = end, until
    _write(path, entries, _arrays(np.concatenate(pictures), np.concatenate(words), lists_from))


def open_catalogue(path: Path) -> Catalogue:
    """Map a catalogue into memory.

    Raises:
        CatalogueInvalid: it is no catalogue of this version of the farm.
    """
    with path.open("rb") as file:
        header = _read_header(file.read(header_bytes(file.read(HEAD_BYTES))))
    # One plain view of one mapping: each operation on an array of class memmap makes another such object.
    mapped = np.memmap(path, np.uint8, "r").view(np.ndarray)
    arrays: dict[str, npt.NDArray[Any]] = {}
    for name, dtype in _DTYPES.items():
        offset, count = header["arrays"].get(name, (0, 0))  # files of earlier versions have no lists
        arrays[name] = mapped[offset : offset + count * dtype.itemsize].view(dtype)
    return Catalogue(
        works=_WORKS.validate_python(header["works"]),
        pictures=arrays["pictures"],
        coarse=arrays["coarse"],
        places=arrays["places"],
        listed=arrays["listed"],
        starts=arrays["starts"],
        words=arrays["words"],
        sorted_words=arrays["sorted"],
        positions=arrays["positions"],
    )


def header_bytes(head: bytes) -> int:
    """Length of the header that follows the first `HEAD_BYTES` bytes of a catalogue.

    Raises:
        CatalogueInvalid: they are of something else.
    """
    magic, length = _HEAD.unpack(head.ljust(HEAD_BYTES, b"\0"))
    if magic != _MAGIC:
        raise CatalogueInvalid(UNREADABLE)
    return int(length)


def works_in(header: bytes) -> tuple[Work, ...]:
    """The works that a catalogue's header names.

    Raises:
        CatalogueInvalid: it is of another version of the farm.
    """
    return _WORKS.validate_python(_read_header(header)["works"])


def _read_header(data: bytes) -> dict[str, Any]:
    header: dict[str, Any] = json.loads(data)
    if header.get("version") != VERSION:
        raise CatalogueInvalid(UNREADABLE)
    return header


_DTYPES: dict[str, np.dtype[Any]] = {
    "pictures": PICTURE,
    "coarse": np.dtype("<u8"),
    "places": np.dtype("<u4"),
    "listed": np.dtype("<u4"),
    "starts": np.dtype("<u4"),
    "words": np.dtype("<u4"),
    "sorted": np.dtype("<u4"),
    "positions": np.dtype("<u4"),
}


def _arrays(pictures: PictureMarks, words: Words, lists_from: int) -> dict[str, npt.NDArray[Any]]:
    places = np.flatnonzero(pictures["sample"] % EVERY_SAMPLE == 0).astype("<u4")
    views = pictures["hashes"][places][:, list(REGISTERED_VIEWS), :8]
    coarse = np.ascontiguousarray(views).view("<u8").ravel()
    listed, starts = _lists(coarse) if len(coarse) >= lists_from else (np.zeros(0, "<u4"), np.zeros(0, "<u4"))
    order = np.argsort(words, kind="stable").astype("<u4")
    return {
        "pictures": pictures,
        "coarse": coarse,
        "places": places,
        "listed": listed,
        "starts": starts,
        "words": words,
        "sorted": words[order],
        "positions": order,
    }


def _lists(coarse: npt.NDArray[np.uint64]) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]:
    """Places of each value of each band, and where they begin: `VALUES` + 1 numbers a band."""
    listed, starts = [], []
    for values in coarse.view("<u2").reshape(-1, BANDS).T:
        order = np.argsort(values, kind="stable")  # a radix sort of 16 bits
        listed.append(order.astype("<u4"))
        starts.append(np.searchsorted(values[order], np.arange(VALUES + 1)).astype("<u4"))
    return np.concatenate(listed), np.concatenate(starts)


def _write(path: Path, works: list[Work], arrays: dict[str, npt.NDArray[Any]]) -> None:
    def header(offsets: dict[str, tuple[int, int]]) -> bytes:
        described = {"version": VERSION, "works": _WORKS.dump_python(tuple(works), mode="json"), "arrays": offsets}
        return json.dumps(described).encode()

    # Offsets are part of the header, whose length they depend on: room is left for the longest.
    room = len(header(dict.fromkeys(arrays, (1 << 60, 1 << 60))))
    at, offsets = _aligned(_HEAD.size + room), {}
    for name, array in arrays.items():
        offsets[name] = (at, len(array))
        at = _aligned(at + array.nbytes)
    with path.open("wb") as file:
        file.write(_HEAD.pack(_MAGIC, room))
        file.write(header(offsets).ljust(room))
        for name, array in arrays.items():
            file.seek(offsets[name][0])
            file.flush()
            np.ascontiguousarray(array, _DTYPES[name]).tofile(file)


def _aligned(offset: int) -> int:
    return -(-offset // _ALIGNMENT) * _ALIGNMENT


def _owners(starts: list[int], places: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    # A work without rows shares its start with the next, which is the last of that start and owns the rows.
    return np.asarray(np.searchsorted(np.array(starts), places, side="right") - 1, np.int64)
