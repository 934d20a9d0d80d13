"""What becomes of a task when an attempt of it ends: done, again elsewhere, again later, isolated, or dead."""

from __future__ import annotations

from encoders.errors import Failure, Fault
from scheduler.events import TaskDone, TaskFailed
from scheduler.health import Circuit, Device
from scheduler.instructions import CheckDevice, FellBack, ReplaceWorker
from scheduler.intake import finish, finish_if_complete, pin
from scheduler.jobs import TaskKind, TaskState
from scheduler.ledger import Attempt, Job, Ledger, Task
from scheduler.placement import has_other_device
from scheduler.requirements import permitted_backends, requirement_of
from scheduler.retry import Decision, History, Step, chance_of, next_step
from scheduler.survivors import ended
from scheduler.transitions import JobEvent, TaskEvent

HOPELESS = frozenset({Fault.INPUT, Fault.CALLER})
"""Faults that a twin of the attempt would find as well."""


def done(ledger: Ledger, event: TaskDone) -> None:
    """An attempt succeeded. The first valid result of a task wins, whichever attempt it is of."""
    attempt = ledger.attempts.get((event.task_id, event.attempt))
    if attempt is None or attempt.worker.spec.worker_id != event.worker_id:
        ended(ledger, event.task_id, event.attempt, event.worker_id)
        _late_result(ledger, event)
        return
    elapsed_s = _elapsed_s(ledger, attempt)
    if attempt.begun_at is not None:
        ledger.note_result(attempt, event.engine_s, elapsed_s)
        device = attempt.worker.device
        if device.succeeded(elapsed_s / attempt.estimate.wall_s):
            ledger.shape.changed()
        _watch_speed(ledger, device)
    ledger.vacate(attempt, event.engine_s)
    task = attempt.task
    if (
        ledger.tasks.get(event.task_id) is task
        and task.state is not TaskState.DONE
        and attempt.number > task.void_up_to
    ):
        _succeed(ledger, task)


def failed(ledger: Ledger, event: TaskFailed) -> None:
    """An attempt failed, or ended because it was told to."""
    attempt = ledger.attempts.get((event.task_id, event.attempt))
    if attempt is None or attempt.worker.spec.worker_id != event.worker_id:
        ended(ledger, event.task_id, event.attempt, event.worker_id)
        return
    fast = _elapsed_s(ledger, attempt) < ledger.settings.fast_fraction * attempt.estimate.wall_s
    expected = attempt.stopping
    ledger.vacate(attempt, event.engine_s or _elapsed_s(ledger, attempt))
    if not expected:
        give_up(ledger, attempt, event.failure, fast=fast)


def give_up(ledger: Ledger, attempt: Attempt, failure: Failure, *, fast: bool = False, died: bool = False) -> None:
    """An attempt will bring nothing: its task goes on with another, or is dead. Its place is the caller's business.

    Args:
        fast: it failed in a fraction of the time it should have taken.
        died: its worker died of it.
    """
    task = attempt.task
    task.failure = failure
    task.deaths += died
    at_device = failure.fault is Fault.DEVICE and failure.code not in ledger.settings.busy_codes
    if at_device:
        task.device_failures += 1
        task.failed_devices |= {attempt.worker.device.device_id}
    elif failure.fault in (Fault.INFRASTRUCTURE, Fault.DEVICE):
        task.infrastructure_failures += 1
    history = History(
        device_failures=task.device_failures,
        infrastructure_failures=task.infrastructure_failures,
        deaths=task.deaths,
        was_confined=attempt.confined,
    )
    settings = ledger.settings
    chance = chance_of(settings.seed, task.spec.task_id, attempt.number)
    decision = next_step(failure, history, settings, chance)
    if task.in_flight and failure.fault not in HOPELESS:
        pass  # its twin goes on
    elif decision.step is Step.DEAD:
        _die(ledger, task, failure)
    else:
        _try_again(ledger, attempt, decision)
    # Last, since it may take the device out, which moves other jobs' tasks.
    if at_device and failure.code not in ledger.settings.refusal_codes:
        _blame(ledger, attempt.worker.device, task.job, failure, fast)


def hand_over(ledger: Ledger, attempt: Attempt) -> None:
    """An attempt is withdrawn through no fault of its task, which goes back to the queue at once.

    A result that arrives all the same is welcome. The place of the attempt is the caller's business.
    """
    task = attempt.task
    remember_lost(task, attempt)
    if not task.in_flight:
        ledger.move_task(task, TaskEvent.HANDED_OVER)
        ledger.enqueue(task)


def sweep(ledger: Ledger) -> None:
    """Attempts that did not end in time are stopped, workers that do not stop are replaced, stranded jobs rescued."""
    grace_s = ledger.settings.stop_grace_s
    for attempt in list(ledger.attempts.values()):
        if attempt.stop_by is not None:
            if ledger.now >= attempt.stop_by:
                attempt.stop_by = ledger.now + 2 * grace_s
                reason = f"did not stop task {attempt.task.spec.task_id}"
                ledger.out.append(ReplaceWorker(worker_id=attempt.worker.spec.worker_id, reason=reason))
        elif attempt.begun_at is not None and ledger.now >= attempt.begun_at + attempt.timeout_s + grace_s:
            _time_out(ledger, attempt)
    rescue_pinned(ledger)


def _time_out(ledger: Ledger, attempt: Attempt) -> None:
    ledger.stop(attempt)
    attempt.task.timeouts += 1
    remember_lost(attempt.task, attempt)
    detail = f"no result within {attempt.timeout_s:.0f} s on {attempt.worker.spec.worker_id}"
    give_up(ledger, attempt, Failure(code="task_timeout", fault=Fault.DEVICE, detail=detail))


def remember_lost(task: Task, attempt: Attempt) -> None:
    """A late result of the attempt would still be valid."""
    task.lost = task.lost or {}
    task.lost[attempt.number] = attempt.worker.spec.worker_id


def open_circuit(ledger: Ledger, device: Device, why: str) -> None:
    """Takes a device out; a canary may bring it back later."""
    due = device.open(ledger.now, ledger.settings)
    ledger.shape.changed()
    ledger.call_at(due, retest, device)
    ledger.alert("device_out", f"{device.device_id}: {why}; next test in {due - ledger.now:.0f} s")


def retest(ledger: Ledger, device: Device) -> None:
    """The cool-down of a device is over, or its canary kept silent: the circuit takes its next step."""
    if ledger.now < device.changes_at or device.takes_work():
        return
    if device.circuit is Circuit.HALF_OPEN:
        device.try_out()
        ledger.shape.changed()
    elif check_device(ledger, device):
        ledger.call_at(device.half_open(ledger.now, ledger.settings), retest, device)
        ledger.shape.changed()


def check_device(ledger: Ledger, device: Device) -> bool:
    """Asks for a canary through one of the device's workers. False when it has none."""
    if not device.workers:
        return False
    device.asked_at = ledger.now
    ledger.out.append(CheckDevice(device_id=device.device_id, worker_id=min(device.workers)))
    return True


def _late_result(ledger: Ledger, event: TaskDone) -> None:
    task = ledger.tasks.get(event.task_id)
    if task is None or task.state is TaskState.DONE or task.lost is None:
        return
    if task.lost.get(event.attempt) == event.worker_id:
        _succeed(ledger, task)


def _succeed(ledger: Ledger, task: Task) -> None:
    job = task.job
    for other in task.in_flight:
        ledger.stop(other)
    if task.bit:
        ledger.withdraw(task)
    task.lost = None
    task.failure = None
    ledger.move_task(task, TaskEvent.SUCCEEDED)
    ledger.queue.add_work(job.leaf, -task.predicted_s)
    job.done_count += 1
    for dependent in task.dependents or ():
        dependent.open_needs -= 1
        if dependent.open_needs == 0 and dependent.state is TaskState.BLOCKED:
            ledger.move_task(dependent, TaskEvent.NEEDS_MET, save=False)
            ledger.enqueue(dependent)
    finish_if_complete(ledger, job)


def _try_again(ledger: Ledger, attempt: Attempt, decision: Decision) -> None:
    task = attempt.task
    ledger.move_task(task, TaskEvent.FAILED)
    if decision.step is Step.CONFINED:
        _isolate(ledger, task, attempt.backend)
    elif decision.step is Step.NEXT_BACKEND or (decision.step is Step.ELSEWHERE and not _has_elsewhere(ledger, task)):
        _drop_backend(ledger, task, attempt.backend)
    if decision.delay_s > 0.0:
        ledger.call_at(ledger.now + decision.delay_s, _due, task)
    else:
        _due(ledger, task)


def _isolate(ledger: Ledger, task: Task, backend: str) -> None:
    """The task's next try is its last: in a confined slot, on the CPU if its job may use that."""
    job = task.job
    task.confined = True
    detail = f"task {task.spec.task_id} killed {task.deaths} workers; one last try, confined"
    ledger.alert("poison_suspected", detail)
    encoder = ledger.encoder_of("cpu")
    on_cpu = "cpu" in permitted_backends(task.spec, job.gpu) and ledger.offered("cpu")
    if task.spec.kind is TaskKind.SEGMENT and on_cpu and job.encoder != encoder:
        _tell_fall_back(ledger, job, backend, "cpu", task.failure)
        switch_encoder(ledger, job, encoder)


def _due(ledger: Ledger, task: Task) -> None:
    if task.state is TaskState.WAITING_RETRY and ledger.tasks.get(task.spec.task_id) is task:
        ledger.move_task(task, TaskEvent.DUE, save=False)
        ledger.enqueue(task)


def _die(ledger: Ledger, task: Task, failure: Failure) -> None:
    for other in task.in_flight:
        ledger.stop(other)
    ledger.move_task(task, TaskEvent.DIED)
    if failure.fault not in HOPELESS:
        name = "poison_task" if task.confined else "task_dead"
        ledger.alert(name, f"task {task.spec.task_id} of job {task.job.job_id}: {failure.code}: {failure.detail}")
    finish(ledger, task.job, JobEvent.FAILED, failure)


def _elapsed_s(ledger: Ledger, attempt: Attempt) -> float:
    return 0.0 if attempt.begun_at is None else ledger.now - attempt.begun_at


def _blame(ledger: Ledger, device: Device, job: Job, failure: Failure, fast: bool) -> None:
    why = device.failed(job.job_id, fast=fast, settings=ledger.settings)
    if why is not None:
        open_circuit(ledger, device, why)
    elif failure.code in ledger.settings.fence_codes and device.circuit is Circuit.CLOSED:
        _fence(ledger, device, failure)
    elif device.asked_at is None or ledger.now > device.asked_at + ledger.settings.check_timeout_s:
        check_device(ledger, device)


def _fence(ledger: Ledger, device: Device, failure: Failure) -> None:
    """One such failure says that the device is ill, not the task: a canary must pass before it gets work again."""
    if check_device(ledger, device):
        ledger.call_at(device.half_open(ledger.now, ledger.settings), retest, device)
        ledger.shape.changed()
        ledger.alert("device_fenced", f"{device.device_id}: {failure.code}; it is tested now")


def _watch_speed(ledger: Ledger, device: Device) -> None:
    """Takes out a device that became slow while another of its kind did not."""
    speed = device.median_speed()
    limit = ledger.settings.slow_ratio
    if speed is None or speed < limit:
        return
    for other in ledger.devices.values():
        if other is not device and other.takes_work() and other.backends & device.backends:
            other_speed = other.median_speed()
            if other_speed is not None and other_speed < limit / 2:
                open_circuit(ledger, device, f"{speed:.1f} times slower than predicted, while others are not")
                return


def _has_elsewhere(ledger: Ledger, task: Task) -> bool:
    requirement = requirement_of(task.spec, ledger.allowed_backends(task), excluded=task.failed_devices)
    return has_other_device(ledger.devices, requirement)


def _drop_backend(ledger: Ledger, task: Task, backend: str) -> None:
    """The task's job uses a backend no more, if it has another. That may change its encoder: see `switch_encoder`."""
    job = task.job
    if task.spec.kind is not TaskKind.SEGMENT:
        return
    left = [
        other
        for other in permitted_backends(task.spec, job.gpu)
        if other != backend and other not in job.dropped and ledger.offered(other)
    ]
    if not left:
        return
    job.dropped |= {backend}
    _tell_fall_back(ledger, job, backend, left[0], task.failure)
    if not any(ledger.encoder_of(other) == job.encoder for other in left):
        switch_encoder(ledger, job, ledger.encoder_of(left[0]))


def _tell_fall_back(ledger: Ledger, job: Job, given_up: str, to: str, failure: Failure | None) -> None:
    """Its owner and the operators learn that a job goes on with less than it began with."""
    reason, detail = (failure.code, failure.detail) if failure is not None else ("device_gone", "its devices are gone")
    ledger.out.append(FellBack(job_id=job.job_id, given_up=given_up, to=to, reason=reason, detail=detail))


def switch_encoder(ledger: Ledger, job: Job, encoder: str) -> None:
    """All segments of the job come from another encoder from now on; those that are done are done again.

    Segments of two encoders cannot share an init segment, so this is what a rescue on another backend costs.
    """
    detail = f"job {job.job_id}: from {job.encoder} to {encoder}; its segments are encoded again"
    ledger.alert("encoder_switched", detail)
    pin(ledger, job, encoder)
    ledger.save_job(job)
    segments = [task for task in job.tasks if task.spec.kind is TaskKind.SEGMENT]
    ledger.reconsider(job, [task for task in segments if task.state is TaskState.READY])
    for task in segments:
        ledger.void(task)
        if task.state is TaskState.DONE:
            _reopen(ledger, task)
        elif task.state is TaskState.RUNNING:
            ledger.move_task(task, TaskEvent.HANDED_OVER)
            ledger.enqueue(task)


def rescue_pinned(ledger: Ledger) -> None:
    """Jobs whose encoder had no device for a while go on with another encoder, if they may use one that is there."""
    for encoder, jobs in ledger.pinned.items():
        if not jobs or any(
            ledger.encoder_of(backend) == encoder
            for device in ledger.devices.values()
            if device.can_be_waited_for()
            for backend in device.backends
        ):
            ledger.missing.pop(encoder, None)
        else:
            ledger.missing.setdefault(encoder, ledger.now)
    for encoder, since in list(ledger.missing.items()):
        if ledger.now >= since + ledger.settings.device_return_s:
            for job in list(ledger.pinned[encoder].values()):
                other = _other_encoder(ledger, job)
                if other is not None:
                    _tell_fall_back(ledger, job, encoder, other, None)
                    switch_encoder(ledger, job, other)


def _other_encoder(ledger: Ledger, job: Job) -> str | None:
    """An encoder that is there and that the job may still use, other than its own."""
    segment = next((task for task in job.tasks if task.spec.kind is TaskKind.SEGMENT), None)
    lanes = permitted_backends(segment.spec, job.gpu) if segment is not None else ()
    usable = (ledger.encoder_of(name) for name in lanes if name not in job.dropped and ledger.offered(name))
    return next((encoder for encoder in usable if encoder != job.encoder), None)


def _reopen(ledger: Ledger, task: Task) -> None:
    """A task that is done is to be done again, and so is what was made of its result."""
    job = task.job
    ledger.move_task(task, TaskEvent.REOPENED)
    ledger.queue.add_work(job.leaf, task.predicted_s)
    job.done_count -= 1
    ledger.enqueue(task)
    for dependent in task.dependents or ():
        _block(ledger, dependent)


def _block(ledger: Ledger, task: Task) -> None:
    """One more of a task's needs is open: it must not run, and what runs of it is of no use."""
    task.open_needs += 1
    ledger.void(task)
    if task.state is TaskState.DONE:
        _reopen(ledger, task)
    if task.state is TaskState.RUNNING:
        ledger.move_task(task, TaskEvent.NEEDS_REOPENED)
    elif task.state is TaskState.READY:
        ledger.withdraw(task)
        ledger.move_task(task, TaskEvent.NEEDS_REOPENED)
    elif task.state is TaskState.WAITING_RETRY:
        ledger.move_task(task, TaskEvent.NEEDS_REOPENED)
