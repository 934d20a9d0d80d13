"""A worker that keeps silent is ended, one that answers stays; nodes are shown with what runs on them."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any

import pytest
from ray.exceptions import ActorDiedError

from cluster import predecessors
from cluster import ray_pool as pool_module
from cluster.actors import build_of
from cluster.predecessors import end_predecessors
from cluster.ray_pool import Member, WorkerPool
from cluster.settings import ClusterSettings
from cluster.tasks import Done, RunningTask, WorkerDescription


class Call:
    """An actor's method: `remote()` answers what it is told to."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    async def remote(self, *_: Any) -> Any:
        if isinstance(self.answer, float):
            await asyncio.sleep(self.answer)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Actor:
    """A stand-in for an actor handle."""

    def __init__(self, answer: Any) -> None:
        self.ping = self.take_over = self.resume = Call(answer)


@pytest.fixture
def lost() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    found: list[Any] = []
    monkeypatch.setattr(pool_module, "kill", found.append)
    monkeypatch.setattr(predecessors, "kill", found.append)
    monkeypatch.setattr(pool_module, "PING_PATIENCE_S", 0.05)
    return found


@pytest.fixture
def pool(tmp_path: Path, lost: list[tuple[str, str]], killed: list[Any]) -> WorkerPool:
    return WorkerPool(ClusterSettings(data_dir=tmp_path), lambda worker: None, lambda *what: lost.append(what))


def join(pool: WorkerPool, name: str, answer: Any, node: str = "n") -> Member:
    about = WorkerDescription(worker_id=name, node_id=node, device_id=f"cpu:{node}", pid=1, backends=("cpu",))
    pool.members[name] = Member(description=about, actor=Actor(answer))
    return pool.members[name]


async def test_a_silent_worker_is_lost_as_hung_and_killed(
    pool: WorkerPool, lost: list[tuple[str, str]], killed: list[Any]
) -> None:
    lively, silent = join(pool, "lively", "pong"), join(pool, "silent", 9.0)
    pool._ping_members()
    assert silent.ping_due == math.inf, "one question at a time"
    await asyncio.gather(*pool._tasks)
    assert lost == [("silent", "hung")]
    assert killed == [silent.actor]
    assert list(pool.members) == ["lively"]
    assert lively.ping_due < math.inf


async def test_a_worker_that_died_idle_is_noticed(pool: WorkerPool, lost: list[tuple[str, str]]) -> None:
    join(pool, "dead", ActorDiedError())
    pool._ping_members()
    await asyncio.gather(*pool._tasks)
    assert lost == [("dead", "crashed")]


async def test_a_retired_worker_is_told_as_drained(
    pool: WorkerPool, lost: list[tuple[str, str]], killed: list[Any]
) -> None:
    member = join(pool, "w", "pong")
    pool.retire("w")
    pool.retire("w")
    assert (lost, killed) == ([("w", "drained")], [member.actor])


def test_a_node_is_shown_with_what_runs_on_it(pool: WorkerPool) -> None:
    pool._addresses = {"n": "10.0.0.1", "other": "10.0.0.2"}
    join(pool, "busy", "pong").running = 1
    join(pool, "idle", "pong")
    first, second = pool.nodes()
    assert (first.address, first.workers, first.idle, first.running) == ("10.0.0.1", ("busy", "idle"), ("idle",), 1)
    assert (second.workers, second.running) == ((), 0)


async def test_a_successor_takes_over_what_answers_and_fits_and_ends_the_rest(
    tmp_path: Path, killed: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ClusterSettings(data_dir=tmp_path)
    running = (RunningTask(job_id="j", task_id="j/segment/00001", attempt=2, backend="cpu", elapsed_s=3.0),)

    def worker(name: str, build: str) -> Actor:
        about = {"worker_id": name, "node_id": "n", "device_id": "cpu:n", "pid": 1, "backends": ("cpu",)}
        return Actor(WorkerDescription(**about, running=running, build=build))

    actors = {
        "dispatcher//a#2/n-7": worker("n-7", build_of(settings)),
        "dispatcher//a#2/n-8": worker("n-8", "other code or settings"),
        "dispatcher//a#2/n-9": Actor(9.0),
        "dispatcher//a#2/n-10": Actor(ActorDiedError()),
        "dispatcher//c#4/n-1": worker("n-1", build_of(settings)),
        "dispatcher/us/a#1/n-2": worker("n-2", build_of(settings)),
    }
    monkeypatch.setattr(pool_module.ray.util, "list_named_actors", lambda: list(actors))
    monkeypatch.setattr(pool_module.ray, "get_actor", actors.__getitem__)
    monkeypatch.setattr(pool_module, "ADOPT_PATIENCE_S", 0.05)
    told: list[WorkerDescription] = []
    pool = WorkerPool(settings, told.append, lambda *_: None, owner="dispatcher//b#3")
    await pool.adopt()
    assert [(worker.worker_id, worker.running) for worker in told] == [("n-7", running)]
    assert {id(actor) for actor in killed} == {id(actors[f"dispatcher//a#2/n-{number}"]) for number in (8, 9, 10)}
    killed.clear()
    assert end_predecessors(pool.owner, pool._adopted) == 3
    assert actors["dispatcher//a#2/n-7"] not in killed


async def test_the_outcome_of_a_survivor_is_fetched_from_its_worker(
    pool: WorkerPool, lost: list[tuple[str, str]]
) -> None:
    done = Done(engine_s=1.0, wall_s=1.0)
    join(pool, "lives", done)
    join(pool, "died", ActorDiedError())
    assert await pool.resume("lives", "j/inspect", 1) == done
    assert await pool.resume("died", "j/inspect", 1) is None
    assert await pool.resume("gone", "j/inspect", 1) is None
    assert lost == [("died", "crashed")]
