"""What the damage benchmark counts, on made-up passes."""

from __future__ import annotations

import random

import numpy as np

from benchmarks.damage import SPARED_BYTES, Score, Seen, damaged, is_wrong, row

PLAIN = np.full((32, 48), 100, np.uint8)
SPOILT = PLAIN.copy()
SPOILT[16:32, 32:48] = 130


def seen(**pictures: np.ndarray) -> Seen:
    return Seen(pictures={int(name[1:]): luma for name, luma in pictures.items()})


def test_one_block_is_enough_and_a_trifle_is_not() -> None:
    assert is_wrong(SPOILT, PLAIN)
    assert not is_wrong(PLAIN + np.uint8(9), PLAIN)
    assert is_wrong(PLAIN[:16], PLAIN)
    assert is_wrong(SPOILT[20:24, 36:40], PLAIN[20:24, 36:40])


def test_what_is_told_is_weighed_against_what_is_wrong() -> None:
    whole = seen(p0=PLAIN, p1=PLAIN, p2=PLAIN, p3=PLAIN, p4=PLAIN)
    broken = seen(p0=PLAIN, p1=SPOILT, p2=SPOILT, p3=PLAIN)
    broken.damaged, broken.followers, broken.lost = {1}, {2, 3}, {None}
    score = Score()
    score.add(whole, broken)
    score.add(whole, seen(p0=PLAIN, p1=SPOILT, p2=PLAIN, p3=PLAIN, p4=PLAIN))
    score.add(whole, whole)
    assert (score.trials, score.noticed) == (2, 1)
    assert (score.wrong, score.told) == (4, 2)
    assert (score.said, score.said_wrong, score.followed, score.followed_wrong) == (3, 2, 2, 1)
    assert row("clip", score).split() == ["clip", "1/2", "4", "50%", "67%", "50%", "0"]


def test_damage_spares_headers_and_lengths() -> None:
    data = bytes(range(256)) * 100
    for number in range(60):
        broken = damaged(data, random.Random(number))
        assert len(broken) == len(data)
        assert broken[:SPARED_BYTES] == data[:SPARED_BYTES]
        assert broken != data
