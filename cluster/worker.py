"""One encode slot: stage in, do one task in a confined child, verify, stage out, answer with a value.

A plain class, tested without Ray. It keeps nothing between tasks that a result could depend on, so it may be killed
at any moment: what it finished has a record in the store (layout.py), what it did not is done again by whoever gets
the next attempt. Foreign bytes are never touched in this process, only in the confined children it starts.
"""

from __future__ import annotations

import errno
import os
import shutil
import threading
import time
import traceback
from dataclasses import replace
from pathlib import Path

import structlog

from cluster.attempt import Attempt
from cluster.encoding import encode_segment, encode_sound
from cluster.gpu_lane import GpuLane
from cluster.inspection import inspect_source
from cluster.packaging import package_asset
from cluster.staging import Staging
from cluster.storage.base import ObjectStore
from cluster.tasks import Done, Outcome, TaskRequest
from encoders.backends.base import BackendName
from encoders.confine import Confiner, Limits, Stopped, failure_of
from encoders.errors import Failure, FarmError, Fault
from scheduler.jobs import TaskKind

log = structlog.get_logger()

CANARY_S, CANARY_BYTES = 30.0, 10_000_000
"""A second's work, with room for a busy host."""

WORK = {
    TaskKind.INSPECT: inspect_source,
    TaskKind.AUDIO: encode_sound,
    TaskKind.SEGMENT: encode_segment,
    TaskKind.PACKAGE: package_asset,
}


class Worker:
    """One slot of a node.

    Args:
        store: where sources and assets are.
        staging: shared with the other workers of the node.
        confiner: starts the confined children; closed with the worker.
        scratch: folder of its own for unfinished outputs; emptied at the start.
        encode_log: a line is appended to this file for each segment encoded here, after its record has landed.
        memory_bytes: what one confined child may use.
    """

    def __init__(
        self,
        store: ObjectStore,
        staging: Staging,
        confiner: Confiner,
        scratch: Path,
        encode_log: Path,
        memory_bytes: int,
    ) -> None:
        self.store = store
        self.staging = staging
        self.confiner = confiner
        self.scratch = scratch
        self.encode_log = encode_log
        self.memory_bytes = memory_bytes
        self.gpu = GpuLane(confiner, scratch)
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        encode_log.parent.mkdir(parents=True, exist_ok=True)

    def run(self, request: TaskRequest, stop: threading.Event) -> Outcome:
        """Do one attempt of one task; never raises.

        Args:
            stop: set by another thread to end the attempt; its confined child is killed within a fraction of a second.

        Returns:
            the result, or the failure as a value. Scratch files are gone in both cases.
        """
        overdue = threading.Event()

        def end() -> None:
            overdue.set()
            stop.set()

        timer = threading.Timer(request.timeout_s, end)
        timer.daemon = True
        timer.start()
        try:
            return self._run(request, stop)
        except Stopped as error:
            return _timed_out(request) if overdue.is_set() else failure_of(error)
        except FarmError as error:
            return failure_of(error)
        except OSError as error:
            return Failure(code=_os_code(error), fault=Fault.INFRASTRUCTURE, detail=str(error))
        except Exception as error:  # the worker's edge: a bug must fail one attempt, not the slot
            log.exception("task_bug", task=request.task_id)
            evidence = {"traceback": traceback.format_exc()[-4000:]}
            detail = f"{type(error).__name__}: {error}"
            return Failure(code="internal", fault=Fault.INFRASTRUCTURE, detail=detail, evidence=evidence)
        finally:
            timer.cancel()

    def _run(self, request: TaskRequest, stop: threading.Event) -> Done:
        started = time.monotonic()
        out = self.scratch / f"{os.getpid()}-{request.attempt}"
        out.mkdir(parents=True)
        attempt = Attempt(
            request=request,
            stop=stop,
            out=out,
            store=self.store,
            staging=self.staging,
            confiner=self.confiner,
            gpu=self.gpu,
            encode_log=self.encode_log,
            memory_bytes=self.memory_bytes,
        )
        try:
            done = WORK[request.kind](attempt)
        finally:
            shutil.rmtree(out, ignore_errors=True)
        return replace(done, wall_s=time.monotonic() - started)

    def check(self, backend: str) -> tuple[bool, str]:
        """Encode a known clip and compare what comes out: (healthy, what was seen).

        After a fault of a GPU it is proven anew before that, in a process of its own.
        """
        if backend != BackendName.CPU and (reason := self.gpu.prepare_check(backend)):
            return False, reason
        limits = Limits(memory_bytes=self.memory_bytes, wall_s=CANARY_S, output_bytes=CANARY_BYTES)
        out = self.scratch / "canary"
        out.mkdir(exist_ok=True)
        try:
            seen = self.confiner.run(
                "encoders.canary:encode_canary",
                backend,
                out,
                limits=limits,
                writable=[out],
                devices=backend != BackendName.CPU,
            )
        except FarmError as error:
            return False, f"{error.code}: {error.detail}"
        finally:
            shutil.rmtree(out, ignore_errors=True)
        return True, str(seen)

    def close(self) -> None:
        """End the confined children and remove scratch files."""
        self.gpu.close()
        self.confiner.close()
        shutil.rmtree(self.scratch, ignore_errors=True)


def _timed_out(request: TaskRequest) -> Failure:
    detail = f"not done within {request.timeout_s:.0f} s, several times what was predicted"
    return Failure(code="task_timeout", fault=Fault.DEVICE, detail=detail)


def _os_code(error: OSError) -> str:
    return "disk_full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "os_error"
