"""Leadership, claims and fencing as values: what `metadata.leases` and `metadata.jobs` do, one transaction a function.

Times are ticks from now, so a state is the same state later: a lease that is over has none left. `tests/contract/
test_lease_model.py` takes the same random steps here and on real databases and compares every answer and every row, so
what the explorer proves of this model holds for that SQL.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

OVER = -1
"""Ticks left of a lease that has ended, however long ago."""
TOO_LONG = 99
"""Ticks left of a lease that was written before the clock was set back by far: more than any lease may have."""
QUEUED, RUNNING, COMPLETED = "queued", "running", "completed"
Owner = tuple[str, int]
"""A dispatcher's name and its leadership's token: who holds a claim."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What the SQL does; tests switch single rules off and expect to be told.

    Attributes:
        fenced: a write names the number of its claim, and a stale one changes nothing.
        numbered: each claim has a new number.
        bounded: a lease that says it lasts longer than any may is over.
        leader_ttl, job_ttl: ticks that a renewal lasts.
    """

    fenced: bool = True
    numbered: bool = True
    bounded: bool = True
    leader_ttl: int = 1
    job_ttl: int = 2


@dataclass(frozen=True, slots=True)
class Rows:
    """One leadership, one job, its one task."""

    leader: str = ""
    token: int = 0
    leads_for: int = OVER
    state: str = QUEUED
    attempt: int = 0
    owner: Owner | None = None
    held_for: int = OVER
    done: bool = False


def is_over(left: int, rules: Rules) -> bool:
    """`clock.is_over`."""
    return left < 0 or (rules.bounded and left == TOO_LONG)


def acquire(rows: Rows, name: str, rules: Rules) -> tuple[Rows, int | None]:
    """`leases.acquire`."""
    if rows.leader != name and not is_over(rows.leads_for, rules):
        return rows, None
    taken = replace(rows, leader=name, token=rows.token + 1, leads_for=rules.leader_ttl)
    return taken, taken.token


def renew(rows: Rows, name: str, token: int, rules: Rules) -> tuple[Rows, bool]:
    """`leases.renew`."""
    if (rows.leader, rows.token) != (name, token):
        return rows, False
    return replace(rows, leads_for=rules.leader_ttl), True


def step_down(rows: Rows, name: str, token: int) -> tuple[Rows, bool]:
    """`leases.release`."""
    if (rows.leader, rows.token) != (name, token):
        return rows, False
    return replace(rows, leads_for=OVER), True


def free_claims(rows: Rows, keep: Owner) -> tuple[Rows, int]:
    """`jobs.free_claims`."""
    if rows.state == COMPLETED or rows.owner in (None, keep):
        return rows, 0
    return replace(rows, held_for=OVER), 1


def claim(rows: Rows, owner: Owner, rules: Rules) -> tuple[Rows, int | None]:
    """`jobs.claim_jobs`; answers the claim's number."""
    abandoned = rows.state != COMPLETED and rows.owner is not None and is_over(rows.held_for, rules)
    waiting = rows.state == QUEUED and rows.owner is None
    if not abandoned and not waiting:
        return rows, None
    attempt = rows.attempt + 1 if rules.numbered else max(1, rows.attempt)
    return replace(rows, state=RUNNING, attempt=attempt, owner=owner, held_for=rules.job_ttl), attempt


def renew_claim(rows: Rows, owner: Owner, attempt: int, rules: Rules) -> tuple[Rows, bool]:
    """`jobs.renew_leases`."""
    if (rows.owner, rows.attempt) != (owner, attempt):
        return rows, False
    return replace(rows, held_for=rules.job_ttl), True


def release(rows: Rows, attempt: int, rules: Rules) -> tuple[Rows, bool]:
    """`jobs.release_job`."""
    if not _holds(rows, attempt, rules):
        return rows, False
    return replace(rows, state=QUEUED, owner=None, held_for=OVER), True


def save_task(rows: Rows, attempt: int, done: bool, rules: Rules) -> tuple[Rows, bool]:
    """`writes.save_tasks`; False where that raises FencedOut."""
    if not _holds(rows, attempt, rules):
        return rows, False
    return replace(rows, done=done), True


def finish(rows: Rows, attempt: int, rules: Rules) -> tuple[Rows, bool]:
    """`jobs.finish_job`."""
    if not _holds(rows, attempt, rules):
        return rows, False
    return replace(rows, state=COMPLETED, owner=None, held_for=OVER), True


def tick(rows: Rows) -> Rows:
    """Time passes."""
    return replace(rows, leads_for=_less(rows.leads_for), held_for=_less(rows.held_for))


def clock_set(rows: Rows, back: bool) -> Rows:
    """The database's clock is set by hours: what was running out is over, or seems to last for hours."""
    if not back:
        return replace(rows, leads_for=OVER, held_for=OVER)
    later = {True: TOO_LONG, False: OVER}
    return replace(rows, leads_for=later[rows.leads_for >= 0], held_for=later[rows.held_for >= 0])


def _less(left: int) -> int:
    return left if left == TOO_LONG else max(OVER, left - 1)


def _holds(rows: Rows, attempt: int, rules: Rules) -> bool:
    """`jobs._claimed`: that this claim is the present one."""
    if not rules.fenced:
        return True
    return rows.attempt == attempt and rows.owner is not None
