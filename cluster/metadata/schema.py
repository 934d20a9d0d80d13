"""The tables. Times are epoch seconds (float), sizes bytes, ids UUID4 in hex unless said otherwise.

Rule: a change here comes with a migration in the same commit; a test compares the two on both databases.
Statuses are text, so that an old row never stops a new farm from reading; their meaning is in `lifecycle` (videos,
uploads) and in `scheduler` (jobs, tasks).
"""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, Integer, MetaData, Sequence, String, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

BIG_ID = BigInteger().with_variant(Integer, "sqlite")
"""SQLite counts up by itself only in a column that is exactly INTEGER PRIMARY KEY."""


def new_id() -> str:
    """A fresh random id: UUID4 in hex."""
    return uuid.uuid4().hex


class Base(DeclarativeBase):
    """Root of the tables; constraint names are fixed, so that migrations can name them on both databases."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it so
        dict[str, Any]: JSON(none_as_null=True),
        list[str]: JSON(none_as_null=True),
        dict[str, float]: JSON(none_as_null=True),
    }


JOB_SEQ = Sequence("job_seq", metadata=Base.metadata)
"""Order of arrival on PostgreSQL; SQLite has one writer and takes max + 1."""


class Video(Base):
    """What a user sees: one uploaded source and what was made of it."""

    __tablename__ = "videos"
    __table_args__ = (Index(None, "user_id", "created_at", "id"), Index(None, "status", "updated_at"))

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(String(200))
    title: Mapped[str] = mapped_column(String(500))
    category: Mapped[str | None] = mapped_column(String(100))
    visibility: Mapped[str] = mapped_column(String(20))
    filename: Mapped[str] = mapped_column(String(500))
    content_type: Mapped[str] = mapped_column(String(200))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    profile: Mapped[str] = mapped_column(String(100))
    status: Mapped[str] = mapped_column(String(32))
    status_code: Mapped[str | None] = mapped_column(String(100))
    """Stable code of a rejection or failure; None otherwise."""
    status_detail: Mapped[str | None]
    """What is wrong, one sentence for the owner."""
    status_hint: Mapped[str | None]
    """What the owner can do."""
    duration_ms: Mapped[int | None] = mapped_column(BigInteger)
    width: Mapped[int | None]
    height: Mapped[int | None]
    fps: Mapped[str | None] = mapped_column(String(40))
    """Rational, as in "30000/1001"."""
    source_key: Mapped[str] = mapped_column(String(1000))
    source_sha256: Mapped[str | None] = mapped_column(String(64))
    asset_prefix: Mapped[str | None] = mapped_column(String(1000))
    """Keys of the assets start with this; set when READY."""
    known_content: Mapped[dict[str, Any] | None]
    """Registered works found in it (`encoders.recognition.known.KnownContent`); None: nobody has looked."""
    created_at: Mapped[float]
    updated_at: Mapped[float]
    published_at: Mapped[float | None]


class Upload(Base):
    """An upload session: one multipart upload of one video's source."""

    __tablename__ = "uploads"
    __table_args__ = (Index(None, "status", "expires_at"), Index(None, "video_id"))

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    video_id: Mapped[str] = mapped_column(ForeignKey("videos.id", ondelete="CASCADE"))
    user_id: Mapped[str] = mapped_column(String(200))
    status: Mapped[str] = mapped_column(String(20))
    storage_upload_id: Mapped[str] = mapped_column(String(1000))
    key: Mapped[str] = mapped_column(String(1000))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    content_type: Mapped[str] = mapped_column(String(200))
    part_size_bytes: Mapped[int] = mapped_column(BigInteger)
    part_count: Mapped[int]
    expires_at: Mapped[float]
    created_at: Mapped[float]
    completed_at: Mapped[float | None]


class UploadPart(Base):
    """A part that a URL was signed for; `received_at` once storage was seen to hold it."""

    __tablename__ = "upload_parts"

    upload_id: Mapped[str] = mapped_column(ForeignKey("uploads.id", ondelete="CASCADE"), primary_key=True)
    part_number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    etag: Mapped[str | None] = mapped_column(String(200))
    signed_at: Mapped[float]
    received_at: Mapped[float | None]


class Job(Base):
    """What makes a video's assets; the table is the queue. `attempt` is the fencing token of the present claim."""

    __tablename__ = "jobs"
    __table_args__ = (
        Index(None, "state", "seq"),
        Index(None, "state", "tier", "seq"),
        Index(None, "state", "tier", "turn", "seq"),
        Index(None, "state", "lease_until"),
        Index(None, "user_id", "state"),
        Index(None, "video_id"),
        UniqueConstraint("seq"),
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    video_id: Mapped[str] = mapped_column(ForeignKey("videos.id", ondelete="CASCADE"))
    user_id: Mapped[str] = mapped_column(String(200))
    tier: Mapped[str] = mapped_column(String(20))
    state: Mapped[str] = mapped_column(String(20))
    profile: Mapped[str] = mapped_column(String(100))
    options: Mapped[dict[str, Any]] = mapped_column(default=dict)
    plan: Mapped[dict[str, Any] | None]
    info: Mapped[dict[str, Any] | None]
    gpu: Mapped[str] = mapped_column(String(20), default="prefer")
    """Policy: require, prefer or never."""
    encoder: Mapped[str | None] = mapped_column(String(40))
    """Backend that the job's segments are pinned to; None before the first starts."""
    weight: Mapped[float] = mapped_column(default=1.0)
    deadline_at: Mapped[float | None]
    seq: Mapped[int] = mapped_column(BigInteger)
    """Order of arrival, unique and rising."""
    turn: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    """Order in which jobs of a tier are claimed, users in turn: see `turns`."""
    place: Mapped[int] = mapped_column(default=0, server_default="0")
    """Jobs that its owner had in the tier when it came."""
    affinity: Mapped[str | None] = mapped_column(String(100))
    """Only dispatchers of this cluster or region may claim it; None: any."""
    attempt: Mapped[int] = mapped_column(default=0)
    lease_owner: Mapped[str | None] = mapped_column(String(200))
    lease_until: Mapped[float | None]
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    paused: Mapped[bool] = mapped_column(default=False)
    progress: Mapped[dict[str, float]] = mapped_column(default=dict)
    """Rendition -> fraction done, 0 to 1."""
    failure: Mapped[dict[str, Any] | None]
    created_at: Mapped[float]
    started_at: Mapped[float | None]
    finished_at: Mapped[float | None]


class Task(Base):
    """One step of a job, as far as it must survive a restart. The id is "job/kind/n"."""

    __tablename__ = "tasks"
    __table_args__ = (Index(None, "job_id", "position"),)

    id: Mapped[str] = mapped_column(String(120), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String(40))
    position: Mapped[int]
    needs: Mapped[list[str]] = mapped_column(default=list)
    spec: Mapped[dict[str, Any]] = mapped_column(default=dict)
    state: Mapped[str] = mapped_column(String(20))
    attempts: Mapped[int] = mapped_column(default=0)
    deaths: Mapped[int] = mapped_column(default=0)
    """Workers that died while they ran it (scheduler: two make it poison)."""
    result: Mapped[dict[str, Any] | None]
    failure: Mapped[dict[str, Any] | None]
    worker: Mapped[str | None] = mapped_column(String(200))
    backend: Mapped[str | None] = mapped_column(String(40))
    engine_s: Mapped[float | None]
    started_at: Mapped[float | None]
    finished_at: Mapped[float | None]


class Asset(Base):
    """One object that a viewer or the owner may fetch."""

    __tablename__ = "assets"
    __table_args__ = (UniqueConstraint("video_id", "key"),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    video_id: Mapped[str] = mapped_column(ForeignKey("videos.id", ondelete="CASCADE"))
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String(40))
    key: Mapped[str] = mapped_column(String(1000))
    content_type: Mapped[str] = mapped_column(String(200))
    bytes: Mapped[int] = mapped_column(BigInteger)
    width: Mapped[int | None]
    height: Mapped[int | None]
    bandwidth_bps: Mapped[int | None] = mapped_column(BigInteger)


class Work(Base):
    """A registered work, which videos are compared with; its fingerprint is in the store."""

    __tablename__ = "works"
    __table_args__ = (UniqueConstraint("video_id"),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    title: Mapped[str] = mapped_column(String(500))
    video_id: Mapped[str] = mapped_column(String(32))
    """It was registered from this video, which may have been deleted since."""
    duration_ms: Mapped[int | None] = mapped_column(BigInteger)
    pictures: Mapped[int]
    """Sampled pictures in its fingerprint."""
    words: Mapped[int]
    """Words of sound in its fingerprint."""
    created_by: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[float]


class Event(Base):
    """What happened, for webhooks and SSE. Ids rise in commit order: a reader that saw n missed nothing."""

    __tablename__ = "events"
    __table_args__ = (Index(None, "user_id", "id"), Index(None, "video_id", "id"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(BIG_ID, primary_key=True, autoincrement=True)
    at: Mapped[float]
    user_id: Mapped[str] = mapped_column(String(200))
    video_id: Mapped[str | None] = mapped_column(String(32))
    job_id: Mapped[str | None] = mapped_column(String(32))
    type: Mapped[str] = mapped_column(String(60))
    body: Mapped[dict[str, Any]] = mapped_column(default=dict)


class DeliveryCursor(Base):
    """How far a reader of the events that must reach somebody else has come, and when it tries again."""

    __tablename__ = "delivery_cursors"

    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    event_id: Mapped[int] = mapped_column(BigInteger)
    """The last event that is done with."""
    attempts: Mapped[int] = mapped_column(default=0)
    """Failed tries of the event after that."""
    due_at: Mapped[float] = mapped_column(default=0.0)
    """When that event may be tried again."""


class Node(Base):
    """A machine of a cluster as its dispatcher sees it, and what its operator wants of it."""

    __tablename__ = "nodes"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    """As Ray names it."""
    affinity: Mapped[str] = mapped_column(String(100))
    """The cluster or region; empty for the only one."""
    address: Mapped[str] = mapped_column(String(200))
    state: Mapped[str] = mapped_column(String(20))
    """alive, draining, drained or gone."""
    workers: Mapped[int]
    running: Mapped[int]
    """Attempts on its workers."""
    drain_by: Mapped[float | None]
    """It takes nothing new, and hands over what would not end by then; None: it works."""
    seen_at: Mapped[float]


class Lease(Base):
    """Who leads. `token` rises each time it is taken, and fences off who had it before."""

    __tablename__ = "leases"

    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    owner: Mapped[str] = mapped_column(String(200))
    token: Mapped[int] = mapped_column(BigInteger)
    until: Mapped[float]


class IdempotencyKey(Base):
    """A request that must happen once: its answer is kept and given again. `status` is None while it runs."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (Index(None, "created_at"),)

    user_id: Mapped[str] = mapped_column(String(200), primary_key=True)
    key: Mapped[str] = mapped_column(String(200), primary_key=True)
    route: Mapped[str] = mapped_column(String(200))
    request_hash: Mapped[str] = mapped_column(String(64))
    status: Mapped[int | None]
    response: Mapped[dict[str, Any] | None]
    created_at: Mapped[float]
