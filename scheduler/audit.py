"""The invariants of the books, checked. Linear in their size: for tests, and for an operator in doubt."""

from __future__ import annotations

from scheduler.jobs import JobState, TaskState
from scheduler.ledger import Job, Ledger, Task
from scheduler.transitions import JOB_ENDS

TOLERANCE_S = 1e-3
"""Allowed drift of sums of predicted work: they are kept by adding and subtracting floats."""


def audit(ledger: Ledger) -> None:
    """Raises AssertionError when the books contradict each other."""
    ledger.queue.validate()
    assert sum(len(job.tasks) for job in ledger.jobs.values()) == len(ledger.tasks), "tasks without a job, or lost"
    waiting: dict[int, int] = {}
    counts: dict[tuple[str, str], int] = {}
    for job in ledger.jobs.values():
        _audit_job(ledger, job)
        counts[(job.tier, job.state)] = counts.get((job.tier, job.state), 0) + 1
        for task in job.tasks:
            _audit_task(ledger, task)
            if task.bit:
                waiting[task.bit] = waiting.get(task.bit, 0) + 1
    assert counts == {key: number for key, number in ledger.job_counts.items() if number}, "jobs are miscounted"
    for bit in ledger.index.by_bit:
        assert ledger.index.holders(bit) == waiting.get(bit, 0), "a class is held by nobody, or by too many"
    _audit_slots(ledger)


def _audit_job(ledger: Ledger, job: Job) -> None:
    assert job.state not in JOB_ENDS, f"job {job.job_id} is over and still here"
    done = sum(1 for task in job.tasks if task.state is TaskState.DONE)
    assert done == job.done_count, f"job {job.job_id}: done tasks are miscounted"
    assert job.open or done < len(job.tasks), f"job {job.job_id} is complete and still here"
    assert job.state is JobState.RUNNING or not any(task.in_flight for task in job.tasks), "runs without having started"
    left_s = job.expected_s + sum(task.predicted_s for task in job.tasks if task.state is not TaskState.DONE)
    assert abs(left_s - job.leaf.work_s) < TOLERANCE_S, f"job {job.job_id}: work left is miscounted"
    queued = sorted(entry[3] for entry in job.leaf.ready)
    assert queued == sorted(task.spec.task_id for task in job.tasks if task.bit), "queue and tasks differ"


def _audit_task(ledger: Ledger, task: Task) -> None:
    name = task.spec.task_id
    assert ledger.tasks.get(name) is task, f"task {name} is not in the index"
    assert (task.state is TaskState.READY) == (task.bit != 0), f"task {name} is {task.state}, queued: {task.bit}"
    assert (task.state is TaskState.RUNNING) == bool(task.in_flight), f"task {name}: {task.state} and attempts differ"
    assert task.state is not TaskState.RUNNING or task.open_needs == 0, f"task {name} runs before its needs are done"
    assert len(task.in_flight) <= 2, f"task {name} runs more than twice at once"
    assert sum(1 for attempt in task.in_flight if not attempt.twin) <= 1, f"task {name} runs twice and is no twin"
    assert all(attempt.number <= task.attempt for attempt in task.in_flight), f"task {name}: attempt numbers"
    open_needs = 0
    for other in task.job.tasks:
        if task.spec.task_id in other.spec.needs and task.state is not TaskState.DONE:
            assert other.open_needs > 0, f"task {other.spec.task_id} does not wait for {name}"
        if other.spec.task_id in task.spec.needs and other.state is not TaskState.DONE:
            open_needs += 1
    assert task.state is not TaskState.BLOCKED or task.open_needs > 0, f"task {name} waits for nothing"
    assert task.state is TaskState.DONE or task.open_needs == open_needs, f"task {name}: open needs are miscounted"


def _audit_slots(ledger: Ledger) -> None:
    held = 0
    survivors: dict[str, int] = {}
    for some in ledger.survivors.values():
        for each in some:
            survivors[each.worker.spec.worker_id] = survivors.get(each.worker.spec.worker_id, 0) + 1
    counted = {worker_id: worker.survivors for worker_id, worker in ledger.workers.items() if worker.survivors}
    assert survivors == counted, "survivors are miscounted, or on workers that are gone"
    for worker_id, worker in ledger.workers.items():
        assert len(worker.attempts) <= worker.spec.depth, f"worker {worker_id} has more than it can take"
        for place, attempt in enumerate(worker.attempts):
            held += 1
            assert ledger.attempts.get((attempt.task.spec.task_id, attempt.number)) is attempt, "unknown attempt"
            assert (attempt.begun_at is not None) == (place == 0), f"worker {worker_id}: what runs is not the first"
            assert attempt.stopping != (attempt in attempt.task.in_flight), "an attempt counts although it was stopped"
    assert held == len(ledger.attempts), "attempts on workers that are gone"
    for device in ledger.devices.values():
        running = sum(len(worker.attempts) for worker in ledger.workers.values() if worker.device is device)
        assert running == device.running, f"device {device.device_id}: running tasks are miscounted"
        assert device.running or not (device.sessions_used or device.memory_used), "budgets leak"
