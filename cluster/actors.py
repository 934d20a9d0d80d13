"""`ray.remote` around thin holders; nothing else. The work is in `worker.Worker`, which knows no Ray."""

from __future__ import annotations

import os
import threading
import uuid
from typing import Any

import ray

from cluster.device_metrics import DeviceWatcher
from cluster.scratch import claim_scratch, sweep_scratch
from cluster.settings import ClusterSettings
from cluster.staging import Staging
from cluster.storage.open import open_store
from cluster.tasks import Outcome, TaskRequest, WorkerDescription
from cluster.worker import Worker
from encoders.backends import registry
from encoders.backends.base import BackendName
from encoders.backends.probe import hand_down, proven
from encoders.backends.proof import GpuProbe
from encoders.confine import Confiner

CONCURRENCY = 4
"""One thread works, one waits with a canary, one answers `stop` and `ping` meanwhile, one spare so that none waits."""


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
        )
        if uses_gpu:
            DeviceWatcher(settings.root / "devices.lock").start()
        self._stops: dict[tuple[str, int], threading.Event] = {}
        self._busy = threading.Lock()

    def describe(self) -> WorkerDescription:
        """Who this is and what it can do; answers once the worker is ready."""
        return self.description

    def run(self, request: TaskRequest) -> Outcome:
        """One attempt of one task; a second call waits for the first to end."""
        stop = self._stops.setdefault((request.task_id, request.attempt), threading.Event())
        try:
            with self._busy:
                return self.worker.run(request, stop)
        finally:
            self._stops.pop((request.task_id, request.attempt), None)

    def stop(self, task_id: str, attempt: int) -> bool:
        """End an attempt that runs or waits here; False when it is not here."""
        event = self._stops.get((task_id, attempt))
        if event is None:
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
