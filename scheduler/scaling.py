"""When more slots would help, and how many: the queue's work against what the farm serves in an acceptable time.

The rule follows the queue, not utilisation: a full farm with a short queue is what one pays for, and a queue that
grows is late already. Work of jobs that wait for an operator (paused) or for a device to be healed counts as well:
asking is cheap, and whoever carries it out knows the limits.
"""

from __future__ import annotations

from math import ceil

from scheduler.instructions import AskForWorkers
from scheduler.ledger import Ledger


def ask_for_workers(ledger: Ledger) -> None:
    """Says how many slots more would bring the queue below `ask_after_s`; says so again while it holds, and its end."""
    limit_s = ledger.settings.ask_after_s
    if limit_s is None or (ledger.asked_at is not None and ledger.now < ledger.asked_at + ledger.settings.ask_every_s):
        return
    wanted = _wanted(ledger, limit_s)
    if not wanted and not ledger.asked_for:
        return
    ledger.asked_at = ledger.now
    ledger.asked_for = wanted
    waiting = ledger.queue.mask()
    backends = {name for bit, need in ledger.index.by_bit.items() if bit & waiting for name in need.backends}
    ledger.out.append(AskForWorkers(count=wanted, backends=tuple(sorted(backends))))


def _wanted(ledger: Ledger, limit_s: float) -> int:
    """Slots that are missing; 0 while some slot is idle or nothing waits."""
    if ledger.idle or not ledger.queue.mask():
        return 0
    work_s = sum(tier.work_s for tier in ledger.queue.tiers.values())
    slots = len(ledger.workers)
    if slots and work_s <= limit_s * slots * ledger.pace:
        return 0
    return max(1, ceil(work_s / (limit_s * ledger.pace)) - slots)
