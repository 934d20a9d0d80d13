"""Workers of dispatchers before: whose they are, by the owner and token in their names, and how they end."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import ray
import structlog

log = structlog.get_logger()


def predecessors_actors(owner: str) -> list[str]:
    """Names of the actors of owners of the same leadership whose tokens are lower. Blocks."""
    return [name for name in ray.util.list_named_actors() if precedes(name.rpartition("/")[0], owner)]


def end_predecessors(owner: str, keep: Collection[str] = ()) -> int:
    """Kill the actors of owners of the same leadership whose tokens are lower; answers how many. Blocks.

    Args:
        keep: names of those that were taken over.
    """
    ended = 0
    for name in predecessors_actors(owner):
        if name in keep:
            continue
        try:
            kill(ray.get_actor(name))
            ended += 1
        except ValueError:
            continue  # it ended meanwhile
    if ended:
        log.warning("predecessors_workers_ended", count=ended)
    return ended


def precedes(other: str, owner: str) -> bool:
    """Whether an owner "leadership/who#token" was fenced off by another of the same leadership."""
    led, _, _ = owner.rpartition("#")
    other_led, _, other_token = other.rpartition("#")
    same = led.rpartition("/")[0] == other_led.rpartition("/")[0]
    return same and other_token.isdigit() and int(other_token) < token_of(owner)


def token_of(owner: str) -> int:
    """The fencing token of an owner "leadership/who#token"; 0 of one without."""
    token = owner.rpartition("#")[2]
    return int(token) if token.isdigit() else 0


def kill(actor: Any) -> None:
    """End an actor's process at once; Ray starts no other for it."""
    ray.kill(actor, no_restart=True)
