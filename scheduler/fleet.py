"""Slots and devices: they join, go, drain, and are tested."""

from __future__ import annotations

from encoders.errors import Failure, Fault
from scheduler.bounds import burst_of
from scheduler.events import DeviceChecked, WorkerDraining, WorkerJoined, WorkerLost
from scheduler.health import Circuit, Device
from scheduler.ledger import Ledger, Worker
from scheduler.outcomes import (
    check_device,
    give_up,
    hand_over,
    open_circuit,
    remember_lost,
    retest,
)
from scheduler.survivors import forget, hold

BLAMELESS = frozenset({"node_lost", "drained", "stopped", "hung"})
"""Reasons of a loss that say nothing against the task that ran."""


def join(ledger: Ledger, event: WorkerJoined) -> None:
    """A slot offers itself."""
    spec = event.worker
    if spec.worker_id in ledger.workers:
        _remove(ledger, ledger.workers[spec.worker_id], "stopped")
    device = ledger.devices.get(spec.device_id)
    first = device is None
    if device is None:
        device = ledger.devices[spec.device_id] = Device(device_id=spec.device_id)
    device.workers.add(spec.worker_id)
    device.expected = False
    device.backends |= frozenset(spec.backends)
    worker = ledger.workers[spec.worker_id] = Worker(spec, device)
    ledger.shape.count_confined(spec, 1)
    _size_bursts(ledger)
    hold(ledger, worker, event.survivors)
    ledger.offer(worker)
    if first and device.is_gpu:
        _check_regularly(ledger, device)
    elif device.circuit is Circuit.OPEN:
        retest(ledger, device)


def lost(ledger: Ledger, event: WorkerLost) -> None:
    """A slot is gone and what it ran with it."""
    worker = ledger.workers.get(event.worker_id)
    if worker is not None:
        _remove(ledger, worker, event.reason)


def drain(ledger: Ledger, event: WorkerDraining) -> None:
    """A slot will go: nothing new, and what would not end in time is handed over now rather than lost then."""
    worker = ledger.workers.get(event.worker_id)
    if worker is None:
        return
    if worker.drain_at is None:
        ledger.shape.count_confined(worker.spec, -1)
    worker.drain_at = event.deadline_at
    worker.device.workers.discard(event.worker_id)
    ledger.shape.changed()
    ledger.offer(worker)
    _hand_over_late(ledger, worker)
    ledger.call_at(event.deadline_at, _hand_over_late, worker)


def device_checked(ledger: Ledger, event: DeviceChecked) -> None:
    """A canary came back."""
    device = ledger.devices.get(event.device_id)
    if device is None:
        return
    device.asked_at = None
    why = device.checked(event.healthy)
    ledger.shape.changed()
    if why is not None and device.circuit is not Circuit.OPEN:
        open_circuit(ledger, device, f"{why}: {event.detail}")


def _remove(ledger: Ledger, worker: Worker, reason: str) -> None:
    spec, device = worker.spec, worker.device
    del ledger.workers[spec.worker_id]
    worker.gone = True
    device.workers.discard(spec.worker_id)
    _size_bursts(ledger)
    if worker.drain_at is None:
        ledger.shape.count_confined(spec, -1)
    if not device.workers and worker.drain_at is None:
        device.expected = True
        device.asked_at = None
        ledger.call_at(ledger.now + ledger.settings.device_return_s, _stop_expecting, device)
    ledger.shape.changed()
    forget(ledger, worker)
    ledger.offer(worker)
    orphans = [attempt for attempt in worker.attempts if not attempt.stopping]
    for attempt in list(worker.attempts):
        ledger.vacate(attempt, 0.0 if attempt.begun_at is None else ledger.now - attempt.begun_at)
    blamed = [attempt for attempt in orphans if attempt.begun_at is not None and reason not in BLAMELESS]
    for attempt in orphans:
        if attempt not in blamed:
            hand_over(ledger, attempt)
    for attempt in blamed:
        remember_lost(attempt.task, attempt)
        failure = Failure(
            code="worker_lost",
            fault=Fault.DEVICE,
            detail=f"the worker ended while it ran the task: {reason}",
            evidence={"worker": spec.worker_id, "device": spec.device_id, "node": spec.node_id},
        )
        give_up(ledger, attempt, failure, died=True)


def _size_bursts(ledger: Ledger) -> None:
    for tier, share in ledger.queue.tiers.items():
        share.burst_s = burst_of(tier, ledger.settings, len(ledger.workers))


def _stop_expecting(ledger: Ledger, device: Device) -> None:
    if device.workers:
        return
    device.expected = False
    ledger.shape.changed()


def _hand_over_late(ledger: Ledger, worker: Worker) -> None:
    if ledger.workers.get(worker.spec.worker_id) is not worker or worker.drain_at is None:
        return
    for attempt in list(worker.attempts):
        late = attempt.begun_at is None or (
            max(ledger.now, attempt.begun_at + attempt.estimate.p95_s) >= worker.drain_at
        )
        if late and not attempt.stopping:
            ledger.stop(attempt)
            hand_over(ledger, attempt)


def _check_regularly(ledger: Ledger, device: Device) -> None:
    if device.circuit is Circuit.CLOSED and device.asked_at is None:
        check_device(ledger, device)
    ledger.call_at(ledger.now + ledger.settings.check_every_s, _check_regularly, device)
