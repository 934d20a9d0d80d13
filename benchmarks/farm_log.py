"""What the dispatcher's log says of a farm's work: every attempt with its begin and end. It must be written as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any


@dataclass(slots=True, kw_only=True)
class Attempt:
    """One attempt of one task. Times are epoch seconds.

    Attributes:
        task: "job/kind" or "job/kind/part".
        ended_at: None while it runs, and for good when its worker was lost.
        cpu_s: processor seconds of encoding, or of what failed; of other tasks workers tell time on the clock only.
        wall_s: how long its worker had it, by the worker's clock; 0 when it was not done.
        code: of its failure; empty when it was done.
        timeout_s: how long it may take: four times the p95 of its prediction, at least.
        twin: it was started because another attempt of its task took too long.
    """

    task: str
    number: int
    worker: str
    started_at: float
    ended_at: float | None = None
    cpu_s: float = 0.0
    wall_s: float = 0.0
    code: str = ""
    timeout_s: float = 0.0
    twin: bool = False

    @property
    def job(self) -> str:
        """Id of its job."""
        return self.task.partition("/")[0]

    @property
    def kind(self) -> str:
        """inspect, segment, audio or package."""
        return self.task.split("/")[1]

    @property
    def worker_s(self) -> float:
        """How long it held its worker."""
        return 0.0 if self.ended_at is None else self.ended_at - self.started_at


@dataclass(slots=True)
class FarmLog:
    """What happened on a farm.

    Attributes:
        attempts: in the order of their begin.
        claimed_at: when each job was first taken up.
        joined: process of each worker.
        open_at: when the first worker joined.
        lost: reason for each worker that went.
        lost_at: when it went.
        led_at: when a dispatcher took the lead.
    """

    attempts: list[Attempt] = field(default_factory=list)
    claimed_at: dict[str, float] = field(default_factory=dict)
    joined: dict[str, int] = field(default_factory=dict)
    open_at: float = 0.0
    lost: dict[str, str] = field(default_factory=dict)
    lost_at: dict[str, float] = field(default_factory=dict)
    led_at: list[float] = field(default_factory=list)

    def of_job(self, job: str) -> list[Attempt]:
        """The attempts of a job."""
        return [each for each in self.attempts if each.job == job]

    def of_task(self, task: str) -> list[Attempt]:
        """The attempts of a task."""
        return [each for each in self.attempts if each.task == task]

    def ready_at(self, attempt: Attempt) -> float:
        """When an attempt's task could have been started: after what it needs (breakdown: inspect, all else, package).

        A later attempt of a task could from the end of the one before.
        """
        mine = self.of_job(attempt.job)
        before = [each.ended_at for each in mine if each.task == attempt.task and each.number < attempt.number]
        if before:
            return max(at for at in before if at is not None)
        needs = {"inspect": (), "package": ("inspect", "segment", "audio")}.get(attempt.kind, ("inspect",))
        ends = [each.ended_at for each in mine if each.kind in needs and each.ended_at is not None]
        return max(ends, default=max(self.claimed_at[attempt.job], self.open_at))


def dispatcher_logs(root: Path) -> list[Path]:
    """Logs of a farm's dispatcher, and of the one that stands by in a storm."""
    return [root / "logs" / name for name in ("dispatcher.log", "standby.log")]


def read_farm_log(*paths: Path) -> FarmLog:
    """Read the logs of a farm's dispatchers, as far as they are written."""
    log = FarmLog()
    open_ones: dict[tuple[str, int], Attempt] = {}
    for line in sorted((line for path in paths for line in json_lines(path)), key=_time_of):
        event, at = line.get("event"), _time_of(line)
        if event == "job_claimed":
            log.claimed_at.setdefault(line["job_id"], at)
        elif event == "worker_joined":
            log.joined[line["worker"]] = line["pid"]
            log.open_at = log.open_at or at
        elif event == "worker_lost":
            log.lost[line["worker"]] = line["reason"]
            log.lost_at[line["worker"]] = at
        elif event == "leading":
            log.led_at.append(at)
        elif event == "task_started":
            attempt = Attempt(
                task=line["task"],
                number=line["attempt"],
                worker=line["worker"],
                started_at=at,
                timeout_s=float(line.get("timeout_s") or 0.0),
                twin=bool(line.get("twin")),
            )
            open_ones[attempt.task, attempt.number] = attempt
            log.attempts.append(attempt)
        elif event in ("task_done", "task_failed"):
            ended = open_ones.pop((line["task"], line["attempt"]), None)
            if ended is None:
                continue
            ended.ended_at = at
            ended.code = line.get("code", "")
            ended.wall_s = float(line.get("wall_s") or 0.0)
            measured = line.get("engine_s") if ended.kind == "segment" else None
            ended.cpu_s = float(measured or line.get("evidence", {}).get("cpu_s") or 0.0)
    return log


def _time_of(line: dict[str, Any]) -> float:
    return datetime.fromisoformat(line["timestamp"]).timestamp() if "timestamp" in line else 0.0


def json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a log that are JSON objects; others (a traceback, a line cut short) are passed over."""
    lines: Iterable[str] = path.read_text(errors="replace").splitlines() if path.exists() else ()
    for line in lines:
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            yield value
