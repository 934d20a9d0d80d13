"""Which fault comes next: drawn from a shuffled bag, so that a storm of some minutes meets every kind of them."""

from __future__ import annotations

import random
from collections.abc import Hashable, Mapping
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class Bag(Generic[T]):
    """Draws things for ever: each once before any comes twice, then each as often as it weighs, then anew.

    Args:
        weights: thing -> how often it comes in one round, at least once.
        chance: the same state of it gives the same draws.
    """

    def __init__(self, weights: Mapping[T, int], chance: random.Random) -> None:
        if not weights or min(weights.values()) < 1:
            raise ValueError("a bag holds something, and each thing at least once")
        self._weights = dict(weights)
        self._chance = chance
        self._left: list[T] = []

    def draw(self) -> T:
        """The next thing."""
        if not self._left:
            first = list(self._weights)
            again = [thing for thing, weight in self._weights.items() for _ in range(weight - 1)]
            self._chance.shuffle(first)
            self._chance.shuffle(again)
            self._left = first + again
        return self._left.pop(0)

    def put_back(self, thing: T) -> None:
        """What could not be used now comes again after another one; at the end of a round, in the next round."""
        if self._left:
            self._left.insert(1, thing)
