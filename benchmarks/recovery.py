"""A dispatcher is killed with hundreds of tasks in flight: how long until all slots work again, and what it costs.

The database and the dispatcher processes are real; the slots pretend (simulated_workers.py), in this process, and live
on when a dispatcher is killed with SIGKILL. Two cases: a standby takes over, and the same dispatcher is started anew.

- *back to full use*: from the kill until as many slots work as did before it (the median of the ten seconds before);
  slots that run dry meanwhile count as what they are, idle.
- *repeated*: tasks that were begun again although an earlier attempt of them ran or had ended, twins of stragglers
  apart (when the queue runs dry, idle slots get them; the dispatchers' logs say which). Must be 0.
- *lost*: jobs that do not end as COMPLETED, or tasks that no slot ran to the end. Must be 0.
"""

from __future__ import annotations

import asyncio
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import click
from sqlalchemy import func, select

from benchmarks.environment import write_results
from benchmarks.farm_log import json_lines
from benchmarks.simulated_workers import SimulatedWorkers, back_at, level_before
from cluster.metadata import jobs
from cluster.metadata.database import Database
from cluster.metadata.lifecycle import VideoStatus
from cluster.metadata.migrate import migrate
from cluster.metadata.schema import Job, Video
from cluster.processes import die_with_parent
from cluster.settings import ClusterSettings
from gateway.farm import as_environment
from scheduler.jobs import JobState, Tier

SETTLE_S = 12.0
"""Time at full use before a kill; the level before it is taken over the last ten seconds."""
LEVEL_S = 10.0
FILL_TIMEOUT_S = 300.0
USERS = 40
JOB_MINUTES = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """One kill.

    Attributes:
        level: slots at work before it, median.
        lowest: fewest slots at work after it.
        seconds: until the level was reached again; infinite when it never was.
        cpu_s: processor time that the successor needed for it: what is left of `seconds` on a busy machine is waiting.
    """

    successor: str
    in_flight: int
    level: int
    lowest: int
    seconds: float
    cpu_s: float


class DispatcherProcess:
    """One process of the real dispatcher; killed with this one."""

    def __init__(self, name: str, settings: ClusterSettings, socket: Path, log: Path) -> None:
        environment = {**os.environ, **as_environment(settings), "REELMILL_DISPATCHER_NAME": name}
        environment["REELMILL_DATA_DIR"] = str(settings.root)
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.simulated_dispatch", str(socket)],
                cwd=Path(__file__).resolve().parent.parent,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=die_with_parent(),
            )

    def cpu_s(self) -> float:
        """Processor time so far. Source: proc(5), fields 14 and 15 of stat."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def kill(self) -> None:
        """SIGKILL, and wait for its end."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


async def submit_jobs(database: Database, count: int) -> None:
    """Queue so many jobs of all tiers."""
    now = time.time()
    async with database.write() as session:
        for number in range(count):
            name = f"{number:06d}"
            user = f"user-{number % USERS}"
            session.add(
                Video(
                    id=f"v{name}",
                    user_id=user,
                    title="simulated",
                    visibility="private",
                    filename="simulated.mp4",
                    content_type="video/mp4",
                    size_bytes=1,
                    profile="default",
                    status=VideoStatus.UPLOADED.value,
                    source_key=f"sources/{name}",
                    created_at=now,
                    updated_at=now,
                )
            )
            await session.flush()
            tier = tuple(Tier)[number % len(Tier)]
            job = jobs.NewJob(video_id=f"v{name}", user_id=user, tier=tier, profile="default", job_id=f"j{name}")
            await jobs.enqueue_job(session, job, now)


async def states(database: Database) -> Mapping[str, int]:
    """State -> number of jobs."""
    async with database.read() as session:
        rows = (await session.execute(select(Job.state, func.count()).group_by(Job.state))).all()
    return {str(state): int(count) for state, count in rows}


class RecoveryRun:
    """The farm of one measurement."""

    def __init__(self, settings: ClusterSettings, workers: SimulatedWorkers, folder: Path) -> None:
        self.settings = settings
        self.workers = workers
        self.folder = folder
        self.socket = folder / "workers.sock"
        self._started = 0

    def start(self, name: str) -> DispatcherProcess:
        """A dispatcher; one of the same name takes its own leadership over, another stands by."""
        self._started += 1
        return DispatcherProcess(name, self.settings, self.socket, self.folder / f"dispatcher-{self._started}.log")

    async def fill(self) -> None:
        """Wait until every slot has work, and some more."""
        deadline = time.monotonic() + FILL_TIMEOUT_S
        while self.workers.busy < 0.98 * self.workers.slots:
            if time.monotonic() > deadline:
                raise click.ClickException(f"only {self.workers.busy} of {self.workers.slots} slots have work")
            await asyncio.sleep(0.1)
        await asyncio.sleep(SETTLE_S)

    async def kill(
        self, victim: DispatcherProcess, standby: DispatcherProcess | None, name: str
    ) -> tuple[Recovery, DispatcherProcess]:
        """Kill a dispatcher, and see how its successor does: the standby, or the same one started anew."""
        in_flight = len(self.workers.running())
        at = time.monotonic()
        victim.kill()
        successor = standby or self.start(name)
        used_s = successor.cpu_s()
        level = level_before(self.workers.changes, at, LEVEL_S)
        seconds = math.inf
        while seconds == math.inf and time.monotonic() < at + FILL_TIMEOUT_S:
            await asyncio.sleep(0.05)
            seconds = back_at(self.workers.changes, at, level) - at
        recovery = Recovery(
            successor="standby" if standby else "restart",
            in_flight=in_flight,
            level=level,
            lowest=min((change.busy for change in self.workers.changes if change.at > at), default=0),
            seconds=seconds,
            cpu_s=successor.cpu_s() - used_s,
        )
        return recovery, successor


async def measure(
    *, tasks: int, kills: int, segment_s: float, jobs_count: int, folder: Path, database_url: str
) -> tuple[list[Recovery], int, int, int]:
    """Kill dispatchers in turn, both ways. Returns (recoveries, repeated tasks, twins, lost jobs)."""
    settings = ClusterSettings(data_dir=folder, database_url=database_url, log_json=True)
    await asyncio.to_thread(migrate, settings.effective_database_url)
    database = Database(settings.effective_database_url)
    workers = SimulatedWorkers(slots=tasks, segment_s=segment_s, minutes=JOB_MINUTES)
    run = RecoveryRun(settings, workers, folder)
    await workers.listen(run.socket)
    recoveries: list[Recovery] = []
    with ExitStack() as stack:
        await submit_jobs(database, jobs_count)
        leader, name = run.start("a0"), "a0"
        stack.callback(leader.kill)
        for number in range(kills):
            await run.fill()
            standby = None
            if number % 2 == 0:
                name = f"a{number + 1}"
                standby = run.start(name)
                stack.callback(standby.kill)
                await asyncio.sleep(SETTLE_S)
            recovery, leader = await run.kill(leader, standby, name)
            stack.callback(leader.kill)
            recoveries.append(recovery)
            print_recovery(recovery)
        await finish(database, jobs_count)
    twins = twins_of(folder)
    repeated = sum(1 for task, count in workers.begun.items() if count - twins[task] > 1)
    async with database.read() as session:
        completed = await session.scalar(
            select(func.count()).where(Job.state == str(JobState.COMPLETED)).select_from(Job)
        )
    await workers.close()
    await database.close()
    return recoveries, repeated, twins.total(), jobs_count - int(completed or 0)


def twins_of(folder: Path) -> Counter[str]:
    """Task -> twins that the dispatchers started, by their logs."""
    lines = (line for path in folder.glob("dispatcher-*.log") for line in json_lines(path))
    return Counter(line["task"] for line in lines if line.get("event") == "task_started" and line.get("twin"))


async def finish(database: Database, count: int) -> None:
    """Wait until all jobs are over, as long as they go on."""
    while True:
        found = await states(database)
        over = sum(found.get(str(state), 0) for state in (JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED))
        if over == count:
            return
        await asyncio.sleep(1.0)


def print_recovery(it: Recovery) -> None:
    """One line."""
    print(
        f"{it.successor:>8}: killed with {it.in_flight} tasks in flight ({it.level} slots at work); "
        f"back after {it.seconds:.1f} s "
        f"({it.cpu_s:.1f} s of processor time), fewest at work {it.lowest}",
        flush=True,
    )


@click.command()
@click.option("--tasks", default=500, show_default=True, help="Slots, and so tasks in flight.")
@click.option("--kills", default=4, show_default=True, help="In turn: a standby takes over, the same one is restarted.")
@click.option("--segment-s", default=15.0, show_default=True, help="Median time of a segment on a slot.")
@click.option("--jobs", "jobs_count", default=400, show_default=True, help="Jobs in the queue.")
@click.option("--database-url", default="", help="SQLAlchemy URL of an empty database; SQLite in a new folder if none.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the figures here.")
@click.option("--keep", type=click.Path(path_type=Path), help="Folder for the logs; a temporary one if none.")
def command(
    tasks: int, kills: int, segment_s: float, jobs_count: int, database_url: str, json_path: Path | None,
    keep: Path | None,
) -> None:  # fmt: skip
    """Kill the dispatcher with hundreds of tasks in flight; seconds until all slots work again."""
    with tempfile.TemporaryDirectory(prefix="recovery-") as temporary:
        folder = keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        recoveries, repeated, twins, lost = asyncio.run(
            measure(
                tasks=tasks, kills=kills, segment_s=segment_s, jobs_count=jobs_count, folder=folder,
                database_url=database_url,
            )
        )  # fmt: skip
    worst = max((it.seconds for it in recoveries), default=0.0)
    print(
        f"{tasks} slots, {kills} kills: back to full use within {worst:.1f} s; "
        f"repeated {repeated}, lost {lost}, {twins} twins"
    )
    if json_path is not None:
        results = {
            "slots": tasks, "segment_s": segment_s, "kills": [asdict(it) for it in recoveries],
            "repeated": repeated, "lost": lost, "twins": twins,
        }  # fmt: skip
        write_results(json_path, "recovery", results)
    if repeated or lost:
        raise SystemExit(1)
