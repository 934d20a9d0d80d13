"""What a small file may stand for."""

from __future__ import annotations

import pytest

from encoders.source_limits import ProbeLimits

MB = 1_000_000


@pytest.mark.parametrize(
    ("what", "packets", "size_bytes", "taken"),
    [
        ("a silent day of Opus", 4_320_000, 32 * MB, True),
        ("half a silent day of Opus", 1_950_000, 14_680_064, True),
        ("half a day of speech", 2_160_000, 28 * MB, True),
        ("a black day of 60 frames a second", 5_200_000, 125 * MB, True),
        ("laced samples of two bytes", 5_120_000, 10_574_934, False),
        ("more than a day of anything", 20_000_001, 100_000 * MB, False),
    ],
)
def test_packets_must_have_their_bytes(what: str, packets: int, size_bytes: int, taken: bool) -> None:
    assert (packets <= ProbeLimits().most_packets(size_bytes)) is taken, what


def test_a_file_may_unpack_to_some_times_its_bytes() -> None:
    limits = ProbeLimits()
    assert limits.most_bytes(500_000) < 100 * MB
    assert limits.most_bytes(1000 * MB) > 10_000 * MB
