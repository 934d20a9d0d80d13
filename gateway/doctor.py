"""What this machine can do for a farm, and the reason for each "no"."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import redis

from cluster.settings import ClusterSettings
from encoders.errors import FarmError

GIBIBYTE = 1 << 30
LEAST_DISK_BYTES = 2 * GIBIBYTE
"""A two-hour ladder takes more; with less than this even the demo's clip and Ray's logs may not fit."""
LEAST_MEMORY_BYTES = 2 * GIBIBYTE
"""Ray's own processes take 0.7 GiB, one 1080p encode with all renditions 0.5 GiB."""
PYTHONS = ((3, 11), (3, 12))
DECODERS = (
    "h264",
    "hevc",
    "av1",
    "libdav1d",
    "vp8",
    "vp9",
    "mpeg2video",
    "mpeg4",
    "prores",
    "vvc",
    "aac",
    "opus",
    "ac3",
)
"""FFmpeg decoders that sources of today ask for; the list is for people, the farm reads whatever FFmpeg does."""
ENCODERS = ("libx264", "aac")
"""FFmpeg encoders that the CPU backend cannot do without."""


class Verdict(StrEnum):
    """What a finding means for the farm."""

    YES = "yes"
    NO = "no"
    """Something the farm does without."""
    FATAL = "fatal"
    """A farm cannot run here until somebody changes this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        subject: as in "python" or "backend nvenc".
        detail: what was found; of a "no", the reason and what helps.
    """

    subject: str
    verdict: Verdict
    detail: str

    @property
    def fatal(self) -> bool:
        """Whether a farm cannot run here."""
        return self.verdict is Verdict.FATAL

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def examine(settings: ClusterSettings | None = None) -> list[Finding]:
    """Look at everything; takes some seconds, since what can be proven is proven by doing it."""
    settings = settings or ClusterSettings()
    return [
        _python(),
        _cores(),
        _memory(),
        _disk(settings.root),
        *_media_libraries(),
        *_backends(),
        *_confinement(),
        _redis(settings),
        _ray(settings),
        *_optional_tools(),
    ]


def _python() -> Finding:
    found = f"{platform.python_version()} ({sys.executable})"
    if sys.version_info[:2] in PYTHONS:
        return Finding(subject="python", verdict=Verdict.YES, detail=found)
    return Finding(subject="python", verdict=Verdict.FATAL, detail=f"{found}: the farm needs 3.11 or 3.12")


def _cores() -> Finding:
    usable, there = len(os.sched_getaffinity(0)), os.cpu_count() or 0
    detail = f"{usable} usable" + (f" of {there}" if there != usable else "")
    return Finding(
        subject="cores", verdict=Verdict.YES, detail=f"{detail}, {platform.machine()}: {usable} encode slots"
    )


def _memory() -> Finding:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = memory_limit_bytes()
    usable = min(total, limit) if limit else total
    detail = f"{usable / GIBIBYTE:.1f} GiB" + (" (limit of this container)" if limit and limit < total else "")
    if usable >= LEAST_MEMORY_BYTES:
        return Finding(subject="memory", verdict=Verdict.YES, detail=detail)
    return Finding(subject="memory", verdict=Verdict.FATAL, detail=f"{detail}: at least 2 GiB are needed")


def memory_limit_bytes(root: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Memory limit of this process's container, None without one. Source: Linux Documentation/admin-guide/cgroup-v2."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            text = (root / name).read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            return int(text)
    return None


def _disk(root: Path) -> Finding:
    folder = next(each for each in (root, *root.parents) if each.exists())
    if not os.access(folder, os.W_OK):
        detail = f"{root} cannot be written: set REELMILL_DATA_DIR to a folder of yours"
        return Finding(subject="disk", verdict=Verdict.FATAL, detail=detail)
    free = shutil.disk_usage(folder).free
    detail = f"{free / GIBIBYTE:.1f} GiB free for {root}"
    if free >= LEAST_DISK_BYTES:
        return Finding(subject="disk", verdict=Verdict.YES, detail=detail)
    return Finding(
        subject="disk", verdict=Verdict.FATAL, detail=f"{detail}: at least 2 GiB; REELMILL_DATA_DIR names another disk"
    )


def _media_libraries() -> Iterator[Finding]:
    import av

    libraries = ", ".join(f"{name} {'.'.join(map(str, version))}" for name, version in av.library_versions.items())
    yield Finding(subject="ffmpeg", verdict=Verdict.YES, detail=f"PyAV {av.__version__}: {libraries}")
    known = av.codecs_available
    lacking = [name for name in DECODERS if name not in known]
    detail = ", ".join(name for name in DECODERS if name in known)
    yield Finding(
        subject="decoders",
        verdict=Verdict.YES,
        detail=detail + (f"; not in this build of FFmpeg: {', '.join(lacking)}" if lacking else ""),
    )
    for name in ENCODERS:
        there = name in known
        detail = (
            "in PyAV's FFmpeg" if there else "not in PyAV's FFmpeg: install PyAV's own wheel, not one built elsewhere"
        )
        yield Finding(subject=f"encoder {name}", verdict=Verdict.YES if there else Verdict.FATAL, detail=detail)


def _backends() -> Iterator[Finding]:
    from encoders.backends import registry

    for capability in registry.capabilities():
        more = ", ".join(f"{key} {value}" for key, value in (capability.detail or {}).items())
        if capability.available:
            parts = [f"encodes {', '.join(capability.encodes)}" if capability.encodes else "", more]
            if capability.sessions:
                parts.append(f"{capability.sessions} sessions at once")
            detail = "; ".join(filter(None, parts)) or "proven by a test encode"
        else:
            detail = "; ".join(filter(None, [capability.reason, more]))
        verdict = Verdict.YES if capability.available else Verdict.NO
        if capability.name == "cpu" and not capability.available:
            verdict = Verdict.FATAL
        yield Finding(subject=f"backend {capability.name}", verdict=verdict, detail=detail)


def _confinement() -> Iterator[Finding]:
    from encoders.confine import describe_confinement

    try:
        mechanisms = describe_confinement()
    except FarmError as error:
        yield Finding(
            subject="confinement", verdict=Verdict.FATAL, detail=f"no confined process starts: {error.detail}"
        )
        return
    for name, state in mechanisms.items():
        verdict = Verdict.NO if state.startswith("off") else Verdict.YES
        yield Finding(subject=f"confinement {name}", verdict=verdict, detail=state)


def _redis(settings: ClusterSettings) -> Finding:
    from cluster.redis_server import EmbeddedValkey

    if settings.redis_url:
        return Finding(subject="redis", verdict=Verdict.YES, detail="REELMILL_REDIS_URL names one; none is started")
    try:
        with tempfile.TemporaryDirectory() as folder, EmbeddedValkey(Path(folder)) as valkey:
            client = redis.Redis.from_url(valkey.url)
            version = client.info("server").get("valkey_version", "")
            client.close()
    except FarmError as error:
        return Finding(subject="redis", verdict=Verdict.FATAL, detail=error.detail)
    return Finding(subject="redis", verdict=Verdict.YES, detail=f"Valkey {version} from a wheel, started and asked")


def _ray(settings: ClusterSettings) -> Finding:
    # Its version without importing it, which takes a second.
    try:
        version = importlib.metadata.version("ray")
    except importlib.metadata.PackageNotFoundError:
        return Finding(subject="ray", verdict=Verdict.FATAL, detail="not installed: run ./reelmill, which installs it")
    where = f"joins {settings.ray_address}" if settings.ray_address else "one node is started here"
    return Finding(subject="ray", verdict=Verdict.YES, detail=f"{version}, {where}")


def _optional_tools() -> Iterator[Finding]:
    tools = {"npm": "browser tests install their players with it", "chromium": "browser tests run in it"}
    for name, purpose in tools.items():
        place = shutil.which(name)
        verdict = Verdict.YES if place else Verdict.NO
        yield Finding(subject=name, verdict=verdict, detail=place or f"not on PATH; {purpose}")
