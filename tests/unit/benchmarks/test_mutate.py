"""Mutations: the same for the same number, different for others, and never the seed for long."""

from __future__ import annotations

from benchmarks.mutate import CHANGES, mutate

SEEDS = [bytes(range(256)) * 40, b"\x00\x00\x00\x18ftypisom" + b"moov" * 500, b"x"]


def test_are_reproducible() -> None:
    assert [mutate(SEEDS, number, 1) for number in range(50)] == [mutate(SEEDS, number, 1) for number in range(50)]


def test_differ_by_number_and_series() -> None:
    mutations = {mutate(SEEDS[:1], number, series) for number in range(200) for series in (1, 2)}
    assert len(mutations) > 380


def test_change_the_seed_and_keep_most_of_it_often_enough() -> None:
    changed = [mutate(SEEDS[:1], number, 3) for number in range(200)]
    assert sum(data == SEEDS[0] for data in changed) < 10
    assert sum(data[:16] == SEEDS[0][:16] for data in changed) > 50
    assert sum(len(data) == len(SEEDS[0]) for data in changed) > 40


def test_leave_the_seeds_alone() -> None:
    before = [bytes(seed) for seed in SEEDS]
    for number in range(len(CHANGES) * 20):
        mutate(SEEDS, number, 4)
    assert before == SEEDS
