"""One attempt of one task on a worker: what is asked, where it may write, and what it works with.

Rule: foreign bytes are touched only by what `confined` runs, and the record of finished work is written last.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter

from cluster import layout
from cluster.errors import ObjectMissing
from cluster.gpu_lane import GpuLane
from cluster.staging import StagedSource, Staging
from cluster.storage.base import LocalPaths, ObjectStore
from cluster.tasks import TaskRequest
from encoders.audio import AudioResult
from encoders.confine import Confiner, Limits
from encoders.errors import VerificationFailed
from encoders.media import MediaInfo
from encoders.plan import Plan
from encoders.segment import SegmentResult

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """An attempt and its tools.

    Attributes:
        stop: set by another thread to end it; its confined child is killed within a fraction of a second.
        out: empty folder of its own; gone when it ends.
        gpu: where segments are encoded that no child on the CPU encodes.
        encode_log: a line is appended to this file for each record that lands.
        memory_bytes: what one confined child may use.
    """

    request: TaskRequest
    stop: threading.Event
    out: Path
    store: ObjectStore
    staging: Staging
    confiner: Confiner
    gpu: GpuLane
    encode_log: Path
    memory_bytes: int

    def planned(self) -> tuple[Plan, MediaInfo]:
        """What an inspected source is and becomes; ValueError where that must be known and is not."""
        request = self.request
        if request.plan is None or request.info is None:
            raise ValueError(f"{request.task_id}: a {request.kind} task needs the plan")
        return request.plan, request.info

    # -- the confined child

    def limits(self, output_bytes: int = 50_000_000, cpu_s: int | None = None) -> Limits:
        """What a confined child may take.

        Args:
            cpu_s: processor time, where it is known how much the source can need; what passes it is refused.
        """
        # The worker's timer ends what takes too long for this host; these bounds are for a process that evades it.
        most_cpu_s = int(self.request.timeout_s * max(2, 2 * self.request.threads)) + 60
        return Limits(
            memory_bytes=self.memory_bytes,
            wall_s=self.request.timeout_s + 60,
            cpu_s=min(cpu_s or most_cpu_s, most_cpu_s),
            output_bytes=output_bytes,
        )

    def confined(
        self,
        function: Any,
        *args: Any,
        limits: Limits | None = None,
        source: StagedSource | None = None,
        readable: Sequence[Path] = (),
        writable: Sequence[Path] = (),
    ) -> Any:
        """Run a function of `encoders` in a confined child; its value, or its typed error raised here."""
        return self.confiner.run(
            function,
            *args,
            limits=limits or self.limits(),
            readable=[*readable, *([source.path] if source else [])],
            writable=list(writable),
            stop=self.stop,
        )

    # -- the store

    def get(self, key: str, path: Path) -> None:
        """Bring an object here; by a link where the store is a folder of the same disk."""
        local = getattr(self.store, "path_of", None)
        if local is None:
            self.store.get_file(key, path)
            return
        try:
            os.link(local(key), path)
        except FileNotFoundError:
            raise ObjectMissing(f"{key} is not in the store") from None
        except OSError:  # another file system
            self.store.get_file(key, path)

    def put(self, key: str, path: Path) -> None:
        """Store a file."""
        self.store.put_file(key, path, layout.content_type(key))

    def put_verified(self, key: str, path: Path, sha256: str) -> None:
        """Store a media segment that is what was verified in the child, and see that the store has received that.

        Raises:
            VerificationFailed: its bytes have changed on the way; the task has no record yet and is done again.
        """
        data = path.read_bytes()
        stored = self.store.put_file(key, path, layout.content_type(key))
        # Other stores compare checksums of what they receive themselves, and their ETags need not be MD5s.
        local = isinstance(self.store, LocalPaths)
        received = not local or stored.etag == hashlib.md5(data, usedforsecurity=False).hexdigest()
        if hashlib.sha256(data).hexdigest() != sha256 or not received:
            raise VerificationFailed(f"{key} is not what was encoded: its bytes have changed on the way to the store")

    # -- records

    def record(self, key: str, kind: type[T]) -> T | None:
        """The record of a finished task, None when there is none."""
        try:
            return TypeAdapter(kind).validate_json(self.store.get_bytes(key))
        except ObjectMissing:
            return None

    def needed(self, key: str, kind: type[T]) -> T:
        """The record of a task that must be finished by now; ObjectMissing when it is not there."""
        found = self.record(key, kind)
        if found is None:
            raise ObjectMissing(f"{key}: its task is done but its record is gone; the job must be run again")
        return found

    def finish(self, record: str, result: SegmentResult | AudioResult) -> None:
        """Write the record, then the line in the encode log: the work is finished from here on."""
        self.store.put_bytes(record, TypeAdapter(type(result)).dump_json(result), "application/json")
        line = {
            "at": time.time(),
            "event": "encoded",
            "record": record,
            "task": self.request.task_id,
            "attempt": self.request.attempt,
        }
        with self.encode_log.open("ab", buffering=0) as file:
            file.write(json.dumps(line).encode() + b"\n")
