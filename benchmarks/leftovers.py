"""After a farm's end: what lies about that no row names, once its own housekeeping had all the time it needs.

A process that is killed leaves temporary files, open uploads and records; that is no leak as long as somebody comes for
them. So the housekeepers are run here as they would run two days later, and whatever is there after them is an orphan.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping, Set
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from sqlalchemy import select

from benchmarks.farm_rows import ask, live_jobs
from cluster import layout
from cluster.caretaker import PAGE, Caretaker
from cluster.metadata.database import Database
from cluster.metadata.lifecycle import VideoStatus
from cluster.metadata.schema import Job, Lease, Video, Work
from cluster.metrics import GatewayMetrics
from cluster.ray_node import RayNode
from cluster.scratch import LOCK, sweep_scratch
from cluster.settings import ClusterSettings
from cluster.staging import ABANDONED_AFTER_S, Staging
from cluster.storage.open import open_store
from gateway.housekeeping import clean_up
from gateway.settings import GatewaySettings

LATER_S = 2 * 86_400.0
"""Longer than sessions, temporary files and records are kept; shorter than the source of a rejected video is."""


def held_leases(url: str) -> list[str]:
    """Leaderships and jobs that somebody still holds after the farm's end."""
    found = [
        f"lease {row.name} is held by {row.owner} for {row.until - time.time():.0f} s more"
        for row in ask(url, select(Lease.name, Lease.owner, Lease.until))
        if row.until >= time.time()
    ]
    return found + [f"job {row.id} is held by {row.lease_owner}" for row in live_jobs(url) if row.lease_owner]


def orphaned_objects(cluster: ClusterSettings) -> list[str]:
    """Files of the store that no row explains after two days of housekeeping."""
    url = cluster.effective_database_url
    asyncio.run(_housekeeping(cluster, len(ask(url, select(Video.id)))))
    rows = ask(url, select(Video.id, Video.status, Video.source_key))
    videos = {row.id: (VideoStatus(row.status), row.source_key) for row in rows}
    completed = ask(url, select(Job.video_id, Job.plan).where(Job.state == "completed"))
    assets = {(row.video_id, row.plan["asset_key"]) for row in completed if row.plan}
    works = {row.id for row in ask(url, select(Work.id))}
    root = cluster.root
    store = root / "objects"
    found = [f"orphan {path}" for folder in ("tmp", "uploads") for path in _files(store / folder)]
    for path in _files(store / "objects"):
        key = path.relative_to(store / "objects").as_posix()
        if not explained(key, videos, assets, works):
            found.append(f"orphan {key}: no row names it")
    return found


def explained(
    key: str, videos: Mapping[str, tuple[VideoStatus, str]], assets: Set[tuple[str, str]], works: Set[str]
) -> bool:
    """Whether rows say why an object is there.

    Args:
        videos: id -> status and key of its source.
        assets: videos with the asset keys of their completed jobs.
        works: ids of the registered ones.
    """
    if key.startswith(layout.WORKS):
        # The catalogue's parts are the caretaker's: those that count, and for an hour those that did.
        folder, _, work_id = key.removeprefix(layout.WORKS).partition("/")
        return folder != "fingerprints" or work_id in works
    kind, video_id, rest = [*key.split("/", 2), "", ""][:3]
    status, source_key = videos.get(video_id, (VideoStatus.DELETED, ""))
    return {
        "sources": key == source_key,
        "assets": status.rejected or (video_id, rest.partition("/")[0]) in assets,
        "work": status.rejected,
        "fingerprints": status.playable or status.rejected,
    }.get(kind, False)


async def _housekeeping(cluster: ClusterSettings, videos: int) -> None:
    """All rounds of the gateway's and the dispatcher's housekeepers, by a clock that is ahead."""
    database = Database(cluster.effective_database_url)
    store = open_store(cluster.effective_store_url)

    def later() -> float:
        return time.time() + LATER_S

    ports: Any = SimpleNamespace(
        settings=GatewaySettings(),
        cluster=cluster,
        database=database,
        store=store,
        metrics=GatewayMetrics(),
        clock=later,
    )
    caretaker = Caretaker(database, store, cluster.source_retention_s, later)
    try:
        for _ in range(videos // PAGE + 1):
            await clean_up(ports)
            await caretaker.round()
    finally:
        await database.close()


def unreclaimable(root: Path) -> list[str]:
    """Files of a node's disk that nobody would remove: staged sources under a lease, folders of dead workers."""
    settings = ClusterSettings(data_dir=root)
    long_ago = time.time() - 2 * ABANDONED_AFTER_S
    for folder in (settings.staging_dir, settings.scratch_dir):
        for path in [folder, *folder.rglob("*")] if folder.is_dir() else ():
            os.utime(path, (long_ago, long_ago), follow_symlinks=False)
    Staging(settings.staging_dir, 0).evict()
    sweep_scratch(settings.scratch_dir)
    left = [*_files(settings.staging_dir), *_files(settings.scratch_dir)]
    ray = RayNode(root, 1).temp_dir
    return [f"nobody removes {path}" for path in [*left, *([ray] if ray.exists() else [])]]


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.name != LOCK]
