"""`ray.remote` around thin holders; nothing else. The work is in `worker.Worker`, which knows no Ray."""

from __future__ import annotations

import hashlib
import os
import threading
import time
import uuid
from concurrent.futures import Future
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import ray

from cluster.device_metrics import DeviceWatcher
from cluster.parcel import Parcel
from cluster.scratch import claim_scratch, sweep_scratch
from cluster.settings import ClusterSettings
from cluster.staging import Staging
from cluster.storage.open import open_store
from cluster.tasks import Outcome, RunningTask, TaskRequest, WorkerDescription
from cluster.worker import Worker
from encoders.backends import registry
from encoders.backends.base import BackendName
from encoders.backends.probe import hand_down, proven
from encoders.backends.proof import GpuProbe
from encoders.confine import Confiner

CONCURRENCY = 8
"""One thread works, one waits with a canary, one answers `stop` and `ping` meanwhile, and one for each dispatcher that
died while it waited for what works; spare ones, so that none waits."""
MEMORY_SHARE = 0.9
"""Of a device's or a node's memory that tasks may fill; the rest absorbs what estimates miss."""


class _Run:
    """An attempt on this worker, and its outcome once there is one."""

    def __init__(self, request: TaskRequest) -> None:
        self.request = request
        self.began_at = time.monotonic()
        self.outcome: Future[Outcome] = Future()

    def is_of(self, task_id: str, attempt: int) -> bool:
        return (self.request.task_id, self.request.attempt) == (task_id, attempt)

    def told(self) -> RunningTask:
        return RunningTask(
            job_id=self.request.job_id,
            task_id=self.request.task_id,
            attempt=self.request.attempt,
            backend=self.request.backend,
            elapsed_s=time.monotonic() - self.began_at,
        )


def _node_memory(node_id: str) -> int:
    """Bytes of main memory that Ray counts as the node's: less than the machine's, within the container's limit."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return next((int(node["Resources"].get("memory", 0)) for node in nodes if node["NodeID"] == node_id), 0)


def build_of(settings: ClusterSettings) -> str:
    """Identity of the code and settings that a worker was started with: a successor of another one starts its own."""
    try:
        release = version("reelmill")
    except PackageNotFoundError:
        release = ""  # run from a checkout that was never installed
    return hashlib.sha256(f"{release} {settings.model_dump_json()}".encode()).hexdigest()[:16]


class SlotHolder:
    """Holds one `Worker` in a Ray actor process and lets other threads stop what it does."""

    def __init__(self, settings: ClusterSettings, worker_id: str) -> None:
        self.worker_id = worker_id
        node_id = ray.get_runtime_context().get_node_id()
        sweep_scratch(settings.scratch_dir)
        scratch = claim_scratch(settings.scratch_dir, f"{worker_id}-{uuid.uuid4().hex[:8]}")
        staging = Staging(settings.staging_dir, settings.staging_bytes)
        staging.evict()
        self.worker = Worker(
            store=open_store(settings.effective_store_url, settings.public_url),
            staging=staging,
            confiner=Confiner(),
            scratch=scratch / "work",
            encode_log=settings.root / "logs" / "encodes.jsonl",
            memory_bytes=settings.task_memory_bytes,
        )
        on_gpu = bool(ray.get_runtime_context().get_accelerator_ids().get("GPU"))
        # A GPU is proven before the confiner's server starts: proving takes a process, and children inherit the proof.
        gpus = proven() if on_gpu else GpuProbe(reason="this worker holds no part of a GPU")
        hand_down(gpus)
        found = self.worker.confiner.run(registry.capabilities)
        backends = tuple(str(each.name) for each in found if each.available)
        uses_gpu = any(name != BackendName.CPU for name in backends)
        self.description = WorkerDescription(
            worker_id=worker_id,
            node_id=node_id,
            device_id=gpus.devices[0].uuid if uses_gpu else f"cpu:{node_id}",
            pid=os.getpid(),
            backends=backends,
            device_sessions=gpus.devices[0].sessions if uses_gpu else 0,
            device_memory_bytes=int(
                MEMORY_SHARE * (gpus.devices[0].memory_bytes if uses_gpu else _node_memory(node_id))
            ),
            build=build_of(settings),
        )
        if uses_gpu:
            DeviceWatcher(settings.root / "devices.lock").start()
        self._stops: dict[tuple[str, int], threading.Event] = {}
        self._last: _Run | None = None
        self._token = 0
        self._busy = threading.Lock()

    def describe(self) -> WorkerDescription:
        """Who this is and what it can do; answers once the worker is ready."""
        return self.description

    def take_over(self, token: int) -> WorkerDescription:
        """A new leader asks what runs here. From now on leaders of lower tokens stop nothing."""
        self._token = max(self._token, token)
        last = self._last
        # What has ended stays told until something else begins: its dispatcher may have died before it heard of it.
        return replace(self.description, running=() if last is None else (last.told(),))

    def run(self, parcel: Parcel) -> Outcome:
        """One attempt of one task; a second call waits for the first to end."""
        request = parcel.unpack()
        stop = self._stops.setdefault((request.task_id, request.attempt), threading.Event())
        try:
            with self._busy:
                run = self._last = _Run(request)
                try:
                    outcome = self.worker.run(request, stop)
                except BaseException as error:  # whatever ends this thread, `resume` waits in others for how it ended
                    run.outcome.set_exception(error)
                    raise
                run.outcome.set_result(outcome)
                return outcome
        finally:
            self._stops.pop((request.task_id, request.attempt), None)

    def resume(self, task_id: str, attempt: int) -> Outcome | None:
        """The outcome of an attempt that a dispatcher before started, once there is one; None when it is not here."""
        last = self._last
        return last.outcome.result() if last is not None and last.is_of(task_id, attempt) else None

    def stop(self, task_id: str, attempt: int, token: int = 0) -> bool:
        """End an attempt that runs or waits here; False when it is not here, or not the caller's any more."""
        event = self._stops.get((task_id, attempt))
        if event is None or token < self._token:
            return False
        event.set()
        return True

    def check(self) -> tuple[bool, str]:
        """Run the canary on this worker's device, after what it does now: (healthy, what was seen)."""
        with self._busy:
            return self.worker.check(self.description.backends[0])

    def ping(self) -> str:
        """Answers as long as the process lives."""
        return self.worker_id


WorkerActor: Any = ray.remote(SlotHolder)
