"""The only door: events go in, instructions come out.

    scheduler = Scheduler(SchedulerSettings())
    for event in events:
        for instruction in scheduler.handle(event):
            carry_out(instruction)

The engine is deterministic: the same events in the same order give the same instructions. So a logged incident replays
as a test, and the simulator in benchmarks/ runs this very code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from scheduler import events, fleet, intake, outcomes
from scheduler.assign import assign, note_begun, start_twins
from scheduler.audit import audit
from scheduler.calibration import Calibration, stage_of
from scheduler.events import Event
from scheduler.explain import explain, to_go_s
from scheduler.instructions import FinishJob, Instruction
from scheduler.jobs import JobState
from scheduler.ledger import Ledger
from scheduler.outlook import Outlook
from scheduler.reports import Explanation, SchedulerStats
from scheduler.scaling import ask_for_workers
from scheduler.settings import SchedulerSettings
from scheduler.stats import gather_stats

SWEEP_EVERY_S = 1.0
"""How often what runs is looked through for timeouts and stragglers; linear in the slots."""

NOTE_EVERY_S = 5.0
"""How often an estimate is noted, to learn from when its job is over; linear in users and slots."""


def _tick(_ledger: Ledger, _event: events.Tick) -> None:
    """Nothing but time went by; timers are fired after every event."""


_HANDLERS: dict[type, Callable[[Ledger, Any], None]] = {
    events.JobSubmitted: intake.submit,
    events.TasksAdded: intake.add_tasks,
    events.CancelRequested: intake.cancel,
    events.JobReprioritised: intake.reprioritise,
    events.JobPaused: intake.pause,
    events.JobResumed: intake.resume,
    events.WorkerJoined: fleet.join,
    events.WorkerLost: fleet.lost,
    events.WorkerDraining: fleet.drain,
    events.DeviceChecked: fleet.device_checked,
    events.TaskDone: outcomes.done,
    events.TaskFailed: outcomes.failed,
    events.Tick: _tick,
}


class Scheduler:
    """Decides whose task is next, where it runs, and what happens after a failure. Not thread-safe: one owner."""

    def __init__(self, settings: SchedulerSettings) -> None:
        self._ledger = Ledger(settings)
        self._outlook: Outlook | None = None
        self._calibration = Calibration()
        self._in_turn: Iterator[str] = iter(())
        self._note_at = 0.0

    def handle(self, event: Event) -> list[Instruction]:
        """What must be done now that this happened.

        Time never runs backwards: an event with an earlier `at` than one before counts as happening at that one's time.
        An event that does not fit (late, doubled, unknown) changes nothing but the time.
        """
        return self.handle_all((event,))

    def handle_all(self, happened: Iterable[Event]) -> list[Instruction]:
        """What must be done now that all of this happened, in this order; as `handle`, but one decision for all.

        No slot is given away before everything is taken in. Else the slot on which a source was inspected would go to
        somebody else's work a moment before the tasks of that source are known, whoever's turn it is.
        """
        ledger = self._ledger
        self._outlook = None
        ledger.out = []
        for event in happened:
            ledger.now = max(ledger.now, event.at)
            _HANDLERS[type(event)](ledger, event)
            note_begun(ledger)
        ledger.fire_timers()
        sweeps = ledger.now >= ledger.sweep_at
        if sweeps:
            ledger.sweep_at = ledger.now + SWEEP_EVERY_S
            outcomes.sweep(ledger)
        assign(ledger)
        if sweeps:
            start_twins(ledger)
            ask_for_workers(ledger)
        self._learn()
        return ledger.out

    def _learn(self) -> None:
        """Compare noted estimates of jobs that are over with the truth; now and then note one of the next live job."""
        ledger, calibration = self._ledger, self._calibration
        for instruction in ledger.out:
            if isinstance(instruction, FinishJob):
                if instruction.state is JobState.COMPLETED:
                    calibration.learn(instruction.job_id, ledger.now)
                else:
                    calibration.forget(instruction.job_id)
        if ledger.now < self._note_at or not ledger.jobs:
            return
        self._note_at = ledger.now + NOTE_EVERY_S
        job_id = next(self._in_turn, None)
        if job_id is None:
            self._in_turn = iter(tuple(ledger.jobs))
            calibration.keep_only(ledger.jobs)
            job_id = next(self._in_turn)
        job = ledger.jobs.get(job_id)
        if job is not None:
            self._outlook = Outlook(ledger)
            if (seconds := to_go_s(ledger, self._outlook, job)) is not None:
                calibration.note(job_id, stage_of(job), ledger.now, seconds)

    def stats(self) -> SchedulerStats:
        """Numbers about the whole farm; linear in slots and devices, not in jobs."""
        return gather_stats(self._ledger)

    def explain(self, job_id: str, at: float) -> Explanation | None:
        """Why a job waits and until when; None when no such job lives.

        The first after an event is linear in users and slots; more of them without an event in between are
        logarithmic, plus the tasks of the job.

        Args:
            at: now, on the events' clock.
        """
        ledger = self._ledger
        job = ledger.jobs.get(job_id)
        if job is None:
            return None
        self._outlook = self._outlook or Outlook(ledger)
        before = ledger.now
        ledger.now = max(before, at)
        try:
            return explain(ledger, self._outlook, job, self._calibration)
        finally:
            ledger.now = before

    def validate(self) -> None:
        """Checks the books against each other; linear in their size. Raises AssertionError on a broken invariant."""
        audit(self._ledger)
