"""A job's life seen from its owner and the operator: submitted, planned, paused, moved, cancelled, over."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from encoders.errors import Failure, Fault
from scheduler.events import CancelRequested, JobPaused, JobReprioritised, JobResumed, JobSubmitted, TasksAdded
from scheduler.instructions import FinishJob
from scheduler.jobs import TaskSpec, TaskState
from scheduler.ledger import Job, Ledger, Task
from scheduler.requirements import permitted_backends
from scheduler.survivors import adopt
from scheduler.transitions import TASK_ENDS, JobEvent, TaskEvent

LEARNING = 0.1
"""Weight of the newest plan in what an unplanned job is expected to cost: a geometric mean, since lengths of videos
spread over orders of magnitude and most are short."""
SIZE_LEARNING = 0.02
"""The same for the work that a byte of an upload makes, which spreads far less."""
DEADLINE_MARGIN = 2.0
"""A deadline presses once the time left is less than so many times what the job would take alone on one slot."""


def submit(ledger: Ledger, event: JobSubmitted) -> None:
    """A job arrived or came back."""
    if event.job_id in ledger.jobs:
        return
    leaf = ledger.queue.add(event.job_id, event.tier, event.user_id, weight=event.weight)
    job = Job(
        event.job_id,
        event.user_id,
        event.tier,
        gpu=event.gpu,
        weight=event.weight,
        deadline_at=event.deadline_at,
        early_playback=event.early_playback,
        submitted_at=event.at if event.submitted_at is None else min(event.at, event.submitted_at),
        leaf=leaf,
    )
    job.open = event.open
    job.done_ids = event.done
    ledger.jobs[event.job_id] = job
    ledger.count_job(job, 1)
    if event.encoder is not None:
        pin(ledger, job, event.encoder)
    job.size_bytes = event.size_bytes
    if job.open:
        job.expected_s = _expected_s(ledger, event)
        ledger.queue.resize(leaf, job.expected_s)
    if not _add(ledger, job, event.tasks, event.attempts, event.deaths):
        return
    if not job.open:
        ledger.note_arrival(job, leaf.work_s)
    if job.deadline_at is not None:
        watch_deadline(ledger, job)
    finish_if_complete(ledger, job)


def add_tasks(ledger: Ledger, event: TasksAdded) -> None:
    """A plan is ready."""
    job = ledger.jobs.get(event.job_id)
    if job is None or not job.open:
        return
    before_s = job.leaf.total_s
    if not _add(ledger, job, event.tasks, {}, {}):
        return
    added_s = job.leaf.total_s - before_s
    spent_s = job.expected_s if event.last else min(job.expected_s, added_s)
    job.expected_s -= spent_s
    ledger.queue.resize(job.leaf, -spent_s)
    if event.last:
        job.open = False
        if added_s > 0.0:
            _learn_plan(ledger, job, added_s)
        ledger.note_arrival(job, added_s)
    if job.deadline_at is not None:
        watch_deadline(ledger, job)
    finish_if_complete(ledger, job)


def cancel(ledger: Ledger, event: CancelRequested) -> None:
    """The owner wants the job gone; what runs of it is stopped."""
    job = ledger.jobs.get(event.job_id)
    if job is not None:
        finish(ledger, job, JobEvent.CANCELLED, None)


def reprioritise(ledger: Ledger, event: JobReprioritised) -> None:
    """The operator moved a job. What runs of it goes on, and is paid for where it started."""
    job = ledger.jobs.get(event.job_id)
    if job is None:
        return
    ledger.count_job(job, -1)
    job.tier = event.tier or job.tier
    job.weight = event.weight or job.weight
    ledger.count_job(job, 1)
    job.leaf = ledger.queue.move(job.leaf, job.tier, job.weight)


def pause(ledger: Ledger, event: JobPaused) -> None:
    """Nothing new of the job starts."""
    job = ledger.jobs.get(event.job_id)
    if job is not None and not job.leaf.paused:
        ledger.queue.pause(job.leaf)


def resume(ledger: Ledger, event: JobResumed) -> None:
    """The end of a pause."""
    job = ledger.jobs.get(event.job_id)
    if job is not None and job.leaf.paused:
        ledger.queue.resume(job.leaf)


def pin(ledger: Ledger, job: Job, encoder: str) -> None:
    """From now on all segments of the job come from one encoder."""
    if job.encoder is not None:
        del ledger.pinned[job.encoder][job.job_id]
    job.encoder = encoder
    ledger.pinned.setdefault(encoder, {})[job.job_id] = job


def finish_if_complete(ledger: Ledger, job: Job) -> None:
    """A job whose tasks are all done, with none to come, is over."""
    if not job.open and job.done_count == len(job.tasks):
        finish(ledger, job, JobEvent.COMPLETED, None)


def finish(ledger: Ledger, job: Job, event: JobEvent, failure: Failure | None) -> None:
    """A job is over: what runs is stopped, what waits is withdrawn, and the engine forgets it."""
    for task in job.tasks:
        del ledger.tasks[task.spec.task_id]
        for attempt in task.in_flight:
            ledger.stop(attempt)
        if task.bit:
            ledger.index.release(task.bit)
            task.bit = 0
        if task.state not in TASK_ENDS:
            ledger.move_task(task, TaskEvent.CANCELLED, save=task.state in (TaskState.RUNNING, TaskState.WAITING_RETRY))
    ledger.queue.remove(job.leaf)
    ledger.move_job(job, event)
    ledger.count_job(job, -1)
    if job.encoder is not None:
        del ledger.pinned[job.encoder][job.job_id]
    del ledger.jobs[job.job_id]
    ledger.out.append(FinishJob(job_id=job.job_id, state=job.state, failure=failure))


def _expected_s(ledger: Ledger, event: JobSubmitted) -> float:
    """Engine-seconds to come of a job that was not inspected: as told, by the upload's size, or as usual."""
    if event.expected_s is not None:
        return max(0.0, event.expected_s)
    if event.size_bytes > 0 and ledger.plan_s_per_byte > 0.0:
        return event.size_bytes * ledger.plan_s_per_byte
    return ledger.typical_plan_s


def _learn_plan(ledger: Ledger, job: Job, plan_s: float) -> None:
    ledger.typical_plan_s *= (plan_s / ledger.typical_plan_s) ** LEARNING
    if job.size_bytes > 0:
        ratio = plan_s / job.size_bytes
        known = ledger.plan_s_per_byte or ratio
        ledger.sizes_seen += 1
        ledger.plan_s_per_byte = known * (ratio / known) ** max(SIZE_LEARNING, 1.0 / ledger.sizes_seen)


def watch_deadline(ledger: Ledger, job: Job) -> None:
    """Lets the deadline press when the time left is about what the job needs."""
    assert job.deadline_at is not None
    ledger.call_at(max(ledger.now, job.deadline_at - DEADLINE_MARGIN * job.leaf.work_s), _press, job)


def _press(ledger: Ledger, job: Job) -> None:
    if ledger.jobs.get(job.job_id) is not job or job.leaf.due is not None or job.deadline_at is None:
        return
    if ledger.now >= job.deadline_at - DEADLINE_MARGIN * job.leaf.work_s:
        ledger.queue.press(job.leaf, job.deadline_at)


def _add(
    ledger: Ledger, job: Job, specs: Iterable[TaskSpec], attempts: Mapping[str, int], deaths: Mapping[str, int]
) -> bool:
    """Adds tasks that the job does not have yet. False when they cannot be run and the job failed of it."""
    own = {task.spec.task_id: task for task in job.tasks}
    new = [spec for spec in specs if spec.task_id not in own]
    problem = _problem(ledger, job, own, new)
    if problem is not None:
        failure = Failure(code="plan_invalid", fault=Fault.CALLER, detail=problem)
        finish(ledger, job, JobEvent.FAILED, failure)
        return False
    for spec in new:
        backend = permitted_backends(spec, job.gpu)[0]
        task = Task(
            spec,
            job,
            attempt=attempts.get(spec.task_id, 0),
            deaths=deaths.get(spec.task_id, 0),
            predicted_s=ledger.costs.estimate(backend, spec.cost).engine_s,
        )
        own[spec.task_id] = ledger.tasks[spec.task_id] = task
        job.tasks.append(task)
    total_s = 0.0
    for spec in new:
        task = own[spec.task_id]
        if spec.task_id in job.done_ids:
            task.state = TaskState.DONE
            job.done_count += 1
            continue
        total_s += task.predicted_s
    ledger.queue.resize(job.leaf, total_s)
    for spec in new:
        task = own[spec.task_id]
        if task.state is TaskState.DONE:
            continue
        for need_id in spec.needs:
            need = own.get(need_id)
            if need is not None and need.state is not TaskState.DONE:
                task.open_needs += 1
                need.dependents = need.dependents or []
                need.dependents.append(task)
        task.confined = task.deaths >= ledger.settings.deaths_to_poison
        if task.open_needs == 0:
            ledger.move_task(task, TaskEvent.NEEDS_MET, save=False)
            ledger.enqueue(task)
    if ledger.survivors:
        for spec in new:
            adopt(ledger, own[spec.task_id])
    return True


def _problem(ledger: Ledger, job: Job, own: Mapping[str, Task], new: list[TaskSpec]) -> str | None:
    """Why tasks could never run, or None."""
    known = {*own, *job.done_ids, *(spec.task_id for spec in new)}
    if len({spec.task_id for spec in new}) != len(new):
        return "two tasks of the job have the same id"
    settled = {*own, *job.done_ids}
    waiting = list(new)
    for spec in new:
        if spec.task_id in ledger.tasks:
            return f"task {spec.task_id} belongs to another job"
        if not permitted_backends(spec, job.gpu):
            return f"task {spec.task_id} can run on {', '.join(spec.backends)}, but the job says gpu: {job.gpu}"
        for need in spec.needs:
            if need not in known:
                return f"task {spec.task_id} needs {need}, which is not a task of the job"
    while waiting:
        left = [spec for spec in waiting if not settled.issuperset(spec.needs)]
        if len(left) == len(waiting):
            return f"task {left[0].task_id} needs itself, over other tasks"
        settled.update(spec.task_id for spec in waiting if settled.issuperset(spec.needs))
        waiting = left
    return None
