"""Clusters whose checksum fails are named; those without one, and what a file lacks at its end, are not."""

from __future__ import annotations

import zlib
from pathlib import Path

from encoders.containers.matroska import ClusterCheck


def element(identifier: bytes, content: bytes) -> bytes:
    return identifier + (1 << 56 | len(content)).to_bytes(8, "big") + content


def cluster(content: bytes, *, checksum: bool = True) -> bytes:
    value = bytes((0xBF, 0x84)) + zlib.crc32(content).to_bytes(4, "little") if checksum else b""
    return element(b"\x1f\x43\xb6\x75", value + content)


def test_a_cluster_that_was_changed_is_named(tmp_path: Path) -> None:
    before = element(b"\x1a\x45\xdf\xa3", b"header") + b"\x18\x53\x80\x67\x01" + b"\xff" * 7
    before += element(b"\x15\x49\xa9\x66", b"info")
    plain, first, second = cluster(b"picture" * 9, checksum=False), cluster(b"first" * 40), cluster(b"second" * 40)
    path = tmp_path / "clip"
    path.write_bytes(before + plain + first + second)
    begin = len(before) + len(plain)
    asked = [len(before) + 30, begin + 40, begin + 90, begin + len(first) + 40]

    def told(data: bytes) -> list[bool]:
        path.write_bytes(data)
        check = ClusterCheck(path)
        return [check.broken_at(position) is not None for position in asked]

    data = before + plain + first + second
    assert told(data) == [False] * 4
    assert told(data[: begin + 60] + b"X" + data[begin + 61 :]) == [False, True, True, False]
    assert told(data[: len(before) + 40] + b"X" + data[len(before) + 41 :]) == [False] * 4
    assert told(data[:-20]) == [False] * 4  # the file was cut: nothing to compare


def test_lengths_that_are_not_told_end_the_comparison(tmp_path: Path) -> None:
    path = tmp_path / "clip"
    path.write_bytes(b"\x1f\x43\xb6\x75\xff" + b"\xbf\x84\0\0\0\0" + b"live" * 9)
    assert ClusterCheck(path).broken_at(20) is None
    assert ClusterCheck(path).broken_at(None) is None
    path.write_bytes(b"\0\1\2")
    assert ClusterCheck(path).broken_at(1) is None
