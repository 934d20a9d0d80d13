"""More slots are asked for by the length of the queue, not too often, and the end of the need is told."""

from __future__ import annotations

from farm_driver import Farm, plan, task

from scheduler.instructions import AskForWorkers, Instruction


def asked(out: list[Instruction]) -> list[tuple[int, tuple[str, ...]]]:
    return [(entry.count, entry.backends) for entry in out if isinstance(entry, AskForWorkers)]


def test_a_queue_without_slots_asks_for_some() -> None:
    farm = Farm()
    assert asked(farm.submit("a", (task("a/s0", backends=("nvenc", "cpu")),))) == [(1, ("cpu", "nvenc"))]


def test_a_long_queue_asks_for_what_it_needs_and_repeats_it_now_and_then() -> None:
    farm = Farm(ask_after_s=60.0, ask_every_s=30.0)
    farm.join()
    for index in range(40):
        farm.submit(f"j{index}", plan(f"j{index}", 3))
    first = asked(farm.wait(1.0))
    assert len(first) == 1
    assert 10 <= first[0][0] <= 25
    assert first[0][1] == ("cpu",)
    assert asked(farm.wait(10.0)) == []
    assert asked(farm.wait(20.0)) == first


def test_a_queue_that_is_served_in_time_or_an_idle_slot_asks_for_nothing() -> None:
    farm = Farm(ask_after_s=600.0)
    farm.join()
    farm.submit("a", plan("a", 5))
    assert asked(farm.wait(5.0)) == []
    farm.join("g", backends=("other",), node_id="n1")
    assert asked(farm.wait(50.0)) == []


def test_the_end_of_the_need_is_told_once() -> None:
    farm = Farm(ask_every_s=1.0)
    farm.submit("a", (task("a/s0"),))
    assert asked(farm.log) == [(1, ("cpu",))]
    farm.now += 2.0
    assert asked(farm.join()) == [(0, ())]
    assert asked(farm.wait(5.0)) == []


def test_a_farm_may_be_told_never_to_ask() -> None:
    farm = Farm(ask_after_s=None)
    farm.submit("a", plan("a", 50))
    assert asked(farm.wait(5.0)) == []
