"""How long anyone waits at most, stated and proven; as functions, for tests, the simulator and capacity plans.

Terms. L: largest predicted cost of a task, e: largest |actual - predicted|, both in engine-seconds; K: slots.
D = L + K*e. Services are as charged by `fairness.FairQueue`. All statements are about work that the same slots can run,
and about a farm whose `credit_s` is at least D (then `FairQueue.take` never forfeits anybody's due).

1.  Sharing. While members f and g of a level (tiers of the farm, or users of a tier) both have work to start, their
    services over any interval differ by |W_f/w_f - W_g/w_g| <= 2*D/min(w_f, w_g).

    Proof. Let d = c_f - c_g, the difference of their counters. A task of f starts only when c_f <= c_g, so just after
    d <= L/w_f. From then on, until f starts another, d can rise only by corrections of tasks in flight at that moment:
    at most K, at most e each. (A task of g that starts later lowers d by its prediction first and by its actual cost in
    the end: never more than it lowered is given back.) So d <= L/w_f + K*e/min(w_f, w_g) <= D/min(w_f, w_g), always;
    by symmetry d >= -D/min(w_f, w_g). Neither is lifted while both have work, so the services of the interval differ
    by the change of d over it: at most 2*D/min(w_f, w_g). QED. This is theorem 4.4 of VTC (arXiv 2401.00588) with
    predictions: without them (e = 0) the bound is 2*L/min(w), and no scheduler that keeps all slots busy and does not
    interrupt tasks can do better than half of that.

2.  Nobody starves. While f, with work to start, is served X, another member g is served at most
    w_g*(X/w_f + 2*D/min(w_f, w_g) + B_g), B_g being g's burst (tiers only; users have none), however often g goes
    idle and comes back.

    Proof. Counters rise by service/weight, and lifts only raise them. At the beginning c_g >= c_f - D/min(w_f, w_g) -
    B_g: by (1), or since g comes back later and is then lifted to within B_g of the smallest counter with work, c_f
    included. At the end of each task of g, c_g <= c_f + D/min(w_f, w_g), again by (1). So c_g rose by no more than c_f
    did, X/w_f, plus the two margins; and its service is at most its rise times w_g. QED. (A burst is not renewed by
    going idle: the lift never lowers a counter, so it must first be earned back by others being served.)

3.  Own jobs. A job with work R and weight w has started its last task before its user was served more than
    A + 2*R*W/w + L since it came: A is what was left then of the user's jobs with smaller finish tags, W the largest
    total weight of the user's live jobs since.

    Proof. Its tag is F = v_0 + R/w. Only jobs with tags <= F go before it: those that were there (A), itself, and
    newcomers k that came at v_k in [v_0, F), of work w_k*(F_k - v_k) <= w_k*(F - v_0). While v < F the user is served
    at most W*(F - v_0) = R*W/w in all, since v moves by at least x/W per x served. Once v >= F every newcomer goes
    behind. What is then left ahead is at most A, and of each live newcomer and of itself w_k*(F - v_0): together
    A + W*(F - v_0). Add the task that was in service. QED. Processor sharing would give it R*W/w: so a job waits for
    what was there, plus at most twice its fair turn; a burst of its owner's small jobs cannot hold it longer.

4.  Time. The three chained: `wait_bound_s`.
"""

from __future__ import annotations

from collections.abc import Mapping

from scheduler.jobs import Tier
from scheduler.settings import SchedulerSettings


def burst_of(tier: Tier, settings: SchedulerSettings, slots: int) -> float:
    """How far behind the others a tier starts when it comes back from idleness, in engine-seconds per weight."""
    return settings.tier_bursts_s.get(tier, 0.0) * (1.0 + slots / sum(settings.tier_weights.values()))


def share_gap_bound_s(weight: float, other_weight: float, *, deviation_s: float, burst_s: float = 0.0) -> float:
    """(1) and (2): the most by which services per weight of two members may differ, in engine-seconds.

    Args:
        deviation_s: D.
        burst_s: of the one that may be ahead, if it was idle before or goes idle in between.
    """
    return 2.0 * deviation_s / min(weight, other_weight) + burst_s


def own_jobs_bound_s(
    job_s: float, *, ahead_s: float, live_weight: float, weight: float = 1.0, largest_task_s: float
) -> float:
    """(3): engine-seconds that a job's user is served, at most, before the job's last task starts."""
    return ahead_s + 2.0 * job_s * live_weight / weight + largest_task_s


def wait_bound_s(
    tier: Tier,
    own_s: float,
    *,
    users: int,
    tier_weights: Mapping[Tier, float],
    largest_task_s: float,
    slots: int,
    error_s: float = 0.0,
    bursts_s: Mapping[Tier, float] | None = None,
    pace: float = 1.0,
) -> float:
    """(4): seconds until a user of a tier was served `own_s` engine-seconds, at most, whatever the load.

    `own_s` is what (3) says; the largest task, for the first task of a user's only job. Users of the tier get as much
    by (2), then the other tiers by their weights; the farm serves it all at K*pace engine-seconds per second, since no
    slot idles while work waits; and one task per slot may have been in service before.

    Args:
        users: users of the tier with work in the time considered, this one included.
        error_s: largest |actual - predicted| engine-seconds of a task.
        bursts_s: per tier, as `burst_of` gives them; None = none.
        pace: engine-seconds that a slot serves per second.
    """
    deviation_s = largest_task_s + slots * error_s
    weight = tier_weights[tier]
    tier_s = own_s + (users - 1) * (own_s + share_gap_bound_s(1.0, 1.0, deviation_s=deviation_s))
    farm_s = tier_s
    for other, other_weight in tier_weights.items():
        if other is not tier:
            burst_s = (bursts_s or {}).get(other, 0.0)
            gap_s = share_gap_bound_s(weight, other_weight, deviation_s=deviation_s, burst_s=burst_s)
            farm_s += other_weight * (tier_s / weight + gap_s)
    return (farm_s / slots + largest_task_s + error_s) / pace
