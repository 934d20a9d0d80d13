"""Who is claimed first when more jobs wait than a dispatcher wants: tiers beside each other, users in turn."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from sqlalchemy import insert, text

from cluster.metadata import jobs, operations
from cluster.metadata.database import Database
from cluster.metadata.schema import Job, new_id
from cluster.metadata.turns import GUARANTEED
from scheduler.jobs import JobState, Tier
from tests.contract.rows import NOW, queued_jobs, uploaded_video

LEASE_S = 20.0
CROWD = 10_000


async def claim(db: Database, limit: int, owner: str = "d1", **terms: Any) -> list[Job]:
    async with db.write() as session:
        return await jobs.claim_jobs(session, owner, NOW, LEASE_S, limit, **terms)


async def crowd(db: Database, user_id: str = "crowd") -> None:
    """As many free jobs of one user, queued as `enqueue_job` would."""
    video_id = await uploaded_video(db, user_id)
    rows = [
        {
            "id": new_id(),
            "video_id": video_id,
            "user_id": user_id,
            "tier": "free",
            "state": "queued",
            "profile": "default",
            "options": {},
            "progress": {},
            "seq": number + 1,
            "turn": number,
            "place": number,
            "created_at": NOW,
        }
        for number in range(CROWD)
    ]
    async with db.write() as session:
        await session.execute(insert(Job), rows)
        if session.get_bind().dialect.name == "postgresql":
            await session.execute(text(f"SELECT setval('job_seq', {CROWD + 1})"))


async def test_ten_thousand_jobs_of_one_user_delay_nobody_else(db: Database) -> None:
    await crowd(db)
    (paid,) = await queued_jobs(db, 1, "payer", tier="paid")
    free = await queued_jobs(db, 2, "newcomer")
    claimed = await claim(db, 200)
    assert len(claimed) == 200
    assert claimed[0].id == paid
    assert [job.id for job in claimed if job.user_id == "newcomer"] == free
    assert [job.turn for job in claimed if job.user_id == "crowd"] == list(range(197))


async def test_a_dispatcher_that_holds_enough_still_takes_the_first_jobs_of_others(db: Database) -> None:
    await crowd(db)
    assert len(await claim(db, 200, rooms={"free": 100})) == 100
    newcomers = await queued_jobs(db, GUARANTEED + 2, "newcomer")
    (paid,) = await queued_jobs(db, 1, "payer", tier="paid")
    claimed = await claim(db, 200, rooms={"free": 0})
    assert {job.id for job in claimed} == {paid, *newcomers[:GUARANTEED]}
    assert await claim(db, 200, rooms={"free": 0, "paid": 0}) == []
    assert len(await claim(db, 200, rooms={"free": 3})) == 3


async def test_users_take_turns(db: Database) -> None:
    await queued_jobs(db, 4, "early")
    await queued_jobs(db, 2, "late")
    order = [job.user_id for _ in range(6) for job in await claim(db, 1)]
    assert order == ["early", "late", "early", "late", "early", "early"]


async def test_who_has_much_in_work_is_behind_who_has_nothing(db: Database) -> None:
    await queued_jobs(db, 5, "busy")
    await claim(db, 5)
    await queued_jobs(db, 2, "busy")
    (other,) = await queued_jobs(db, 1, "other")
    assert [job.id for job in await claim(db, 1)] == [other]


async def test_old_turns_do_not_hold_a_steady_user_back(db: Database) -> None:
    """A turn is counted from where the tier is, not from where its user once was."""
    await queued_jobs(db, 9, "steady")
    done = await claim(db, 9)
    async with db.write() as session:
        for job in done:
            await jobs.finish_job(session, job.id, job.attempt, JobState.COMPLETED, None, NOW)
    await queued_jobs(db, 3, "new")
    (again,) = await queued_jobs(db, 1, "steady")
    assert again in [job.id for job in await claim(db, 2)]


async def test_every_tier_gets_a_part_of_a_claim(db: Database) -> None:
    for tier in Tier:
        await queued_jobs(db, 20, f"of {tier}", tier=tier)
    assert Counter(job.tier for job in await claim(db, 12)) == dict.fromkeys(Tier, 4)
    assert Counter(job.tier for job in await claim(db, 48)) == dict.fromkeys(Tier, 16)
    assert await claim(db, 9) == []


async def test_what_one_tier_does_not_need_the_others_get(db: Database) -> None:
    await queued_jobs(db, 20, tier="free")
    await queued_jobs(db, 1, tier="paid")
    assert Counter(job.tier for job in await claim(db, 12)) == {"paid": 1, "free": 11}


async def test_a_job_that_an_operator_moves_goes_to_the_front_of_its_new_tier(db: Database) -> None:
    *_, last = await queued_jobs(db, 30, "mover")
    await queued_jobs(db, 5, "payer", tier="paid")
    await claim(db, 2, tier="paid")
    async with db.write() as session:
        await operations.reprioritise(session, last, "paid", None)
    assert [job.id for job in await claim(db, 1, tier="paid")] == [last]


@pytest.mark.parametrize("also", [(), ("us",)])
async def test_two_regions_share_a_database(db: Database, url: str, also: tuple[str, ...]) -> None:
    eu = await queued_jobs(db, 30, "e", affinity="eu")
    us = await queued_jobs(db, 30, "u", affinity="us")
    anywhere = await queued_jobs(db, 30, "a")
    other = Database(url)
    got: dict[str, list[str]] = {"eu": [], "us": []}

    async def drain(database: Database, region: str, also: tuple[str, ...]) -> None:
        while claimed := await claim(database, 4, region, affinity=region, also=also):
            got[region] += [job.id for job in claimed]
            await asyncio.sleep(0)

    await asyncio.gather(drain(db, "eu", also), drain(other, "us", ()))
    await other.close()
    assert Counter(got["eu"] + got["us"]) == Counter(eu + us + anywhere)
    assert set(eu) <= set(got["eu"])
    assert not set(eu) & set(got["us"])
    assert also or set(us) <= set(got["us"])


async def test_a_foreign_job_is_left_alone_unless_allowed(db: Database) -> None:
    (foreign,) = await queued_jobs(db, 1, affinity="us")
    assert await claim(db, 9) == []
    assert await claim(db, 9, affinity="eu") == []
    assert [job.id for job in await claim(db, 9, affinity="eu", also=("us", "ap"))] == [foreign]


async def test_claiming_in_turn_reads_an_index_and_sorts_nothing(db: Database) -> None:
    if not db.sqlite:
        pytest.skip("PostgreSQL plans by statistics: a table of a few rows is read as a whole")
    wanted = "state = 'queued' AND lease_owner IS NULL AND tier = 'free'"
    query = f"SELECT id FROM jobs WHERE {wanted} ORDER BY turn, seq LIMIT 9"
    async with db.read() as session:
        plan = " ".join(str(row) for row in (await session.execute(text(f"EXPLAIN QUERY PLAN {query}"))).all())
    assert "ix_jobs_state_tier_turn_seq" in plan
    assert "TEMP B-TREE" not in plan
