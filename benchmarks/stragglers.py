"""Workers that are slow and do not know it: what encodes for one stands still most of the time, in short turns.

The worker itself answers as ever, so that nobody takes it for dead: this is what twins are for. A segment that was
slowed is noted in `stragglers.jsonl` of the storm's folder; `unanswered` says afterwards which should have had a twin
and had none, or had one that did not end as it should.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.bystanders import send_signal
from benchmarks.farm_log import Attempt, FarmLog, dispatcher_logs, json_lines, read_farm_log
from benchmarks.farm_rows import live_jobs
from cluster.errors import DatabaseUnavailable
from cluster.processes import ProcessInfo, descendants, process_table
from scheduler.jobs import TaskKind
from scheduler.settings import SchedulerSettings

TURN_S = 1.0
SLOW, CRAWLING = 0.1, 0.01
"""Share of a turn in which the process may work: what it does takes ten times as long, or a hundred."""
CONFINED = "encoders.forkserver"
FEW_JOBS = 3
"""With so few jobs left, a worker soon finds nothing to do while another is slow; a storm's queue is never empty."""
MOST_STRAGGLERS = 4
"""A twin needs an idle worker: if there was none, the next segment is slowed, until the last ones are gone."""
LONGEST_CRAWL_S = 150.0
OF_TIMEOUT = 0.9
"""Share of a task's timeout for which it is slowed: not the timeout but a twin shall end it."""
IDLE_S = 20.0
"""A worker that had nothing to do for so long, while a segment was overdue, must have got its twin: the dispatcher
looks every second, but a busy machine delays it."""
JUST_S = 30.0
"""A worker that did something so short a time before is in order."""
STOPPED_WITHIN_S = 30.0
"""How long a stopped attempt may take to end. Source: `stop_grace_s` of the scheduler's settings."""
QUIET_WITHIN_S = 120.0
"""A worker that started last may still have its canary, on a busy machine for minutes."""
POLL_S = 0.5


def workers() -> list[ProcessInfo]:
    """The workers' processes below this one."""
    return [info for info in descendants(os.getpid()) if info.command.startswith("ray::SlotHolder")]


def at_work(worker: int, table: Mapping[int, ProcessInfo]) -> list[int]:
    """The confined children of a worker: what its fork server has forked, and not the fork server."""
    below = {info.pid: info for info in descendants(worker, table) if CONFINED in info.command and not info.zombie}
    return sorted(pid for pid, info in below.items() if info.parent in below)


def slow_down(worker: int, pace: float, lasts_s: float, over: Callable[[], bool]) -> None:
    """Slow a worker's confined children for a time, or until told that it is over. None is left standing."""
    end = time.monotonic() + lasts_s
    while time.monotonic() < end and not over():
        held = [pid for pid in at_work(worker, process_table()) if send_signal(pid, signal.SIGSTOP)]
        try:
            time.sleep((1.0 - pace) * TURN_S)
        finally:
            for pid in held:
                send_signal(pid, signal.SIGCONT)
        time.sleep(pace * TURN_S)


class Stragglers:
    """Slows one segment after another, when hardly anything is left to do, and notes which.

    Args:
        root: the farm's folder.
        url: of its database.
        folder: the storm's.
    """

    def __init__(self, root: Path, url: str, chance: random.Random, folder: Path) -> None:
        self.root = root
        self.url = url
        self.chance = chance
        self.folder = folder

    def until_a_twin(self, over: Callable[[], bool]) -> bool:
        """Whether one of the slowed segments had a twin, before it was over."""
        for _ in range(MOST_STRAGGLERS):
            found = self._await_segment(over)
            if found is None:
                return False
            self._slow(*found, over)
            if any(each.twin for each in self._log().of_task(found[0].task)):
                return True
        return False

    def _await_segment(self, over: Callable[[], bool]) -> tuple[Attempt, int] | None:
        while not over():
            if self._jobs_left() <= FEW_JOBS and (found := self._encoding()):
                return self.chance.choice(found)
            time.sleep(POLL_S)
        return None

    def _jobs_left(self) -> int:
        try:
            return len(live_jobs(self.url))
        except DatabaseUnavailable:
            return FEW_JOBS + 1

    def _encoding(self) -> list[tuple[Attempt, int]]:
        """Segments that are encoded now, with the pids of their workers: neither an inspection nor a package has twins.

        One whose cost is not known yet has none either, and a second attempt may be on the only device left to it.
        """
        log, table = self._log(), process_table()
        latest = {attempt.worker: attempt for attempt in log.attempts}
        found = []
        for info in workers():
            attempt = next((each for each in latest.values() if log.joined.get(each.worker) == info.pid), None)
            if attempt is None or attempt.ended_at is not None or not at_work(info.pid, table):
                continue
            if (
                attempt.kind == TaskKind.SEGMENT
                and attempt.number == 1
                and attempt.timeout_s * OF_TIMEOUT <= LONGEST_CRAWL_S
            ):
                found.append((attempt, info.pid))
        return sorted(found, key=lambda each: each[1])

    def _slow(self, attempt: Attempt, pid: int, over: Callable[[], bool]) -> None:
        """Until the attempt has ended: by a twin that was faster."""

        def ended() -> bool:
            return over() or _of(self._log(), attempt.task, attempt.number).ended_at is not None

        slow_down(pid, CRAWLING, attempt.timeout_s * OF_TIMEOUT, ended)
        line = {"task": attempt.task, "attempt": attempt.number, "until": datetime.now(UTC).timestamp()}
        with (self.folder / "stragglers.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")

    def _log(self) -> FarmLog:
        return read_farm_log(*dispatcher_logs(self.root))


def unanswered(root: Path, folder: Path) -> tuple[int, list[str]]:
    """How many slowed segments had a twin, and what went wrong with those and with the others."""
    log = read_farm_log(*dispatcher_logs(root))
    encoded = [*json_lines(root / "logs" / "encodes.jsonl")]
    answered, found = 0, []
    for line in json_lines(folder / "stragglers.jsonl"):
        straggler = _of(log, line["task"], line["attempt"])
        pair = log.of_task(straggler.task)
        if any(each.twin and each.started_at > straggler.started_at for each in pair):
            answered += 1
            mine = {each["attempt"]: each["at"] for each in encoded if each["task"] == straggler.task}
            found += _badly_ended(pair, mine)
        elif idle := _idle_beside(log, straggler, line["until"]):
            found.append(f"{straggler.task}: attempt {straggler.number} was slow beside {idle}, idle, and had no twin")
    return answered, found


def _of(log: FarmLog, task: str, number: int) -> Attempt:
    return next(each for each in log.of_task(task) if each.number == number)


def _badly_ended(pair: list[Attempt], encoded_at: Mapping[int, float]) -> list[str]:
    """The first result counts: who did not bring it was stopped, and finished nothing but in the same moment."""
    done_at, winner = min(
        ((each.ended_at, each) for each in pair if each.ended_at is not None and not each.code),
        default=(0.0, None),
        key=lambda found: found[0],
    )
    if winner is None:
        return [f"{pair[0].task}: had a twin and was never done"]
    return [
        f"{winner.task}: attempt {number} went on although attempt {winner.number} was done"
        for number, at in encoded_at.items()
        if number != winner.number and at > done_at + STOPPED_WITHIN_S
    ]


def _idle_beside(log: FarmLog, straggler: Attempt, until: float) -> str:
    """A worker that had nothing to do, long enough, while the straggler was overdue under one and the same leader."""
    until = min(until, straggler.ended_at or until)
    if any(straggler.started_at < at < until for at in log.led_at):
        return ""
    # No less than the p95 of its prediction, after which it may have a twin.
    overdue_at = straggler.started_at + straggler.timeout_s / SchedulerSettings().timeout_factor
    for worker in log.joined.keys() - {straggler.worker}:
        mine = [each for each in log.attempts if each.worker == worker and each.started_at < until]
        last = max(mine, key=lambda each: each.ended_at or until, default=None)
        if last is None or last.ended_at is None or log.lost_at.get(worker, until) < until:
            continue
        # Who has just done something is neither drained nor out.
        healthy = not last.code and last.ended_at > straggler.started_at - JUST_S
        if healthy and until - max(overdue_at, last.ended_at) >= IDLE_S:
            return worker
    return ""


def at_work_still() -> list[str]:
    """Children of workers that work although everything is over; waits a little for those that are being stopped."""
    end = time.monotonic() + QUIET_WITHIN_S
    while left := [pid for info in workers() for pid in at_work(info.pid, process_table())]:
        if time.monotonic() > end:
            break
        time.sleep(POLL_S)
    return [f"process {pid} works although nothing is left to do" for pid in left]
