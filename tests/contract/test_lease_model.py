"""The model that `tests/model` explores does what the real SQL does: the same random steps on both, compared each time.

Sequences are seeded. A step that fails on one side fails on the other, with the same answer, and leaves the same rows.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.errors import FencedOut
from cluster.metadata import jobs, leases, writes
from cluster.metadata.database import Database
from cluster.metadata.jobs import NewTask
from cluster.metadata.schema import Job, Lease, Task
from cluster.metadata.writes import TaskChange
from cluster.settings import LONGEST_LEASE_S
from scheduler.jobs import JobState, TaskKind, TaskState
from tests.contract.rows import NOW, queued_jobs
from tests.model import lease_model as model
from tests.model.lease_model import Rows, Rules

RULES = Rules()
PREFIX = "dispatcher/"
STEPS = 40
JUMP_S = 100 * LONGEST_LEASE_S


@dataclass
class Both:
    """The model's rows, the real rows, and the time by both."""

    db: Database
    job_id: str
    rows: Rows
    now: float = NOW

    @property
    def task_id(self) -> str:
        return f"{self.job_id}/segment/0"

    async def seen(self) -> Rows:
        """The real rows, in the model's terms."""
        async with self.db.read() as session:
            lease = await session.get(Lease, PREFIX)
            job = await session.get_one(Job, self.job_id)
            task = await session.get(Task, self.task_id)
        name, _, token = (job.lease_owner or "").removeprefix(PREFIX).partition("#")
        return Rows(
            leader=lease.owner if lease else "",
            token=lease.token if lease else 0,
            leads_for=self._left(lease.until if lease else None),
            state=job.state,
            attempt=job.attempt,
            owner=(name, int(token)) if name else None,
            held_for=self._left(job.lease_until),
            done=task is not None and task.state == TaskState.DONE,
        )

    def _left(self, until: float | None) -> int:
        if until is None or until < self.now:
            return model.OVER
        return model.TOO_LONG if until > self.now + LONGEST_LEASE_S else round(until - self.now)

    async def both(self, session: AsyncSession, chance: random.Random) -> tuple[object, object, str]:
        """One random step on both sides: the model's answer, the real one, and what was done."""
        name, rows = chance.choice("abc"), self.rows
        token, attempt = chance.randint(max(1, rows.token - 1), rows.token + 1), chance.randint(1, rows.attempt + 1)
        owner = rows.owner if rows.owner and chance.random() < 0.5 else (name, token)
        named, left = f"{PREFIX}{owner[0]}#{owner[1]}", (RULES.leader_ttl, RULES.job_ttl)
        done = chance.random() < 0.5
        state = TaskState.DONE if done else TaskState.RUNNING
        answer: object
        real: object
        match chance.choice(STEP_KINDS):
            case "acquire":
                self.rows, answer = model.acquire(rows, name, RULES)
                real = await leases.acquire(session, PREFIX, name, self.now, left[0])
            case "renew":
                self.rows, answer = model.renew(rows, name, token, RULES)
                real = await leases.renew(session, PREFIX, name, token, self.now, left[0])
            case "step_down":
                self.rows, answer = model.step_down(rows, name, token)
                real = await leases.release(session, PREFIX, name, token)
            case "free":
                self.rows, answer = model.free_claims(rows, owner)
                real = await jobs.free_claims(session, PREFIX, keep=named)
            case "claim":
                self.rows, answer = model.claim(rows, owner, RULES)
                claimed = await jobs.claim_jobs(session, named, self.now, left[1], 10)
                real = claimed[0].attempt if claimed else None
            case "renew_claim":
                self.rows, answer = model.renew_claim(rows, owner, attempt, RULES)
                real = not await jobs.renew_leases(session, named, {self.job_id: attempt}, self.now, left[1])
            case "release":
                self.rows, answer = model.release(rows, attempt, RULES)
                real = await jobs.release_job(session, self.job_id, attempt)
            case "save_task":
                self.rows, answer = model.save_task(rows, attempt, done, RULES)
                try:
                    await jobs.add_tasks(session, self.job_id, attempt, [self._task()])
                    change = TaskChange(job_id=self.job_id, task_id=self.task_id, columns={"state": state})
                    await writes.save_tasks(session, {self.job_id: attempt}, [change])
                    real = True
                except FencedOut:
                    real = False
            case _:
                self.rows, answer = model.finish(rows, attempt, RULES)
                real = await jobs.finish_job(session, self.job_id, attempt, JobState.COMPLETED, None, self.now)
        return answer, real, f"{name}, {owner}, token {token}, attempt {attempt}"

    def _task(self) -> NewTask:
        return NewTask(task_id=self.task_id, kind=TaskKind.SEGMENT, position=0, state=TaskState.READY)

    def time_passes(self, chance: random.Random) -> None:
        """A tick, or now and then a clock that is set."""
        kind = chance.random()
        if kind < 0.4:
            self.now, self.rows = self.now + 1, model.tick(self.rows)
        elif kind < 0.43:
            back = chance.random() < 0.5
            self.now += -JUMP_S if back else 3 * JUMP_S
            self.rows = model.clock_set(self.rows, back)


STEP_KINDS: tuple[str, ...] = ("acquire",) * 3 + ("renew", "step_down", "free") + ("claim",) * 4
STEP_KINDS += ("renew_claim", "release") + ("save_task",) * 4 + ("finish",)


@pytest.mark.parametrize("seed", range(3))
async def test_the_model_does_what_the_database_does(db: Database, seed: int) -> None:
    chance = random.Random(seed)
    (job_id,) = await queued_jobs(db, 1)
    both = Both(db, job_id, Rows())
    told: list[str] = []
    for _ in range(STEPS):
        before = both.rows
        async with db.write() as session:
            answer, real, what = await both.both(session, chance)
        told.append(f"{what}: {before} -> {both.rows}")
        assert answer == real, "\n".join(told[-3:])
        assert _plain(both.rows) == _plain(await both.seen()), "\n".join(told[-3:])
        both.time_passes(chance)
    assert both.rows.attempt > 1


def _plain(rows: Rows) -> Rows:
    """Rows as they matter: a lease that is over is over, whether its end lies behind or absurdly far ahead."""
    over = {model.TOO_LONG: model.OVER}
    return Rows(
        rows.leader,
        rows.token,
        over.get(rows.leads_for, rows.leads_for),
        rows.state,
        rows.attempt,
        rows.owner,
        over.get(rows.held_for, rows.held_for),
        rows.done,
    )
