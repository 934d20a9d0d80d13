"""Leases are judged by the database's clock, and one from before that clock was set back is over."""

from __future__ import annotations

import time

import pytest

from cluster.metadata import jobs, leases
from cluster.metadata.clock import is_over, lease_now
from cluster.metadata.database import Database
from cluster.settings import LONGEST_LEASE_S
from tests.contract.rows import NOW, queued_jobs

HOUR_S = 3_600.0


async def test_the_databases_clock_counts_epoch_seconds_whatever_ours_says(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    true_s = time.time()
    monkeypatch.setattr(time, "time", lambda: true_s + 10 * HOUR_S)
    async with db.write() as session:
        first, second = await lease_now(session), await lease_now(session)
    assert first <= second
    assert abs(first - true_s) < HOUR_S


def test_a_lease_ends_when_it_says_or_when_it_says_too_much() -> None:
    assert [is_over(until, NOW) for until in (NOW - 1, NOW, NOW + LONGEST_LEASE_S, NOW + LONGEST_LEASE_S + 1)] == [
        True,
        False,
        False,
        True,
    ]


async def test_a_clock_that_was_set_back_leaves_no_leader_for_an_hour(db: Database) -> None:
    async with db.write() as session:
        assert await leases.acquire(session, "dispatcher", "dead", NOW + HOUR_S, 6) == 1
        assert await leases.holder(session, "dispatcher", NOW) is None
        assert await leases.acquire(session, "dispatcher", "alive", NOW, 6) == 2
        assert not await leases.renew(session, "dispatcher", "dead", 1, NOW, 6)


async def test_nor_a_job(db: Database) -> None:
    (job_id,) = await queued_jobs(db, 1)
    async with db.write() as session:
        await jobs.claim_jobs(session, "dead", NOW + HOUR_S, 20, 10)
    async with db.write() as session:
        (job,) = await jobs.claim_jobs(session, "alive", NOW, 20, 10)
    assert (job.id, job.attempt, job.lease_owner) == (job_id, 2, "alive")
