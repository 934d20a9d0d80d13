"""What a storm does to a process: its clock, its messages and its encode sessions, for as long as is told."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from benchmarks import faulty_clock, faulty_encoder, faulty_messages
from benchmarks.faulty_clock import Shift, kind_of, set_clocks
from encoders.backends.nverrors import SessionsExhausted
from encoders.errors import Failure
from scheduler.retry import Decision, History, Step, next_step
from scheduler.settings import SchedulerSettings


@pytest.fixture
def faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REELMILL_FAULTS", str(tmp_path))
    return tmp_path


def test_a_clock_is_off_for_its_kind_and_its_time(faults: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faulty_clock, "LOOK_EVERY_S", -1.0)
    dispatcher, gateway = Shift(faults, "dispatcher"), Shift(faults, "gateway")
    assert dispatcher.seconds() == 0.0
    set_clocks(faults, {"dispatcher": 3600.0}, 60.0)
    assert (dispatcher.seconds(), gateway.seconds()) == (3600.0, 0.0)
    set_clocks(faults, {"dispatcher": 3600.0}, -1.0)
    assert dispatcher.seconds() == 0.0


def test_processes_are_told_apart_by_their_command_lines() -> None:
    assert kind_of(["python", "-m", "cluster.dispatch"]) == "dispatcher"
    assert kind_of(["python", "/x/ray/_private/workers/default_worker.py", "--node-ip"]) == "worker"
    assert kind_of(["python", "-m", "pytest"]) == ""


def test_only_processes_of_the_farm_get_another_clock(faults: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    true_time = time.time
    monkeypatch.setattr(time, "time", true_time)
    faulty_clock.install()
    assert time.time is true_time
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "gateway.serve"])
    set_clocks(faults, {"gateway": -7200.0}, 60.0)
    faulty_clock.install()
    assert time.time() < true_time() - 3600


async def test_the_clock_of_leases_jumps_as_well(faults: Path) -> None:
    async def lease_now(_: object) -> float:
        return 100.0

    module: Any = SimpleNamespace(lease_now=lease_now)
    faulty_clock.spoil(module)
    set_clocks(faults, {"database": 50.0}, 60.0)
    assert await module.lease_now(None) == 150.0


class Finished:
    """Named as the dispatcher's own."""


class Inbox:
    """A dispatcher, as far as messages are concerned."""

    def __init__(self) -> None:
        self.inbox: asyncio.Queue[object] = asyncio.Queue()


@pytest.mark.parametrize(
    ("kind", "at_once", "later"), [("in_time", 1, 0), ("twice", 2, 0), ("again_later", 1, 1), ("late", 0, 1)]
)
async def test_answers_come_twice_or_late_and_other_messages_as_ever(
    faults: Path, monkeypatch: pytest.MonkeyPatch, kind: str, at_once: int, later: int
) -> None:
    class Spoiled(Inbox):
        pass

    faulty_messages.spoil(Spoiled)
    monkeypatch.setattr(faulty_messages, "LATE_S", (0.0, 0.0))
    monkeypatch.setattr(random, "choice", lambda _: kind)
    dispatcher = Spoiled()
    faulty_messages.confuse(faults, 60.0)
    dispatcher.inbox.put_nowait("tick")
    assert dispatcher.inbox.qsize() == 1
    dispatcher.inbox.get_nowait()
    dispatcher.inbox.put_nowait(Finished())
    assert dispatcher.inbox.qsize() == at_once
    for _ in range(at_once + later):
        assert isinstance(await dispatcher.inbox.get(), Finished)
    assert faulty_messages.confused(faults) == ({} if kind == "in_time" else {kind: 1})
    faulty_messages.confuse(faults, -1.0)
    dispatcher.inbox.put_nowait(Finished())
    assert dispatcher.inbox.qsize() == 1


@pytest.fixture
def encoding(faults: Path) -> ModuleType:
    """A module with a worker's way to encode, and another function."""
    made = ModuleType("encoding")
    made.encode_in_child = lambda attempt: f"{attempt} encoded"
    made.encode_sound = lambda attempt: f"{attempt} heard"
    faulty_encoder.spoil(made)
    return made


def test_sessions_run_out_for_segments_only_and_the_task_waits(faults: Path, encoding: ModuleType) -> None:
    assert encoding.encode_in_child("first") == "first encoded"
    faulty_encoder.exhaust(faults, 60.0)
    assert encoding.encode_sound("first") == "first heard"
    with pytest.raises(SessionsExhausted) as caught:
        encoding.encode_in_child("second")
    assert faulty_encoder.refused(faults) == 1
    decision: Decision = next_step(
        Failure.of(caught.value), History(infrastructure_failures=1), SchedulerSettings(), 0.0
    )
    assert decision.step is Step.LATER


def test_sessions_run_out_when_one_is_wanted_and_come_back(
    faults: Path, encoding: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    faulty_encoder.exhaust(faults, 10.0)
    now += 300.0  # nothing was encoded meanwhile
    for _ in range(2):
        with pytest.raises(SessionsExhausted):
            encoding.encode_in_child("late")
        now += 9.0
    assert encoding.encode_in_child("later") == "later encoded"
    assert faulty_encoder.refused(faults) == 2
