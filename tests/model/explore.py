"""Every interleaving of some dispatchers on one database: all states that can be reached, and what must hold in each.

A dispatcher does one transaction at a time, in any order with the others; between any two it may stand still, wake up,
die for ever, or die and start again with all it knew forgotten. Time passes whenever it likes, and the clock may be
set. Each state is kept once, in a canonical form: times are ticks from now, and tokens are replaced by their ranks,
since only their order and equality count; so the states are finitely many although tokens rise for ever.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

from tests.model import lease_model as model
from tests.model.lease_model import Rows, Rules

GOOD = frozenset({"tick", "wake", "work"})
"""Kinds of steps that a farm takes which is left in peace; from everywhere they must lead to the job's end."""

ALIKE = 3
"""From so many dispatchers on, states that differ only in names are one; below, ways are told with steady names."""


@dataclass(frozen=True, slots=True, order=True)
class Dispatcher:
    """What one process knows.

    Attributes:
        token: of its leadership as it believes; 0 while it stands by.
        freed: it has freed the claims of those who led before.
        claim: number of its claim of the job as it believes; 0 without.
        saved: it knows that the task is done.
        paused: it stands still.
        gone: its machine is gone for ever, and nobody of its name comes back.
    """

    name: str
    token: int = 0
    freed: bool = False
    claim: int = 0
    saved: bool = False
    paused: bool = False
    gone: bool = False

    @property
    def owner(self) -> model.Owner:
        return (self.name, self.token)


@dataclass(frozen=True, slots=True)
class State:
    rows: Rows
    dispatchers: tuple[Dispatcher, ...]
    clock_sets: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """A step's kind, its name, where it leads, and what is wrong with it."""

    kind: str
    name: str
    state: State
    violation: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What was found: how many states there are, and the shortest way to a violation, if there is one."""

    states: int
    violation: str = ""
    trace: tuple[str, ...] = ()


def explore(rules: Rules, dispatchers: int = 2, clock_sets: int = 1, most_states: int = 2_000_000) -> Report:
    """Visit every state, nearest first, and check each step; then that the job's end can be reached from each state."""
    names = [chr(ord("a") + number) for number in range(dispatchers)]
    first = canonical(State(Rows(), tuple(Dispatcher(name) for name in names), clock_sets))
    came: dict[State, tuple[State, str] | None] = {first: None}
    backwards: dict[State, list[State]] = {}
    waiting = deque([first])
    while waiting:
        state = waiting.popleft()
        for step in steps(state, rules):
            reached = canonical(step.state)
            if step.violation:
                return Report(len(came), step.violation, (*_way(came, state), step.name))
            if step.kind in GOOD:
                backwards.setdefault(reached, []).append(state)
            if reached not in came:
                if len(came) >= most_states:
                    raise AssertionError(f"more than {most_states} states: make the model smaller")
                came[reached] = (state, step.name)
                waiting.append(reached)
    finished = [state for state in came if state.rows.state == model.COMPLETED]
    hopeful = set(finished)
    waiting = deque(finished)
    while waiting:
        for before in backwards.get(waiting.popleft(), ()):
            if before not in hopeful:
                hopeful.add(before)
                waiting.append(before)
    for state in came:
        if state not in hopeful:
            return Report(len(came), "the job has no owner for ever", _way(came, state))
    return Report(len(came))


def canonical(state: State) -> State:
    """The same state with tokens and claims replaced by their ranks."""
    rows = state.rows
    owned = [rows.owner[1]] if rows.owner else []
    tokens = _ranks([rows.token, *owned, *(each.token for each in state.dispatchers)])
    claims = _ranks([rows.attempt, *(each.claim for each in state.dispatchers)])
    owner = (rows.owner[0], tokens[rows.owner[1]]) if rows.owner else None
    ranked = State(
        replace(rows, token=tokens[rows.token], attempt=claims[rows.attempt], owner=owner),
        tuple(replace(each, token=tokens[each.token], claim=claims[each.claim]) for each in state.dispatchers),
        state.clock_sets,
    )
    return ranked if len(state.dispatchers) < ALIKE else _renamed(ranked)


def _renamed(state: State) -> State:
    """The same state with the dispatchers in an order of their own: who is called what makes no difference."""
    rows = state.rows
    owner = rows.owner[0] if rows.owner else ""

    def place(each: Dispatcher) -> tuple[object, ...]:
        return (each.name != rows.leader, each.name != owner, replace(each, name=""))

    ordered = sorted(state.dispatchers, key=place)
    names = {each.name: chr(ord("a") + number) for number, each in enumerate(ordered)}
    renamed = replace(
        rows, leader=names.get(rows.leader, ""), owner=(names[owner], rows.owner[1]) if rows.owner else None
    )
    return State(renamed, tuple(replace(each, name=names[each.name]) for each in ordered), state.clock_sets)


def steps(state: State, rules: Rules) -> Iterator[Step]:
    """All that may happen next."""
    yield Step("tick", "time passes", replace(state, rows=model.tick(state.rows)))
    if state.clock_sets:
        for back in (False, True):
            rows = model.clock_set(state.rows, back)
            name = f"the clock is set {'back' if back else 'forward'}"
            yield Step("trouble", name, State(rows, state.dispatchers, state.clock_sets - 1))
    left = [each for each in state.dispatchers if not each.gone]
    for each in left:
        if len(left) > 1:
            ended = Dispatcher(each.name, gone=True)
            yield Step("trouble", f"{each.name} is gone for ever", _with(state, state.rows, ended))
        if each.paused:
            yield Step("wake", f"{each.name} wakes up", _with(state, state.rows, replace(each, paused=False)))
        else:
            yield Step("trouble", f"{each.name} stands still", _with(state, state.rows, replace(each, paused=True)))
            yield from _transactions(state, each, rules)
        yield Step("trouble", f"{each.name} dies and starts again", _with(state, state.rows, Dispatcher(each.name)))


def _transactions(state: State, each: Dispatcher, rules: Rules) -> Iterator[Step]:
    rows, name = state.rows, each.name
    if not each.token:
        taken, token = model.acquire(rows, name, rules)
        if token is not None:
            yield Step("work", f"{name} leads", _with(state, taken, Dispatcher(name, token=token)))
        return
    renewed, kept = model.renew(rows, name, each.token, rules)
    if kept:
        yield Step("work", f"{name} leads on", _with(state, renewed, each))
    else:
        # The process ends, handing its claim back on its way out.
        left = model.release(rows, each.claim, rules)[0] if each.claim else rows
        violation = _checked(rows, left, each, "hands back")
        yield Step("work", f"{name} sees that it leads no more", _with(state, left, Dispatcher(name)), violation)
    if not each.freed:
        freed, _ = model.free_claims(rows, each.owner)
        yield Step("work", f"{name} frees claims", _with(state, freed, replace(each, freed=True)))
    elif not each.claim:
        claimed, number = model.claim(rows, each.owner, rules)
        if number is not None:
            fresh = replace(each, claim=number, saved=claimed.done)
            yield Step("work", f"{name} claims the job", _with(state, claimed, fresh))
    else:
        yield from _writes(state, each, rules)
    resting = model.release(rows, each.claim, rules)[0] if each.claim else rows
    violation = _checked(rows, resting, each, "hands back")
    resting, _ = model.step_down(resting, name, each.token)
    yield Step("trouble", f"{name} is told to end", _with(state, resting, Dispatcher(name)), violation)


def _writes(state: State, each: Dispatcher, rules: Rules) -> Iterator[Step]:
    """What the holder of a claim does with it, as it believes; a message may come twice, so each may be repeated."""
    rows, name = state.rows, each.name
    dropped = replace(each, claim=0, saved=False)
    held, kept = model.renew_claim(rows, each.owner, each.claim, rules)
    yield Step("work", f"{name} renews its claim", _with(state, held, each if kept else dropped))
    # An attempt of one that does not know of any result starts: the row says RUNNING again, until its result comes.
    wishes = [True] if each.saved else [False, True]
    for done in wishes:
        saved, written = model.save_task(rows, each.claim, done, rules)
        what = "saves its task's end" if done else "saves its task's start"
        after = replace(each, saved=done) if written else dropped
        yield Step("work", f"{name} {what}", _with(state, saved, after), _checked(rows, saved, each, what))
    if each.saved:
        ended, written = model.finish(rows, each.claim, rules)
        violation = _checked(rows, ended, each, "finishes the job") if written else ""
        yield Step("work", f"{name} finishes the job", _with(state, ended, dropped), violation)


def _checked(before: Rows, after: Rows, who: Dispatcher, what: str) -> str:
    """What must never come of a write, as a sentence; empty when all is well."""
    if after == before and before.state != model.COMPLETED:
        return ""
    present = before.owner == who.owner and before.attempt == who.claim
    if after != before and not present:
        return f"{who.name} {what} though somebody else has claimed the job since"
    if before.done and not after.done:
        return f"{who.name} {what}, and a finished task is undone"
    if before.state == model.COMPLETED and after.state != model.COMPLETED:
        return f"{who.name} {what}, and a finished job is undone"
    return ""


def _with(state: State, rows: Rows, changed: Dispatcher) -> State:
    others = tuple(changed if each.name == changed.name else each for each in state.dispatchers)
    return State(rows, others, state.clock_sets)


def _ranks(values: list[int]) -> dict[int, int]:
    """Value -> rank; zero stays zero, since it means none."""
    return {value: rank for rank, value in enumerate(sorted({0, *values}))}


def _way(came: dict[State, tuple[State, str] | None], state: State) -> tuple[str, ...]:
    names: list[str] = []
    while (before := came[state]) is not None:
        state, name = before
        names.append(name)
    return tuple(reversed(names))
