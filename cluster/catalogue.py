"""The catalogue of registered works in the store: parts that never change, and the pointer to those which count.

A change writes one small part, or only names works as removed; a merge puts several parts into one and leaves out what
is removed or told anew by a newer part. So what is written for a change depends on the change, not on the catalogue,
and each merge is bounded. Writers do not lock each other out: whoever writes the pointer looks at the rows again
afterwards (`cluster.works.sync_catalogue`), so the last one makes good what it has written over.
"""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from pathlib import Path

import structlog
from pydantic import TypeAdapter

from cluster import layout
from cluster.errors import ObjectMissing
from cluster.metadata.schema import Work, new_id
from cluster.storage.base import ObjectStore
from encoders.recognition.catalogue import HEAD_BYTES, header_bytes, open_catalogue, works_in, write_catalogue
from encoders.recognition.catalogue import Work as Entry
from encoders.recognition.fingerprint import PICTURE, Fingerprint, FingerprintInvalid

BINARY = "application/octet-stream"
MOST_BYTES = 256 << 20
"""Of a part: some 45 hours of works. Merging takes two to three times that in memory."""
FAN = 8
"""So many parts of like size are merged: each work is written again once for each eightfold size, at most."""
DEAD_SHARE = 0.5
"""A part of which more is of no use is written anew without it."""
LINGER_S = 3_600.0
"""How long a part stays that counts no more: workers that have read the pointer before fetch it still."""
log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointer:
    """What counts.

    Attributes:
        parts: keys, the oldest first; of a work that is in several the newest counts.
        removed: ids of works that are in parts and do not count any more.
        retired: keys of parts that do not count any more, and since when (epoch seconds).
    """

    parts: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    retired: Mapping[str, float] = field(default_factory=dict)


_POINTER = TypeAdapter(Pointer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What a part says of itself: its works, and how many bytes it has."""

    works: tuple[Entry, ...]
    size_bytes: int


def read_pointer(store: ObjectStore) -> Pointer:
    """What counts now; the one catalogue of earlier versions is a part like others."""
    try:
        found = json.loads(store.get_bytes(layout.CATALOGUE_POINTER))
    except ObjectMissing:
        return Pointer()
    return Pointer(parts=(found["catalogue"],)) if "catalogue" in found else _POINTER.validate_python(found)


def renew(store: ObjectStore, rows: Sequence[Work], now: float) -> bool:
    """One step towards a catalogue that holds what the rows say; False when it does."""
    pointer = read_pointer(store)
    held = {work_id: (entry.title, entry.video_id) for work_id, (_, entry) in _counting(store, pointer).items()}
    wanted = {row.id: row for row in rows}
    missing = [row for row in wanted.values() if held.get(row.id) != (row.title, row.video_id)]
    gone = held.keys() - wanted.keys()
    if not missing and not gone:
        return False
    added = tuple(_write_part(store, _fingerprints(store, some), now) for some in _by_size(missing))
    removed = (set(pointer.removed) | gone) - wanted.keys()
    _write_pointer(store, replace(pointer, parts=(*pointer.parts, *added), removed=tuple(sorted(removed))), now)
    return True


def tend(store: ObjectStore, now: float) -> bool:
    """Merge once if parts are many or mostly of no use, and delete what is long retired; whether parts were changed."""
    pointer = read_pointer(store)
    there = {info.key for info in store.list(layout.catalogue_key(""))}
    lost = [key for key in pointer.parts if key not in there]
    if lost:
        # What they held is missing now, and made again from the works' fingerprints.
        log.error("catalogue_parts_lost", parts=lost)
        _write_pointer(store, replace(pointer, parts=tuple(key for key in pointer.parts if key in there)), now)
        return True
    for key in there - set(pointer.parts):
        if pointer.retired.get(key, _made_at(key)) < now - LINGER_S:
            store.delete(key)
    counting = _counting(store, pointer)
    heads = [_head(store, key) for key in pointer.parts]
    dead = [
        1 - sum(counting.get(work.work_id, ("",))[0] == key for work in head.works) / max(1, len(head.works))
        for key, head in zip(pointer.parts, heads, strict=True)
    ]
    chosen = [pointer.parts[index] for index in choose_merge([head.size_bytes for head in heads], dead)]
    if chosen:
        _merge(store, pointer, chosen, now)
    return bool(chosen)


def choose_merge(sizes: Sequence[int], dead: Sequence[float]) -> list[int]:
    """Which parts become one; nothing while they are few.

    Args:
        sizes: of the parts, bytes.
        dead: share of each part's works that is of no use.
    """
    for index, share in enumerate(dead):
        if share > DEAD_SHARE:
            return [index]
    alike: defaultdict[int, list[int]] = defaultdict(list)
    for index, size in enumerate(sizes):
        alike[size.bit_length() // FAN.bit_length()].append(index)
    for _, group in sorted(alike.items()):
        if len(group) >= FAN:
            sums = [sum(sizes[index] for index in group[:count]) for count in range(1, FAN + 1)]
            fitting = len(list(takewhile(lambda total: total <= MOST_BYTES, sums)))
            if fitting > 1:
                return group[:fitting]
    return []


def _merge(store: ObjectStore, pointer: Pointer, keys: Sequence[str], now: float) -> None:
    counts_in = {work_id: key for work_id, (key, _) in _counting(store, pointer).items()}
    merged = (_write_part(store, _kept(store, keys, counts_in), now),) if set(counts_in.values()) & set(keys) else ()
    current = read_pointer(store)
    if not set(keys) <= set(current.parts):
        return  # somebody else has merged them meanwhile; this part goes as one that nobody names
    others = [key for key in current.parts if key not in keys]
    # What was added meanwhile is newer than what was merged.
    before = [key for key in others if key in pointer.parts]
    parts = (*before, *merged, *(key for key in others if key not in pointer.parts))
    inside = {work.work_id for key in parts for work in _head(store, key).works}
    removed = tuple(work_id for work_id in current.removed if work_id in inside)
    retired = {**current.retired, **dict.fromkeys(keys, now)}
    _write_pointer(store, Pointer(parts=parts, removed=removed, retired=retired), now)
    log.info("catalogue_merged", parts=len(keys), into=len(merged), left=len(parts))


def _kept(
    store: ObjectStore, keys: Sequence[str], counts_in: Mapping[str, str]
) -> Iterator[tuple[str, str, str, Fingerprint]]:
    """The works of parts that still count, from the parts themselves."""
    with tempfile.TemporaryDirectory(prefix="reelmill-works-") as folder:
        for key in keys:
            path = Path(folder) / "part"
            store.get_file(key, path)
            part = open_catalogue(path)
            for work in part.works:
                if counts_in.get(work.work_id) == key:
                    yield work.work_id, work.title, work.video_id, part.fingerprint(work)


def _counting(store: ObjectStore, pointer: Pointer) -> dict[str, tuple[str, Entry]]:
    """Each work that counts: the part that it counts in, and its entry there."""
    found = {work.work_id: (key, work) for key in pointer.parts for work in _head(store, key).works}
    for work_id in pointer.removed:
        found.pop(work_id, None)
    return found


_heads: dict[str, Head] = {}
"""By key, of which no two parts have the same: parts never change, so each is read once."""
MOST_HEADS = 4096


def _head(store: ObjectStore, key: str) -> Head:
    found = _heads.get(key)
    if found is None:
        length = header_bytes(store.get_bytes(key, 0, HEAD_BYTES))
        works = works_in(store.get_bytes(key, HEAD_BYTES, length))
        info = store.head(key)
        if len(_heads) >= MOST_HEADS:
            _heads.clear()
        found = _heads[key] = Head(works=works, size_bytes=info.size_bytes if info is not None else 0)
    return found


def _by_size(rows: Sequence[Work]) -> Iterator[list[Work]]:
    """Works for one part after the other."""
    some: list[Work] = []
    held = 0
    for row in sorted(rows, key=lambda row: row.id):
        size = row.pictures * PICTURE.itemsize
        if some and held + size > MOST_BYTES // 2:
            yield some
            some, held = [], 0
        some.append(row)
        held += size
    if some:
        yield some


def _fingerprints(store: ObjectStore, rows: Sequence[Work]) -> Iterator[tuple[str, str, str, Fingerprint]]:
    for row in rows:
        try:
            fingerprint = Fingerprint.from_bytes(store.get_bytes(layout.work_key(row.id)))
        except (ObjectMissing, FingerprintInvalid) as error:
            log.error("work_left_out", work=row.id, title=row.title, code=error.code, detail=error.detail)
            fingerprint = Fingerprint.nothing()
        yield row.id, row.title, row.video_id, fingerprint


def _write_part(store: ObjectStore, works: Iterator[tuple[str, str, str, Fingerprint]], now: float) -> str:
    key = layout.catalogue_key(f"{int(now)}-{new_id()}")
    with tempfile.TemporaryDirectory(prefix="reelmill-works-") as folder:
        path = Path(folder) / "part"
        write_catalogue(path, works)
        store.put_file(key, path, BINARY)
    return key


def _made_at(key: str) -> float:
    """When a part was written, by its name; 0 for those of earlier versions."""
    made, _, rest = key.rpartition("/")[2].partition("-")
    return float(made) if rest and made.isdigit() else 0.0


def _write_pointer(store: ObjectStore, pointer: Pointer, now: float) -> None:
    retired = {key: since for key, since in pointer.retired.items() if since > now - 2 * LINGER_S}
    data = _POINTER.dump_json(replace(pointer, retired=retired))
    store.put_bytes(layout.CATALOGUE_POINTER, data, "application/json")
