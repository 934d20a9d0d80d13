"""What the loop writes in one transaction."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from cluster.active_jobs import JobWrite, latest_only


async def nothing(_: AsyncSession) -> None:
    """Stands for a write."""


def test_of_what_is_said_anew_only_the_last_is_written() -> None:
    first, other = (JobWrite(job_id=name, write=nothing, replaces="progress") for name in ("a", "b"))
    task = JobWrite(job_id="a", write=nothing)
    last = JobWrite(job_id="a", write=nothing, replaces="progress")
    kept = latest_only([first, task, other, task, last])
    assert [id(each) for each in kept] == [id(each) for each in (task, other, task, last)]
