"""Numbers about the whole farm, counted from the books."""

from __future__ import annotations

from scheduler.jobs import JobState
from scheduler.ledger import Ledger
from scheduler.reports import SchedulerStats, TierStats


def gather_stats(ledger: Ledger) -> SchedulerStats:
    """Linear in slots, devices and users; not in jobs."""
    return SchedulerStats(
        tiers={
            tier: TierStats(
                jobs={state: ledger.job_counts.get((tier, state), 0) for state in (JobState.QUEUED, JobState.RUNNING)},
                users=sum(1 for user in share.users.values() if user.jobs),
                waiting_s=max(0.0, share.work_s),
                served_s=share.served_s,
                virtual_s=share.key,
            )
            for tier, share in ledger.queue.tiers.items()
        },
        workers=len(ledger.workers),
        draining=sum(1 for worker in ledger.workers.values() if worker.drain_at is not None),
        idle=len(ledger.idle),
        running=len(ledger.attempts),
        twins=sum(1 for attempt in ledger.attempts.values() if attempt.twin),
        stopping=sum(1 for attempt in ledger.attempts.values() if attempt.stopping),
        devices={device_id: str(device.circuit) for device_id, device in ledger.devices.items()},
    )
