"""Transcoding without HTTP: a farm of its own on a temporary folder, one job, and the asset copied out.

The same dispatcher, scheduler, Ray workers and packager as anywhere else: the source goes to the local store, the job
to an embedded database, and what comes out is what a gateway would have served.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from cluster import layout
from cluster.metadata import jobs, uploads
from cluster.metadata.database import Database
from cluster.metadata.lifecycle import VideoStatus
from cluster.metadata.schema import Job, Video, new_id
from cluster.settings import ClusterSettings
from cluster.storage.base import ObjectStore, Part
from cluster.storage.open import open_store
from gateway.asset_tree import MASTER, RenditionSummary, export_asset, summarise_renditions
from gateway.client import content_type_of, shown_name
from gateway.farm import Farm
from gateway.job_report import JobReport, read_report
from gateway.outcomes import require_playable
from scheduler.jobs import Tier

OWNER = "transcode"
POLL_S = 0.2

Tell = Callable[[str, dict[str, float]], None]
"""Called with (video status, rendition -> fraction done) whenever either changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcoded:
    """What was made; `files` are paths below `folder`. The farm's start is no part of the report's times."""

    folder: Path
    files: tuple[Path, ...]
    renditions: tuple[RenditionSummary, ...]
    report: JobReport
    farm_start_s: float
    size_bytes: int

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "status": "READY",
            "folder": str(self.folder),
            "hls": str(self.folder / MASTER),
            "files": [str(path) for path in self.files],
            "size_bytes": self.size_bytes,
            "farm_start_s": self.farm_start_s,
            "renditions": [each.as_dict() for each in self.renditions],
            **self.report.as_dict(),
        }


def transcode_file(source: Path, folder: Path, profile: str, tell: Tell = lambda status, progress: None) -> Transcoded:
    """Encode a file into a folder.

    Args:
        folder: is made; files of the same names are replaced.

    Raises:
        SourceRejected: with the reason and what helps; `folder` is as it was.
        ProcessingFailed, FarmNotStarted, ...: the same.
        ProfileUnknown (encoders): there is no such profile.
    """
    from encoders.profiles.load import load_profile

    load_profile(profile)
    with tempfile.TemporaryDirectory(prefix="reelmill-", ignore_cleanup_errors=True) as scratch:
        # Nothing of a farm that is configured for this machine is used: its workers could not see this store.
        settings = ClusterSettings(
            data_dir=Path(scratch), database_url="", store_url="", redis_url="", ray_address="", ray_dashboard=False
        )
        return _transcode(settings, source, folder, profile, tell)


def _transcode(settings: ClusterSettings, source: Path, folder: Path, profile: str, tell: Tell) -> Transcoded:
    store = open_store(settings.effective_store_url, settings.public_url)
    video_id = new_id()
    store.put_file(layout.source_key(video_id), source, content_type_of(source))
    size_bytes = source.stat().st_size
    started = time.monotonic()
    with Farm(settings, None):
        farm_start_s = time.monotonic() - started
        job_id = asyncio.run(_with_database(settings, lambda db: _enqueue(db, source, size_bytes, video_id, profile)))
        video, report = asyncio.run(_with_database(settings, lambda db: _watch(db, video_id, job_id, tell)))
    require_playable(VideoStatus(video.status), video.status_code, video.status_detail, video.status_hint)
    return _export(store, str(video.asset_prefix), folder, report, farm_start_s)


async def _with_database(settings: ClusterSettings, work: Callable[[Database], Any]) -> Any:
    database = Database(settings.effective_database_url)
    try:
        return await work(database)
    finally:
        await database.close()


async def _enqueue(database: Database, source: Path, size_bytes: int, video_id: str, profile: str) -> str:
    """The rows of an upload that has arrived whole, and its job; its id."""
    now = time.time()
    upload = uploads.NewUpload(
        upload_id=new_id(),
        video_id=video_id,
        user_id=OWNER,
        title=Path(shown_name(source)).stem[:80] or "untitled",
        category=None,
        visibility="private",
        filename=shown_name(source)[-255:],
        content_type=content_type_of(source),
        profile=profile,
        key=layout.source_key(video_id),
        storage_upload_id="",
        size_bytes=max(1, size_bytes),
        part_size_bytes=max(1, size_bytes),
        part_count=1,
        expires_at=now + 86_400,
    )
    job = jobs.NewJob(video_id=video_id, user_id=OWNER, tier=Tier.PAID, profile=profile)

    async def write(session: AsyncSession) -> None:
        await uploads.create_upload(session, upload, now)
        await uploads.record_parts_signed(session, OWNER, upload.upload_id, {1: upload.size_bytes}, now)
        whole = Part(number=1, size_bytes=upload.size_bytes, etag="")
        await uploads.complete_upload(session, OWNER, upload.upload_id, [whole], now)
        await jobs.enqueue_job(session, job, now)

    await database.run(write)
    return job.job_id


async def _watch(database: Database, video_id: str, job_id: str, tell: Tell) -> tuple[Video, JobReport]:
    """Wait for the job's end."""
    told: tuple[str, dict[str, float]] | None = None
    while True:
        async with database.read() as session:
            video = (await session.scalars(select(Video).where(Video.id == video_id))).one()
            progress = (await session.scalars(select(Job.progress).where(Job.id == job_id))).one()
        if told != (video.status, progress):
            told = (video.status, progress)
            tell(*told)
        if VideoStatus(video.status).settled:
            return video, await read_report(database, job_id)
        await asyncio.sleep(POLL_S)


def _export(store: ObjectStore, prefix: str, folder: Path, report: JobReport, farm_start_s: float) -> Transcoded:
    prefix = prefix if prefix.endswith("/") else f"{prefix}/"
    folder.mkdir(parents=True, exist_ok=True)
    files = export_asset(store, prefix, folder)
    sizes = {str(path): (folder / path).stat().st_size for path in files}
    master = (folder / MASTER).read_text() if MASTER in sizes else ""
    return Transcoded(
        folder=folder,
        files=tuple(files),
        renditions=tuple(summarise_renditions(master, sizes)),
        report=report,
        farm_start_s=farm_start_s,
        size_bytes=sum(sizes.values()),
    )
