"""Settings of the farm's machines: one frozen object, read once at the entry points and passed down as values."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

LONGEST_LEASE_S = 300.0
"""No lease is granted for longer, so that one which ends later than this was written before a clock was set back."""


class ClusterSettings(BaseSettings):
    """Where the farm keeps things and how it runs work. Environment variables carry the prefix `REELMILL_`."""

    model_config = SettingsConfigDict(env_prefix="REELMILL_", frozen=True, extra="ignore")

    data_dir: Path = Field(default=Path(".reelmill"))
    """Folder of everything the embedded defaults keep: database, objects, Valkey, logs, secrets."""

    database_url: str = Field(default="")
    """SQLAlchemy URL; empty means SQLite in `data_dir`."""

    store_url: str = Field(default="")
    """`file:///path` or `s3://bucket?endpoint=…&region=…`; empty means files in `data_dir`."""

    public_url: str = Field(default="http://127.0.0.1:8080")
    """Where clients reach the gateway; signed URLs of the local store start with it."""

    redis_url: str = Field(default="")
    """Redis or Valkey; empty means that an embedded Valkey is started and supervised."""

    ray_address: str = Field(default="")
    """Address of a running Ray cluster ("host:port" or "auto"); empty means that one node is started and supervised."""

    affinity: str = Field(default="")
    """Name of this cluster or region: its dispatcher claims jobs of this affinity and jobs of none."""

    also_affinities: tuple[str, ...] = Field(default=())
    """Affinities of other clusters or regions whose jobs this dispatcher may claim too, as a JSON list."""

    claim_window: int = Field(default=2000, ge=1)
    """Jobs of a tier that a dispatcher holds; beyond it only the first few of each user are claimed. What a successor
    has to read, and what memory a long queue takes, is bounded by it."""

    worker_slots: int = Field(default=0, ge=0)
    """Encode slots on a node that does not say so by a Ray resource; 0 means one for each core."""

    threads_per_slot: int = Field(default=1, ge=1)
    """Threads that one encode uses. One measured best: segments run beside each other instead."""

    staging_bytes: int = Field(default=50_000_000_000, ge=0)
    """Budget of a node's staging folder, bytes; least recently used sources go first. Leased ones are never removed."""

    job_lease_s: float = Field(default=20.0, gt=0, le=LONGEST_LEASE_S)
    """How long a claimed job stays with a dispatcher that no longer renews it, seconds."""

    leader_lease_s: float = Field(default=4.0, gt=0, le=LONGEST_LEASE_S)
    """How long a dead dispatcher's leadership lasts, seconds: a standby takes over within this."""

    poll_s: float = Field(default=1.0, gt=0)
    """How often the database is asked for new jobs when no doorbell rings, seconds."""

    task_memory_bytes: int = Field(default=6_000_000_000, ge=500_000_000)
    """Memory that one confined media process may use, bytes."""

    source_retention_s: float = Field(default=30 * 86_400, gt=0)
    """How long the source of a rejected or failed video is kept for a retry, seconds."""

    dispatcher_metrics_port: int = Field(default=0, ge=0, le=65535)
    """Port on which the dispatcher serves its Prometheus metrics; 0 means none."""

    metrics_host: str = Field(default="127.0.0.1")
    """Address on which the dispatcher serves its metrics."""

    ray_dashboard: bool = Field(default=True)
    """Whether the embedded Ray node serves its dashboard, on loopback."""

    log_json: bool = Field(default=False)
    """Log one JSON object a line instead of readable text."""

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, url: str) -> str:
        """Refuse now what nobody could connect to."""
        if url:
            from sqlalchemy import make_url
            from sqlalchemy.exc import ArgumentError

            try:
                make_url(url).get_dialect()
            except ArgumentError as error:
                raise ValueError(f"no SQLAlchemy URL such as postgresql+psycopg://user@host/name ({error})") from None
        return url

    @cached_property
    def root(self) -> Path:
        """`data_dir` made absolute."""
        return self.data_dir.expanduser().resolve()

    @property
    def effective_database_url(self) -> str:
        """The database's URL with the embedded default filled in."""
        return self.database_url or f"sqlite+aiosqlite:///{self.root / 'farm.db'}"

    @property
    def effective_store_url(self) -> str:
        """The store's URL with the embedded default filled in."""
        return self.store_url or f"file://{self.root / 'objects'}"

    @property
    def staging_dir(self) -> Path:
        """The node's staging folder."""
        return self.root / "staging"

    @property
    def scratch_dir(self) -> Path:
        """Where the node's workers have their folders for unfinished outputs."""
        return self.root / "scratch"

    @property
    def slots_per_node(self) -> int:
        """Encode slots of a node."""
        return self.worker_slots or len(os.sched_getaffinity(0))
