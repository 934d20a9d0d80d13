"""Ogg pages that a demuxer drops are noticed, and only those of the stream in question."""

from __future__ import annotations

import struct
from pathlib import Path

from encoders.containers.ogg import PageCheck, page_checksum

MINE, OTHER = 7, 9


def page(serial: int, number: int, payload: bytes = b"picture" * 30) -> bytes:
    head = b"OggS" + struct.pack("<BBqIII", 0, 0, number, serial, number, 0)
    whole = head + bytes((len(payload) // 255 + 1, *[255] * (len(payload) // 255), len(payload) % 255)) + payload
    return whole[:22] + struct.pack("<I", page_checksum(whole)) + whole[26:]


def test_the_checksum_is_that_of_the_specification() -> None:
    # Written by libogg: the first page of an empty Opus stream of another encoder.
    known = bytes.fromhex(
        "4f67675300020000000000000000" "78563412" "00000000" "00000000" "0113"
        "4f707573486561640102380180bb0000000000"
    )  # fmt: skip
    slow = 0
    for byte in known:
        slow ^= byte << 24
        for _ in range(8):
            slow = (slow << 1) ^ (0x104C11DB7 if slow & 1 << 31 else 0)
    assert page_checksum(known) == slow


def lost(path: Path, pages: list[bytes], asked: list[int]) -> list[bool]:
    """What is said of the packets that begin in some pages, by the pages' numbers in the list."""
    path.write_bytes(b"".join(pages))
    check = PageCheck(path)
    return [check.lost_before(sum(map(len, pages[:number]))) for number in asked]


def test_a_broken_page_counts_for_its_own_stream_only(tmp_path: Path) -> None:
    pages = [page(MINE, 0), page(OTHER, 0), page(MINE, 1), page(OTHER, 1), page(MINE, 2), page(MINE, 3)]
    assert lost(tmp_path / "sound", pages, [0, 2, 4, 5]) == [False] * 4
    mine, other = list(pages), list(pages)
    mine[2] = mine[2][:60] + b"X" + mine[2][61:]
    other[3] = other[3][:60] + b"X" + other[3][61:]
    assert lost(tmp_path / "mine", mine, [0, 4, 5]) == [False, True, False]
    assert lost(tmp_path / "other", other, [0, 2, 4, 5]) == [False] * 4


def test_a_broken_capture_pattern_is_passed_over(tmp_path: Path) -> None:
    pages = [page(MINE, 0), b"\0" + page(MINE, 1)[1:], page(MINE, 2)]
    assert lost(tmp_path / "clip", pages, [0, 2]) == [False, True]


def test_a_file_that_was_cut_is_sound(tmp_path: Path) -> None:
    assert lost(tmp_path / "clip", [page(MINE, 0), page(MINE, 5), page(MINE, 6)], [0, 1, 2]) == [False] * 3


def test_positions_that_are_no_pages_say_nothing(tmp_path: Path) -> None:
    (tmp_path / "clip").write_bytes(page(MINE, 0))
    assert not PageCheck(tmp_path / "clip").lost_before(None)
    assert not PageCheck(tmp_path / "clip").lost_before(3)
