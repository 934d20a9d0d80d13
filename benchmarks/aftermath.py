"""After a storm: is anything lost, corrupt, done twice, or left lying about? Each function answers with violations."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import av
from sqlalchemy import select

from benchmarks.farm_log import dispatcher_logs, json_lines
from benchmarks.farm_rows import ask, live_jobs, working_nodes
from cluster.metadata.schema import Asset, Job
from cluster.processes import descendants, process_table
from cluster.scratch import LOCK
from cluster.settings import ClusterSettings
from encoders.backends.nverrors import SessionsExhausted

CLEAN_WITHIN_S = 60.0
"""How long folders of dead workers may lie: the next worker of the node removes them when it starts."""

NODES = 2
BACK_WITHIN_S = 90.0
"""How long a node that a storm has killed may need to come back with its worker."""


def repeated_encodes(root: Path, faults: Path | None = None) -> list[str]:
    """Records that were finished again by an attempt that began after they were there; twins are none of those.

    Args:
        faults: folder of the storm. Its store noted when each record landed, by a clock that no storm has shifted and
            also when the worker was killed before it could tell; without it, the workers' own log says so.
    """
    told = [*json_lines(root / "logs" / "encodes.jsonl")]
    landed: dict[str, float] = {}
    for line in json_lines(faults / "landed.jsonl") if faults else told:
        landed[line["record"]] = min(line["at"], landed.get(line["record"], line["at"]))
    begun = {
        (line["task"], line["attempt"]): datetime.fromisoformat(line["timestamp"]).timestamp()
        for line in _dispatched(root)
        if line.get("event") == "task_started"
    }
    found = []
    for line in told:
        first = landed.get(line["record"])
        began = begun.get((line["task"], line["attempt"]))
        if first is None or began is None:
            found.append(f"{line['record']}: attempt {line['attempt']} of {line['task']} has landed or begun unseen")
        elif began > first:
            found.append(f"{line['record']}: finished at {first:.3f}, begun again at {began:.3f}")
    return found


def _dispatched(root: Path) -> Iterable[dict[str, Any]]:
    for path in dispatcher_logs(root):
        yield from json_lines(path)


def twins(root: Path) -> int:
    """How many second attempts were started on purpose."""
    return sum(1 for line in _dispatched(root) if line.get("event") == "task_started" and line.get("twin"))


def takeovers(root: Path) -> int:
    """How often a dispatcher took the lead."""
    return sum(1 for line in _dispatched(root) if line.get("event") == "leading")


def sessions_wanted_again(root: Path) -> tuple[int, int]:
    """How many tasks got no encode session at their first try, and how many of those were done at a later one."""
    refused: set[str] = set()
    done: set[str] = set()
    for line in _dispatched(root):
        if line.get("event") == "task_failed" and line.get("code") == SessionsExhausted.code:
            refused.add(line["task"])
        elif line.get("event") == "task_done":
            done.add(line["task"])
    return len(refused), len(refused & done)


def live_nodes(url: str) -> int:
    """How many nodes work, by the dispatcher that leads; waits for those that are on their way back."""
    deadline = time.monotonic() + BACK_WITHIN_S
    while (count := sum(1 for row in working_nodes(url) if row.workers)) < NODES and time.monotonic() < deadline:
        time.sleep(1.0)
    return count


def encodes(root: Path) -> tuple[int, int]:
    """How many records were finished, and how many of those by more than one attempt at once."""
    records = [line["record"] for line in json_lines(root / "logs" / "encodes.jsonl")]
    return len(set(records)), len(records) - len(set(records))


def unsettled_rows(url: str) -> list[str]:
    """Jobs that are held or not over."""
    return [f"job {row.id} is {row.state}, held by {row.lease_owner}" for row in live_jobs(url)]


def unkind_answers(root: Path, answers: Mapping[str, int]) -> list[str]:
    """What no client should ever get: a bug's 500, and no word or no time to come back while the database is gone.

    Args:
        answers: what gateways said meanwhile, and how often.
    """
    kind = {"200", "503 with Retry-After", "unreachable"}
    found = [f"while the database was gone a gateway answered {said}" for said in answers.keys() - kind]
    lines = json_lines(root / "logs" / "gateway.log")
    return found + [
        f"a gateway answered 500 at {line['path']}: error_id {line['error_id']}"
        for line in lines
        if line.get("event") == "problem" and line["status"] == 500
    ]


def broken_asset(cluster: ClusterSettings, video_id: str) -> list[str]:
    """What is wrong with a READY video's asset: every rendition is decoded and its frames are counted."""
    root, url = cluster.root, cluster.effective_database_url
    jobs = ask(url, select(Job.plan).where(Job.video_id == video_id, Job.state == "completed"))
    if not jobs:
        return [f"video {video_id}: no completed job"]
    plan = jobs[0].plan
    keys = [row.key for row in ask(url, select(Asset.key).where(Asset.video_id == video_id))]
    objects = root / "objects" / "objects"
    found = [f"video {video_id}: {key} is missing" for key in keys if not (objects / key).is_file()]
    folder = objects / "assets" / video_id / plan["asset_key"]
    for rendition in plan["renditions"]:
        frames = _frames(folder / rendition["name"])
        if frames != plan["grid"]["frames"]:
            found.append(f"video {video_id}: {rendition['name']} has {frames} frames of {plan['grid']['frames']}")
    return found


def _frames(folder: Path) -> int | str:
    """Frames that decode of a rendition's segments, one after another."""
    pieces = sorted(folder.glob("[0-9]*.m4s"))
    try:
        joined = (folder / "init.mp4").read_bytes() + b"".join(path.read_bytes() for path in pieces)
        with av.open(io.BytesIO(joined), "r") as container:
            return sum(1 for _ in container.decode(video=0))
    except (OSError, av.error.FFmpegError) as error:
        return str(error)


def scratch_files(root: Path) -> list[str]:
    """Files in scratch folders, once nothing runs any more; waits a little for the sweepers."""
    deadline = time.monotonic() + CLEAN_WITHIN_S
    while (left := _files(root / "scratch")) and time.monotonic() < deadline:
        time.sleep(1.0)
    return [f"scratch: {path}" for path in left]


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.name != LOCK]


def orphans(root: Path) -> list[str]:
    """Fork servers and children without a living worker above them, while the farm is up."""
    table = process_table()
    workers = [info.pid for info in table.values() if info.command.startswith("ray::SlotHolder")]
    served = {info.pid for worker in workers for info in descendants(worker, table)}
    return [
        f"orphan {info.pid}: {info.command[:80]}"
        for info in descendants(os.getpid(), table)
        if "encoders.forkserver" in info.command and not info.zombie and info.pid not in served
    ]


def survivors(root: Path) -> list[str]:
    """Processes of the farm after its end."""
    found = [info for info in process_table().values() if str(root) in info.command and not info.zombie]
    found += [info for info in descendants(os.getpid()) if not info.zombie]
    return [f"survivor {info.pid}: {info.command[:80]}" for info in found if info.pid != os.getpid()]
