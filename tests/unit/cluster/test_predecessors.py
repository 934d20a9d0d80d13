"""Whose workers may be ended: those of dispatchers that were fenced off, and nobody else's."""

from __future__ import annotations

from typing import Any

import pytest

from cluster import predecessors
from cluster.predecessors import end_predecessors, precedes, token_of


def test_a_successor_knows_whom_it_has_fenced_off() -> None:
    mine = "dispatcher/eu/host#7"
    assert precedes("dispatcher/eu/host#6", mine)
    assert precedes("dispatcher/eu/other#3", mine)
    for other in (
        "dispatcher/eu/host#7",
        "dispatcher/eu/other#8",
        "dispatcher/us/host#6",
        "dispatcher/eu/host",
        "x",
        "",
    ):
        assert not precedes(other, mine), other


def test_workers_of_predecessors_are_ended_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[Any] = []
    names = ["dispatcher//a#1/n-1", "dispatcher//b#2/n-2", "dispatcher//b#3/n-1", "gone#0/n-1", "dispatcher//c#0/n-9"]

    def actor(name: str) -> str:
        if "c#0" in name:
            raise ValueError("it ended meanwhile")
        return name

    monkeypatch.setattr(predecessors.ray.util, "list_named_actors", lambda: names)
    monkeypatch.setattr(predecessors.ray, "get_actor", actor)
    monkeypatch.setattr(predecessors, "kill", killed.append)
    assert end_predecessors("dispatcher//b#3") == 2
    assert killed == names[:2]


@pytest.mark.parametrize(("owner", "token"), [("dispatcher/eu/a#12", 12), ("test", 0), ("", 0)])
def test_the_token_of_an_owner(owner: str, token: int) -> None:
    assert token_of(owner) == token
