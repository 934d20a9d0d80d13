"""The catalogue in parts: what changes write, what merges leave, what workers find meanwhile."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pretend_films import fingerprint

from cluster import catalogue, layout
from cluster.catalogue import BINARY, DEAD_SHARE, FAN, LINGER_S, MOST_BYTES, choose_merge, read_pointer, renew, tend
from cluster.errors import StoreUnavailable
from cluster.metadata.schema import Work
from cluster.staging import Staging
from cluster.storage.local import LocalStore
from cluster.works import open_works
from encoders.recognition.catalogue import write_catalogue
from encoders.recognition.fingerprint import Fingerprint
from encoders.recognition.known import KnownContentSettings
from encoders.recognition.recognise import recognise_in

NOW = 1_800_000_000.0


@cache
def film(seed: int) -> Fingerprint:
    """Ten seconds without sound."""
    return fingerprint(seed, samples=20, sound=0)


class Shelf:
    """Works as rows, and the store that follows them."""

    def __init__(self, folder: Path) -> None:
        self.store = LocalStore(folder / "store", "http://farm.test", b"s" * 32)
        self.staging = Staging(folder / "staging", 10**9)
        self.rows: dict[str, Work] = {}
        self.now = NOW

    def add(self, seed: int, title: str = "") -> None:
        """Register a film, or give it another title."""
        work_id = f"w{seed}"
        self.store.put_bytes(layout.work_key(work_id), film(seed).to_bytes(), BINARY)
        self.rows[work_id] = Work(
            id=work_id, title=title or f"Film {seed}", video_id=f"v{seed}", pictures=len(film(seed).pictures), words=0
        )
        self.sync()

    def remove(self, seed: int) -> None:
        del self.rows[f"w{seed}"]
        self.sync()

    def sync(self) -> None:
        while renew(self.store, list(self.rows.values()), self.now):
            pass

    def tend(self) -> None:
        """What the caretaker does until nothing is left to do."""
        while tend(self.store, self.now):
            self.sync()

    def found(self, seed: int) -> list[str]:
        """Titles that a copy of the film is found to hold."""
        with open_works(self.store, self.staging) as works:
            if works is None:
                return []
            data = film(seed).to_bytes()
            known = recognise_in(data, works.parts, works.removed, KnownContentSettings(), "copy")
            assert known.works == len(self.rows)
            return [match.title for match in known.matches]

    def objects(self) -> set[str]:
        return {info.key for info in self.store.list(layout.catalogue_key(""))}


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def test_a_change_writes_one_part_and_a_removal_none(shelf: Shelf) -> None:
    for seed in range(3):
        before = shelf.objects()
        shelf.add(seed)
        assert len(shelf.objects() - before) == 1
        assert before <= shelf.objects()
    before = shelf.objects()
    shelf.remove(1)
    assert shelf.objects() == before
    assert [shelf.found(seed) for seed in range(3)] == [["Film 0"], [], ["Film 2"]]


def test_many_parts_become_one_that_finds_the_same(shelf: Shelf) -> None:
    for seed in range(FAN + 1):
        shelf.add(seed)
    shelf.remove(0)
    shelf.add(1, "Renamed")
    shelf.tend()
    pointer = read_pointer(shelf.store)
    assert len(pointer.parts) < 4
    assert pointer.removed == ()
    assert shelf.found(0) == []
    assert shelf.found(1) == ["Renamed"]
    assert all(shelf.found(seed) == [f"Film {seed}"] for seed in range(2, FAN + 1))


def test_parts_that_were_merged_stay_for_who_has_just_read_the_pointer(shelf: Shelf) -> None:
    for seed in range(FAN):
        shelf.add(seed)
    before = set(read_pointer(shelf.store).parts)
    shelf.tend()
    assert before <= shelf.objects()
    shelf.now += LINGER_S + 1
    shelf.tend()
    assert shelf.objects() == set(read_pointer(shelf.store).parts)
    assert not before & shelf.objects()


def test_a_part_that_is_mostly_of_no_use_is_written_anew(shelf: Shelf) -> None:
    for seed in range(3):
        shelf.add(seed)
    shelf.remove(1)
    shelf.tend()
    pointer = read_pointer(shelf.store)
    assert (len(pointer.parts), pointer.removed) == (2, ())
    for seed in (0, 2):
        shelf.remove(seed)
    shelf.tend()
    assert read_pointer(shelf.store).parts == ()
    assert shelf.found(0) == []


def test_what_is_added_during_a_merge_is_kept_and_is_newer(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(FAN):
        shelf.add(seed)
    writes = catalogue._write_part
    added: list[bool] = []

    def write(*args: object) -> str:
        if not added:
            added.append(True)
            shelf.add(0, "Renamed")
            shelf.add(99)
        return writes(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(catalogue, "_write_part", write)
    shelf.tend()
    assert added
    assert [shelf.found(seed) for seed in (0, 1, 99)] == [["Renamed"], ["Film 1"], ["Film 99"]]
    assert len(read_pointer(shelf.store).parts) == 3


def test_a_pointer_that_was_written_over_and_a_lost_part_are_made_good(shelf: Shelf) -> None:
    shelf.add(1)
    old = shelf.store.get_bytes(layout.CATALOGUE_POINTER)
    shelf.add(2)
    shelf.store.put_bytes(layout.CATALOGUE_POINTER, old, "application/json")
    shelf.sync()
    assert shelf.found(2) == ["Film 2"]
    shelf.store.delete(read_pointer(shelf.store).parts[0])
    shelf.tend()
    assert shelf.found(1) == ["Film 1"]


def test_an_end_before_the_pointer_leaves_what_was_and_no_rubbish(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise StoreUnavailable("killed")

    shelf.add(1)
    with monkeypatch.context() as patch:
        patch.setattr(catalogue, "_write_pointer", broken)
        with pytest.raises(StoreUnavailable):
            shelf.add(2)
    del shelf.rows["w2"]
    assert shelf.found(1) == ["Film 1"]
    assert len(shelf.objects()) == 2
    shelf.now += LINGER_S + 1
    shelf.tend()
    assert shelf.objects() == set(read_pointer(shelf.store).parts)


def test_the_one_catalogue_of_earlier_versions_is_a_part(shelf: Shelf, tmp_path: Path) -> None:
    key = layout.catalogue_key("0123456789abcdef0123456789abcdef")
    write_catalogue(tmp_path / "old", [("w1", "Film 1", "v1", film(1))])
    shelf.store.put_file(key, tmp_path / "old", BINARY)
    shelf.store.put_bytes(layout.CATALOGUE_POINTER, b'{"catalogue": "%s"}' % key.encode(), "application/json")
    shelf.add(1)
    assert read_pointer(shelf.store).parts == (key,)
    shelf.add(2)
    shelf.tend()
    assert read_pointer(shelf.store).parts[0] == key
    assert [shelf.found(seed) for seed in (1, 2)] == [["Film 1"], ["Film 2"]]


def test_a_work_whose_fingerprint_is_gone_is_left_out_once(shelf: Shelf) -> None:
    shelf.add(1)
    shelf.rows["lost"] = Work(id="lost", title="Lost", video_id="v", pictures=5, words=0)
    shelf.sync()
    assert not renew(shelf.store, list(shelf.rows.values()), NOW)
    assert shelf.found(1) == ["Film 1"]


@given(sizes=st.lists(st.integers(1000, 2 * MOST_BYTES), max_size=400))
def test_merging_is_bounded_and_ends_with_few_parts(sizes: list[int]) -> None:
    written = 0
    while chosen := choose_merge(sizes, [0.0] * len(sizes)):
        total = sum(sizes[index] for index in chosen)
        assert total <= MOST_BYTES
        assert 2 <= len(chosen) <= FAN
        sizes = [size for index, size in enumerate(sizes) if index not in chosen] + [total]
        written += 1
    assert sum(size <= MOST_BYTES // 2 for size in sizes) <= 10 * FAN
    assert written <= 400


def test_a_part_of_no_use_goes_first() -> None:
    assert choose_merge([1000] * FAN, [0.0] * (FAN - 1) + [DEAD_SHARE + 0.1]) == [FAN - 1]
    assert choose_merge([1000] * (FAN - 1), [0.0] * (FAN - 1)) == []
