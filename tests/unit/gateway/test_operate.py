"""An operator's commands on a database of their own: what they print, what they change, what they refuse."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from cluster.metadata import jobs
from cluster.metadata.migrate import migrate
from cluster.metadata.nodes import NodeReport, report_nodes
from cluster.metadata.schema import Job, Video
from cluster.settings import ClusterSettings
from gateway.cli import main
from gateway.commands.exits import Exit
from gateway.commands.operate import in_database
from scheduler.jobs import JobState

FAILURE = {"code": "media_crashed", "fault": "device", "detail": "SIGSEGV", "evidence": {"stderr": "x264 [error]"}}


@pytest.fixture(autouse=True)
def farm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REELMILL_DATABASE_URL", "REELMILL_REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("REELMILL_DATA_DIR", str(tmp_path))
    monkeypatch.setattr("gateway.cli.end_on_signals", lambda: None)
    migrate(ClusterSettings().effective_database_url)


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    assert isinstance(caught.value.code, int)
    return caught.value.code


def add_job(job_id: str, failed: bool = False) -> None:
    async def write(session: AsyncSession) -> None:
        at = time.time()
        status = "PROCESSING_FAILED" if failed else "UPLOADED"
        video = {"title": "t", "visibility": "private", "filename": "f", "content_type": "video/mp4", "size_bytes": 1}
        times = {"created_at": at, "updated_at": at}
        session.add(
            Video(id=f"v{job_id}", user_id="ann", profile="default", status=status, source_key="s", **video, **times)
        )
        await session.flush()
        new = jobs.NewJob(video_id=f"v{job_id}", user_id="ann", tier="free", profile="default", job_id=job_id)
        await jobs.enqueue_job(session, new, at)
        if failed:
            (row,) = await jobs.claim_jobs(session, "d", at, 60, 1)
            assert await jobs.finish_job(session, job_id, row.attempt, JobState.FAILED, FAILURE, at)

    in_database(write)


def job(job_id: str) -> Job:
    async def read(session: AsyncSession) -> Job:
        return await session.get_one(Job, job_id)

    return in_database(read)


def test_a_dead_letter_is_listed_shown_and_replayed(capsys: pytest.CaptureFixture[str]) -> None:
    add_job("abc1", failed=True)
    assert run("dead", "list", "--json") == Exit.DONE
    assert [each["job"] for each in json.loads(capsys.readouterr().out)] == ["abc1"]
    assert run("dead", "show", "abc") == Exit.DONE
    shown = json.loads(capsys.readouterr().out)
    assert shown["failure"]["evidence"]["stderr"] == "x264 [error]"
    assert run("dead", "replay", "abc1") == Exit.DONE
    assert (job("abc1").state, job("abc1").failure) == (JobState.QUEUED, None)
    assert run("dead", "replay", "abc1") == Exit.FAILED
    assert "no dead letter" in capsys.readouterr().err


def test_a_dropped_one_is_gone_from_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    add_job("abc1", failed=True)
    assert run("dead", "drop", "abc1") == Exit.DONE
    capsys.readouterr()
    assert run("dead", "list", "--json") == Exit.DONE
    assert json.loads(capsys.readouterr().out) == []


def test_jobs_are_paused_resumed_and_moved(capsys: pytest.CaptureFixture[str]) -> None:
    add_job("q1")
    assert run("pause", "q1") == Exit.DONE
    assert job("q1").paused
    assert run("resume", "q1") == Exit.DONE
    assert not job("q1").paused
    assert run("boost", "q1") == Exit.DONE
    assert (job("q1").tier, job("q1").weight) == ("paid", 1.0)
    assert run("boost", "q1", "--tier", "verified", "--weight", "3") == Exit.DONE
    assert (job("q1").tier, job("q1").weight) == ("verified", 3.0)
    assert run("pause", "nobody") == Exit.FAILED
    assert "over or unknown" in capsys.readouterr().err


def test_a_node_is_drained_by_address_and_works_again(capsys: pytest.CaptureFixture[str]) -> None:
    report = NodeReport(node_id="ab" * 28, address="10.0.0.7", state="alive", workers=2, running=1)
    in_database(lambda session: report_nodes(session, "", [report], time.time()))
    assert run("drain", "10.0.0.7", "--within", "2m") == Exit.DONE
    capsys.readouterr()
    assert run("nodes", "--json") == Exit.DONE
    (node,) = json.loads(capsys.readouterr().out)
    assert (node["workers"], node["running"]) == (2, 1)
    assert 60 < node["drain_by"] - time.time() <= 120
    assert run("drain", "abab", "--undo") == Exit.DONE
    capsys.readouterr()
    assert run("nodes", "--json") == Exit.DONE
    assert json.loads(capsys.readouterr().out)[0]["drain_by"] is None
    assert run("drain", "10.9.9.9") == Exit.FAILED


def test_without_a_farm_s_database_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REELMILL_DATA_DIR", str(tmp_path / "none"))
    assert run("dead", "list") == Exit.UNREACHABLE
    assert "REELMILL_DATABASE_URL" in capsys.readouterr().err
