"""Gives free places to tasks: the next by fairness, on the best place; then twins of stragglers on what is left."""

from __future__ import annotations

from scheduler.instructions import StartTask
from scheduler.intake import pin
from scheduler.jobs import JobState, TaskKind, WorkerSpec
from scheduler.ledger import Attempt, Job, Ledger, Task, Worker
from scheduler.placement import SlotPool
from scheduler.requirements import requirement_of
from scheduler.transitions import JobEvent, TaskEvent

TWINNED = frozenset({TaskKind.SEGMENT, TaskKind.AUDIO})
"""Tasks whose results are content-addressed, so that two attempts at once cannot disturb each other."""


def note_begun(ledger: Ledger) -> None:
    """Where an attempt has ended, the one that was staged behind it begins."""
    for worker in ledger.advanced:
        if worker.attempts and worker.attempts[0].begun_at is None:
            worker.attempts[0].begun_at = ledger.now
    ledger.advanced.clear()


def assign(ledger: Ledger) -> None:
    """Fills free places until there is no place or no task for them. Work-conserving."""
    note_begun(ledger)
    _fill(ledger, ledger.idle)
    _fill(ledger, ledger.spare)


def _fill(ledger: Ledger, pool: SlotPool[Worker]) -> None:
    while pool:
        wanted = ledger.queue.mask()
        mask = pool.mask(wanted) if wanted else 0
        taken = ledger.queue.take(mask) if mask else None
        if taken is None:
            return
        _, bit, task_id = taken
        task = ledger.tasks[task_id]
        worker = pool.pick(bit, near=task.job.nodes, warm=task.spec.cost.preset)
        assert worker is not None, "a class in the mask has a place that suits it"
        order = ledger.index.by_bit[bit].backends
        ledger.index.release(bit)
        task.bit = 0
        _start(ledger, task, worker, _best_backend(order, worker.spec), twin=False)


def _start(ledger: Ledger, task: Task, worker: Worker, backend: str, *, twin: bool) -> None:
    job, spec = task.job, task.spec
    if job.state is JobState.QUEUED:
        job.started_at = ledger.now
        ledger.move_job(job, JobEvent.STARTED)
    if spec.kind is TaskKind.SEGMENT and job.encoder is None:
        _choose_encoder(ledger, job, ledger.encoder_of(backend))
    task.attempt += 1
    while (spec.task_id, task.attempt) in ledger.attempts:
        task.attempt += 1
    estimate = ledger.costs.estimate(backend, spec.cost)
    timeout_s = ledger.timeout_s(task, estimate)
    attempt = Attempt(task, task.attempt, worker, backend, estimate, timeout_s, twin=twin, confined=task.confined)
    ledger.move_task(task, TaskEvent.STARTED)
    if not twin:
        attempt.charged_s = estimate.engine_s
        ledger.queue.charge(job.leaf, estimate.engine_s)
    ledger.occupy(attempt)
    if worker.attempts[0] is attempt:
        attempt.begun_at = ledger.now
    worker.warm = spec.cost.preset
    if worker.spec.node_id not in job.nodes:
        job.nodes |= {worker.spec.node_id}
    ledger.out.append(
        StartTask(
            job_id=job.job_id,
            task_id=spec.task_id,
            attempt=attempt.number,
            worker_id=worker.spec.worker_id,
            backend=backend,
            timeout_s=timeout_s,
            twin=twin,
            confined=attempt.confined,
        )
    )


def _choose_encoder(ledger: Ledger, job: Job, encoder: str) -> None:
    """The first segment decides for all: the others wait for backends of the same encoder from now on."""
    pin(ledger, job, encoder)
    ledger.save_job(job)
    ledger.reconsider(job, [task for task in job.tasks if task.bit and task.spec.kind is TaskKind.SEGMENT])


def _best_backend(order: tuple[str, ...], spec: WorkerSpec) -> str:
    return next(backend for backend in order if backend in spec.backends)


def start_twins(ledger: Ledger) -> None:
    """Twins for what takes longer than it should, the longest overdue first, on places that nothing else wants."""
    if not ledger.settings.twins or not ledger.idle:
        return
    overdue = [
        (-late_s, order, attempt)
        for order, attempt in enumerate(ledger.attempts.values())
        if (late_s := _late_s(ledger, attempt)) > 0.0
    ]
    for _, _, attempt in sorted(overdue, key=lambda entry: entry[:2]):
        task = attempt.task
        worker = _place_for_twin(ledger, task, attempt)
        if worker is not None:
            _start(ledger, task, worker, _best_backend(ledger.allowed_backends(task), worker.spec), twin=True)


def _late_s(ledger: Ledger, attempt: Attempt) -> float:
    """Seconds past the p95 of the prediction, for an attempt that may have a twin; 0 for others."""
    task = attempt.task
    if attempt.begun_at is None or not attempt.estimate.samples or task.spec.kind not in TWINNED:
        return 0.0
    if task.in_flight != (attempt,) or task.confined or task.job.leaf.paused:
        return 0.0
    return ledger.now - attempt.begun_at - attempt.estimate.p95_s


def _place_for_twin(ledger: Ledger, task: Task, attempt: Attempt) -> Worker | None:
    """An idle place on another device; on the same one when there is no other."""
    excluded = task.failed_devices | {attempt.worker.device.device_id}
    bit = ledger.index.acquire(requirement_of(task.spec, ledger.allowed_backends(task), excluded=excluded))
    worker = ledger.idle.pick(bit, near=task.job.nodes, warm=task.spec.cost.preset)
    ledger.index.release(bit)
    return worker
