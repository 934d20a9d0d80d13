"""Each fault once before any comes twice, in an order that the seed decides."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from benchmarks.fault_bag import Bag

WEIGHTS = {"kill": 4, "hang": 2, "drain": 1, "restart": 1}


def drawn(bag: Bag[str], count: int) -> list[str]:
    return [bag.draw() for _ in range(count)]


@pytest.mark.parametrize("seed", range(20))
def test_each_comes_once_before_any_comes_twice_and_then_as_it_weighs(seed: int) -> None:
    bag = Bag(WEIGHTS, random.Random(seed))
    for _ in range(3):
        whole = drawn(bag, sum(WEIGHTS.values()))
        assert set(whole[: len(WEIGHTS)]) == set(WEIGHTS)
        assert Counter(whole) == WEIGHTS


def test_the_seed_decides_the_order() -> None:
    orders = {tuple(drawn(Bag(WEIGHTS, random.Random(seed)), 8)) for seed in (1, 1, 2, 3, 4)}
    assert 1 < len(orders) < 5


def test_what_could_not_be_used_comes_again_after_another_one() -> None:
    bag = Bag(WEIGHTS, random.Random(7))
    first = bag.draw()
    bag.put_back(first)
    rest = drawn(bag, sum(WEIGHTS.values()))
    assert rest[0] != first
    assert rest[1] == first
    assert Counter(rest) == WEIGHTS


def test_what_can_never_be_used_keeps_no_other_from_coming() -> None:
    bag = Bag({"never": 1, "kill": 1}, random.Random(1))
    used = []
    for _ in range(20):
        thing = bag.draw()
        if thing == "never":
            bag.put_back(thing)
        else:
            used.append(thing)
    assert len(used) >= 6


def test_an_empty_bag_is_refused() -> None:
    with pytest.raises(ValueError, match="holds something"):
        Bag({}, random.Random(1))
