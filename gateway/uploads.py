"""Rules of upload sessions: what may be uploaded, in which parts, and when a video's source is whole.

The order of steps is what survives a crash at any of them. Starting: storage opens the multipart upload, then the rows
are written; a crash between leaves a multipart upload that nobody knows, which the sweeper aborts. Completing: storage
joins the parts, then one transaction closes the session, marks the video and queues the job; a crash between leaves an
open session whose object is whole, and the next `complete` finds that out by asking storage to join again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from cluster import layout
from cluster.errors import IllegalTransition, UploadMissing
from cluster.metadata import jobs, uploads, videos
from cluster.metadata.lifecycle import UploadStatus, UploadTrigger, VideoStatus
from cluster.metadata.schema import Job, Upload, Video, new_id
from cluster.storage.base import Part, SignedUrl, bare_etag
from encoders.ladder import Profile
from gateway.auth import Principal
from gateway.errors import ContentTypeNotAllowed, FileTooLarge, UploadExpired, UploadNotOpen
from gateway.parts import PartLayout, check_parts, plan_parts
from gateway.ports import Ports
from gateway.schemas import InitiateRequest, JobWishes


def check_against_profile(wanted: InitiateRequest, profile: Profile, farm_max_bytes: int) -> None:
    """Refuse what the profile would reject after the upload anyway.

    Raises:
        FileTooLarge: more bytes than the profile or the farm takes.
        ContentTypeNotAllowed: names the types that the profile takes.
    """
    most = min(profile.limits.max_bytes or farm_max_bytes, farm_max_bytes)
    if wanted.file_size_bytes > most:
        raise FileTooLarge(f"the file has {wanted.file_size_bytes} bytes; the profile {profile.name} takes {most}")
    types = profile.limits.content_types
    if types is not None and wanted.content_type not in types:
        raise ContentTypeNotAllowed(f"the profile {profile.name} takes {', '.join(types)}, not {wanted.content_type}")


async def start_upload(ports: Ports, who: Principal, wanted: InitiateRequest) -> Upload:
    """Open an upload session: a video row (DRAFT), a session row (INITIATED) and a multipart upload in storage.

    Raises:
        FileTooLarge, ContentTypeNotAllowed, PartLayoutInvalid, UnknownProfile: nothing was created.
    """
    profile = ports.profile(wanted.profile)
    check_against_profile(wanted, profile, ports.settings.max_upload_bytes)
    parts = plan_parts(wanted.file_size_bytes, wanted.part_size_bytes, ports.settings.part_size_bytes)
    video_id = new_id()
    key = layout.source_key(video_id)
    storage_upload_id = await asyncio.to_thread(ports.store.create_multipart, key, wanted.content_type)
    now = ports.clock()
    new = uploads.NewUpload(
        upload_id=new_id(),
        video_id=video_id,
        user_id=who.subject,
        title=wanted.title,
        category=wanted.category,
        visibility=wanted.visibility,
        filename=wanted.filename,
        content_type=wanted.content_type,
        profile=wanted.profile,
        key=key,
        storage_upload_id=storage_upload_id,
        size_bytes=parts.size_bytes,
        part_size_bytes=parts.part_size_bytes,
        part_count=parts.count,
        expires_at=now + ports.settings.upload_ttl_s,
    )

    async def write(session: AsyncSession) -> Upload:
        _, upload = await uploads.create_upload(session, new, now)
        return upload

    upload = await ports.database.run(write)
    ports.metrics.uploads.labels(outcome="initiated").inc()
    return upload


async def sign_parts(
    ports: Ports, who: Principal, upload_id: str, wanted: Sequence[tuple[int, int]]
) -> list[tuple[int, SignedUrl]]:
    """URLs for parts (number, length), signed now; the session is IN_PROGRESS from the first on.

    Raises:
        RowMissing: the user has no such session.
        UploadNotOpen, UploadExpired: the session takes no more parts.
        PartNumberInvalid, PartLengthInvalid: nothing was signed.
    """
    async with ports.database.read() as session:
        upload = await uploads.upload_of(session, who.subject, upload_id)
    _check_open(upload, ports.clock())
    parts = layout_of(upload)
    for number, length_bytes in wanted:
        parts.check_length(number, length_bytes)
    now = ports.clock()
    sizes = dict(wanted)
    await ports.database.run(lambda s: uploads.record_parts_signed(s, who.subject, upload_id, sizes, now))
    ttl_s = int(min(ports.settings.part_url_ttl_s, upload.expires_at - now))
    return [
        (number, ports.store.sign_part(upload.key, upload.storage_upload_id, number, length_bytes, max(1, ttl_s)))
        for number, length_bytes in wanted
    ]


async def describe_upload(ports: Ports, who: Principal, upload_id: str) -> tuple[Upload, UploadStatus, Sequence[Part]]:
    """A session, its status now, and the parts that storage holds of it (none once it is over).

    Raises:
        RowMissing: the user has no such session.
    """
    async with ports.database.read() as session:
        upload = await uploads.upload_of(session, who.subject, upload_id)
    status = UploadStatus(upload.status)
    if not status.open:
        return upload, status, ()
    if upload.expires_at <= ports.clock():
        return upload, UploadStatus.EXPIRED, ()
    try:
        return upload, status, await asyncio.to_thread(ports.store.list_parts, upload.key, upload.storage_upload_id)
    except UploadMissing:
        return upload, status, ()  # joined already, and the transaction is missing: `complete` mends it


def wished_job(
    wishes: JobWishes, now: float, *, video_id: str, who: Principal, profile: str, **options: Any
) -> jobs.NewJob:
    """A job of a video, run as its owner wishes."""
    return jobs.NewJob(
        video_id=video_id,
        user_id=who.subject,
        tier=who.tier,
        profile=profile,
        options=options if wishes.early_playback else {**options, "early_playback": False},
        gpu=wishes.gpu,
        deadline_at=None if wishes.deadline_s is None else now + wishes.deadline_s,
    )


async def complete_upload(
    ports: Ports, who: Principal, upload_id: str, named: Sequence[tuple[int, str]], wishes: JobWishes
) -> tuple[str, VideoStatus, str]:
    """Join the parts, close the session and queue the job; the video's id and status, and the job's id.

    Calling it again, also after a crash at any step, answers the same.

    Raises:
        RowMissing: the user has no such session.
        UploadNotOpen, UploadExpired: the session was aborted or is over.
        PartsMissing, PartsUnexpected, PartSizeMismatch, PartEtagMismatch: the session stays open.
    """
    # Joining a large file can outlast a client's patience: who asks again waits for the first call to end.
    async with ports.joining.setdefault(upload_id, asyncio.Lock()):
        closed, video, job = await _complete(ports, who, upload_id, named, wishes)
    if closed:
        ports.metrics.uploads.labels(outcome="completed").inc()
    await ports.bell.ring()
    return video.id, VideoStatus(video.status), job.id


async def _complete(
    ports: Ports, who: Principal, upload_id: str, named: Sequence[tuple[int, str]], wishes: JobWishes
) -> tuple[bool, Video, Job]:
    """Whether this call closed the session; its video and its job."""
    async with ports.database.read() as session:
        upload = await uploads.upload_of(session, who.subject, upload_id)
    if upload.status != UploadStatus.COMPLETED:
        _check_open(upload, ports.clock())
        parts = await _join(ports, upload, named)
    else:
        parts = ()
    now = ports.clock()

    async def write(session: AsyncSession) -> tuple[bool, Video, Job]:
        done, closed_now = await uploads.complete_upload(session, who.subject, upload_id, parts, now)
        video = await videos.lock_video(session, done.video_id)
        if closed_now:
            new = wished_job(wishes, now, video_id=video.id, who=who, profile=video.profile)
            return True, video, await jobs.enqueue_job(session, new, now)
        newest = await jobs.latest_job(session, who.subject, video.id)
        assert newest is not None, "a completed upload has a job: both were written in one transaction"
        return False, video, newest

    try:
        return await ports.database.run(write)
    except IllegalTransition:
        # Ended through another gateway while storage joined the parts: nobody would ever ask for the object.
        await asyncio.to_thread(ports.store.delete, upload.key)
        raise


async def abort_upload(ports: Ports, who: Principal, upload_id: str) -> None:
    """End a session and drop its parts; nothing happens when it was aborted before.

    Raises:
        RowMissing: the user has no such session.
        UploadNotOpen: it is completed; delete the video instead.
    """
    now = ports.clock()

    async def write(session: AsyncSession) -> Upload:
        upload = await uploads.upload_of(session, who.subject, upload_id, lock=True)
        if upload.status == UploadStatus.COMPLETED:
            raise UploadNotOpen("the upload is completed: delete the video instead")
        if UploadStatus(upload.status).open:
            await uploads.end_upload(session, upload, UploadTrigger.ABORTED, now)
        return upload

    # Never beside a `complete` of it: what that has joined would stay in storage for ever.
    async with ports.joining.setdefault(upload_id, asyncio.Lock()):
        upload = await ports.database.run(write)
    await asyncio.to_thread(ports.store.abort_multipart, upload.key, upload.storage_upload_id)
    await asyncio.to_thread(ports.store.delete, upload.key)  # joined by a `complete` whose process was killed
    ports.metrics.uploads.labels(outcome="aborted").inc()


def layout_of(upload: Upload) -> PartLayout:
    """The part layout of a session."""
    return PartLayout(size_bytes=upload.size_bytes, part_size_bytes=upload.part_size_bytes)


def _check_open(upload: Upload, now: float) -> None:
    status = UploadStatus(upload.status)
    if status is UploadStatus.EXPIRED or (status.open and upload.expires_at <= now):
        raise UploadExpired("the upload session's time is over")
    if not status.open:
        raise UploadNotOpen(f"the upload session is {status}")


async def _join(ports: Ports, upload: Upload, named: Sequence[tuple[int, str]]) -> tuple[Part, ...]:
    """Let storage make one object of the parts, after comparing them with what it holds."""
    parts = layout_of(upload)
    try:
        stored = await asyncio.to_thread(ports.store.list_parts, upload.key, upload.storage_upload_id)
    except UploadMissing:
        # Joined by an earlier call whose transaction did not happen. Storage tells whether these are the parts.
        stored = [
            Part(number=number, size_bytes=parts.length_of(number), etag=bare_etag(etag)) for number, etag in named
        ]
    whole = check_parts(parts, named, stored)
    await asyncio.to_thread(ports.store.complete_multipart, upload.key, upload.storage_upload_id, whole)
    return whole
