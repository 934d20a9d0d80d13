"""Attempts that outlived the dispatcher which started them: they go on instead of being run again.

A worker that joins with survivors holds its places until it is known whose they are. When the job of one is submitted
and its task waits to be started, the survivor becomes that task's attempt, charged and timed as any other. One that is
of no use (its task is done, its job uses another encoder now, nobody asked for its job in time) is told to stop, and
its place is free when its worker reports.
"""

from __future__ import annotations

from collections.abc import Sequence

from scheduler.events import Survivor
from scheduler.instructions import ReplaceWorker, StopTask
from scheduler.jobs import JobState, TaskKind, TaskState
from scheduler.ledger import Attempt, Held, Ledger, Task, Worker
from scheduler.transitions import JobEvent, TaskEvent


def hold(ledger: Ledger, worker: Worker, survivors: Sequence[Survivor]) -> None:
    """A worker joined with attempts on it."""
    for survivor in survivors:
        held = Held(survivor, worker, ledger.now - max(0.0, survivor.elapsed_s))
        ledger.survivors.setdefault(survivor.task_id, []).append(held)
        worker.survivors += 1
        ledger.call_at(ledger.now + ledger.settings.survivor_patience_s, _give_up, held)
    for survivor in survivors:
        task = ledger.tasks.get(survivor.task_id)
        if task is not None:
            adopt(ledger, task)


def adopt(ledger: Ledger, task: Task) -> None:
    """A task became known: survivors of it go on, or are told to stop."""
    for held in list(ledger.survivors.get(task.spec.task_id, ())):
        if _is_welcome(ledger, task, held.survivor):
            _release(ledger, held)
            _go_on(ledger, task, held)
        else:
            _stop(ledger, held)


def ended(ledger: Ledger, task_id: str, attempt: int, worker_id: str) -> None:
    """An attempt that no task counts on reported its end: if it was a survivor, its place is free."""
    for held in list(ledger.survivors.get(task_id, ())):
        if held.survivor.attempt == attempt and held.worker.spec.worker_id == worker_id:
            _release(ledger, held)


def forget(ledger: Ledger, worker: Worker) -> None:
    """A worker is gone, and what it still ran with it."""
    if worker.survivors:
        for held in [held for some in ledger.survivors.values() for held in some if held.worker is worker]:
            _release(ledger, held)


def _is_welcome(ledger: Ledger, task: Task, survivor: Survivor) -> bool:
    if task.spec.kind is TaskKind.SEGMENT and task.job.encoder != ledger.encoder_of(survivor.backend):
        return False
    return task.state is TaskState.READY or (task.state is TaskState.RUNNING and len(task.in_flight) == 1)


def _go_on(ledger: Ledger, task: Task, held: Held) -> None:
    """The task counts on the survivor from now on; the second one of a task is its twin."""
    survivor, worker, job = held.survivor, held.worker, task.job
    if job.state is JobState.QUEUED:
        job.started_at = ledger.now
        ledger.move_job(job, JobEvent.STARTED)
    twin = bool(task.in_flight)
    if task.bit:
        ledger.withdraw(task)
    task.attempt = max(task.attempt, survivor.attempt)
    estimate = ledger.costs.estimate(survivor.backend, task.spec.cost)
    timeout_s = ledger.timeout_s(task, estimate)
    attempt = Attempt(
        task, survivor.attempt, worker, survivor.backend, estimate, timeout_s, twin=twin, confined=task.confined
    )
    ledger.move_task(task, TaskEvent.STARTED, save=False)  # written before it was started
    if not twin:
        attempt.charged_s = estimate.engine_s
        ledger.queue.charge(job.leaf, estimate.engine_s)
    ledger.occupy(attempt)
    if worker.attempts[0] is attempt:
        attempt.begun_at = held.begun_at
    worker.warm = task.spec.cost.preset
    job.nodes |= {worker.spec.node_id}


def _stop(ledger: Ledger, held: Held) -> None:
    survivor, worker_id = held.survivor, held.worker.spec.worker_id
    ledger.out.append(StopTask(task_id=survivor.task_id, attempt=survivor.attempt, worker_id=worker_id))
    ledger.call_at(ledger.now + ledger.settings.stop_grace_s, _replace, held)


def _give_up(ledger: Ledger, held: Held) -> None:
    if _is_held(ledger, held):
        _stop(ledger, held)


def _replace(ledger: Ledger, held: Held) -> None:
    if _is_held(ledger, held):
        reason = f"did not stop task {held.survivor.task_id}"
        ledger.out.append(ReplaceWorker(worker_id=held.worker.spec.worker_id, reason=reason))


def _is_held(ledger: Ledger, held: Held) -> bool:
    return held in ledger.survivors.get(held.survivor.task_id, ())


def _release(ledger: Ledger, held: Held) -> None:
    """The survivor holds its place no longer."""
    some = ledger.survivors[held.survivor.task_id]
    some.remove(held)
    if not some:
        del ledger.survivors[held.survivor.task_id]
    held.worker.survivors -= 1
    ledger.offer(held.worker)
