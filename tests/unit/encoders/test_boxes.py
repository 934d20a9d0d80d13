"""Boxes are read back as they were written; what does not fit is refused."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoders.boxes import (
    MalformedBoxes,
    find_box,
    find_boxes,
    iter_boxes,
    read_fragments,
    split_fragmented,
)
from encoders.mux import box, full_box

MOOV = box(b"moov", box(b"mvhd"), box(b"trak", b""), box(b"trak", box(b"tkhd", b"x")))


def fragment(time: int, sizes: list[int], shifts: list[int], sequence: int = 1, first_flags: bool = True) -> bytes:
    """A moof and mdat of samples of 512 ticks; the first is a sync sample if its flags are written."""
    tfhd = full_box(b"tfhd", 0, 0x020028, struct.pack(">III", 1, 512, 0x0101_0000))
    tfdt = full_box(b"tfdt", 1, 0, struct.pack(">Q", time))

    def moof(offset: int) -> bytes:
        rows = b"".join(struct.pack(">Ii", *row) for row in zip(sizes, shifts, strict=True))
        flags, first = (0xA05, struct.pack(">I", 0x0200_0000)) if first_flags else (0xA01, b"")
        trun = full_box(b"trun", 1, flags, struct.pack(">Ii", len(sizes), offset), first, rows)
        mfhd = full_box(b"mfhd", 0, 0, struct.pack(">I", sequence))
        return box(b"moof", mfhd, box(b"traf", tfhd, tfdt, trun))

    return moof(len(moof(0)) + 8) + box(b"mdat", b"".join(bytes([i % 256]) * n for i, n in enumerate(sizes)))


def test_boxes_are_found_by_path() -> None:
    data = box(b"ftyp", b"iso6") + MOOV
    assert [found.kind for found in iter_boxes(data)] == ["ftyp", "moov"]
    assert len(list(find_boxes(data, "moov/trak"))) == 2
    tkhd = find_box(data, "moov/trak/tkhd")
    assert data[tkhd.body : tkhd.end] == b"x"
    with pytest.raises(MalformedBoxes, match="moov/trak/mdia"):
        find_box(data, "moov/trak/mdia")


@pytest.mark.parametrize(
    "data",
    [b"\0\0\0", b"\0\0\0\7moov", b"\0\0\0\x10moov", b"\0\0\0\1moov", b"\0\0\0\1moov" + struct.pack(">Q", 99)],
    ids=["stray", "too small", "cut", "large size missing", "large size past the end"],
)
def test_a_box_that_does_not_fit_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedBoxes):
        list(iter_boxes(data))


def test_large_sizes_and_boxes_to_the_end_are_read() -> None:
    large = struct.pack(">I4sQ", 1, b"mdat", 19) + b"abc"
    open_end = struct.pack(">I4s", 0, b"free") + b"rest"
    first, last = iter_boxes(large + open_end)
    assert (first.body, first.end) == (16, 19)
    assert last.end == len(large + open_end)


@given(
    time=st.integers(0, 2**63),
    rows=st.lists(st.tuples(st.integers(1, 300), st.integers(-(2**31), 2**31 - 1)), min_size=1, max_size=40),
)
def test_samples_are_read_as_written(time: int, rows: list[tuple[int, int]]) -> None:
    sizes, shifts = [row[0] for row in rows], [row[1] for row in rows]
    data = box(b"styp", b"cmfs") + fragment(time, sizes, shifts, sequence=7)
    (read,) = read_fragments(data)
    assert (read.sequence, read.track_id) == (7, 1)
    assert [sample.size for sample in read.samples] == sizes
    assert [sample.composition_offset for sample in read.samples] == shifts
    assert [sample.decode_time for sample in read.samples] == [time + 512 * i for i in range(len(rows))]
    assert [sample.sync for sample in read.samples] == [True] + [False] * (len(rows) - 1)
    for index, sample in enumerate(read.samples):
        assert data[sample.offset : sample.offset + sample.size] == bytes([index % 256]) * sample.size
    assert (read.start, read.end) == (12, len(data))


def test_a_fragmented_file_is_split() -> None:
    one, two = fragment(0, [3, 4], [0, 0]), fragment(1024, [5], [0], sequence=2)
    data = box(b"ftyp", b"iso6") + MOOV + box(b"sidx", b"") + one + box(b"styp") + two
    init, pieces = split_fragmented(data)
    assert init == box(b"ftyp", b"iso6") + MOOV
    assert pieces == (one, two)
    assert [fragment.sequence for fragment in read_fragments(data)] == [1, 2]


@pytest.mark.parametrize(
    "data",
    [b"", box(b"ftyp"), MOOV + box(b"moof")],
    ids=["empty", "no moov", "moof without mdat"],
)
def test_what_cannot_be_split_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedBoxes):
        split_fragmented(data)


def test_without_first_flags_the_default_holds_for_the_first_sample_too() -> None:
    (read,) = read_fragments(fragment(0, [3, 4], [0, 0], first_flags=False))
    assert [sample.sync for sample in read.samples] == [False, False]
    assert [sample.size for sample in read.samples] == [3, 4]


def test_samples_outside_of_the_mdat_are_refused() -> None:
    good = fragment(0, [10, 10], [0, 0])
    mdat = next(found for found in iter_boxes(good) if found.kind == "mdat")
    with pytest.raises(MalformedBoxes, match="outside"):
        read_fragments(good[: mdat.start] + box(b"mdat", b"short"))
    with pytest.raises(MalformedBoxes, match="without mdat"):
        read_fragments(good[: mdat.start])


def test_a_trun_that_claims_too_many_samples_is_refused() -> None:
    good = fragment(0, [10, 10], [0, 0])
    trun = find_box(good, "moof/traf/trun")
    spoilt = good[: trun.body + 4] + struct.pack(">I", 10**6) + good[trun.body + 8 :]
    with pytest.raises(MalformedBoxes, match="do not fit"):
        read_fragments(spoilt)
