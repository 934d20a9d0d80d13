"""The order of the queue, and its bounds (scheduler/bounds.py) over random loads."""

from __future__ import annotations

import random
from heapq import heappop, heappush

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.bounds import own_jobs_bound_s, share_gap_bound_s, wait_bound_s
from scheduler.fairness import SWEEP_USERS, FairQueue, JobLeaf, bits_of
from scheduler.jobs import Tier

WEIGHTS = {Tier.PAID: 8.0, Tier.VERIFIED: 3.0, Tier.FREE: 1.0}
ALL = 1


def queue(credit_s: float = 1e9) -> FairQueue:
    return FairQueue(WEIGHTS, credit_s)


def add(fair: FairQueue, job: str, tasks: int = 1, cost: float = 1.0, **more: object) -> JobLeaf:
    """A job of so many equal tasks, all ready."""
    leaf = fair.add(job, more.pop("tier", Tier.FREE), more.pop("user", "u"), total_s=tasks * cost, **more)
    for index in range(tasks):
        fair.push(leaf, ALL, (0.0, index), f"{job}/{index}")
    return leaf


def serve(fair: FairQueue, cost: float = 1.0, mask: int = ALL) -> str:
    """Takes and charges the next task; its job."""
    taken = fair.take(mask)
    assert taken is not None
    fair.charge(taken[0], cost)
    fair.validate()
    return taken[0].job_id


def test_bits_of_a_mask() -> None:
    assert list(bits_of(0b1011)) == [1, 2, 8]
    assert list(bits_of(0)) == []


def test_an_empty_queue_has_nobody() -> None:
    fair = queue()
    assert fair.take(ALL) is None
    assert fair.mask() == 0


def test_tiers_share_by_weight() -> None:
    fair = queue()
    for tier in Tier:
        add(fair, tier, 240, tier=tier)
    served = [serve(fair) for _ in range(240)]
    assert [served.count(tier) for tier in Tier] == [160, 60, 20]


def test_users_of_a_tier_share_equally_however_many_jobs_they_have() -> None:
    fair = queue()
    for index in range(50):
        add(fair, f"many{index}", 2, user="many")
    add(fair, "one", 20, user="one")
    served = [serve(fair) for _ in range(20)]
    assert served.count("one") == 10


def test_idleness_earns_nothing() -> None:
    fair = queue()
    add(fair, "busy", 200, user="busy")
    add(fair, "early", 1, user="late")
    for _ in range(100):
        serve(fair)
    add(fair, "late", 50, user="late")
    served = [serve(fair) for _ in range(20)]
    assert 9 <= served.count("late") <= 11


def test_a_tier_that_was_idle_earns_nothing() -> None:
    fair = queue()
    add(fair, "free", 500)
    for _ in range(100):
        serve(fair)
    add(fair, "verified", 500, tier=Tier.VERIFIED)
    served = [serve(fair) for _ in range(40)]
    assert served.count("free") == pytest.approx(10, abs=1)


def test_a_prediction_that_took_too_much_is_given_back() -> None:
    fair = queue()
    leaf = add(fair, "a", 9, user="a")
    add(fair, "b", 9, user="b")
    assert serve(fair, cost=5.0) == "a"
    fair.charge(leaf, -4.5)
    assert [serve(fair) for _ in range(3)] == ["b", "a", "b"]


def test_one_whose_work_could_not_run_catches_up_within_its_credit() -> None:
    fair = queue(credit_s=5.0)
    gpu = fair.add("gpu", Tier.FREE, "gpu-user", total_s=100.0)
    for index in range(100):
        fair.push(gpu, 2, (0.0, index), f"gpu/{index}")
    add(fair, "cpu", 200, user="cpu-user")
    for _ in range(100):
        assert serve(fair, mask=1) == "cpu"
    served = [serve(fair, mask=3) for _ in range(20)]
    assert served[:5] == ["gpu"] * 5
    assert 11 <= served.count("gpu") <= 14


def test_a_task_is_taken_only_for_a_slot_that_suits_it() -> None:
    fair = queue()
    leaf = fair.add("a", Tier.FREE, "u", total_s=3.0)
    fair.push(leaf, 1, (0.0, 2), "late")
    fair.push(leaf, 4, (0.0, 1), "soon")
    assert fair.mask() == 5
    assert fair.take(2) is None
    assert fair.take(1) == (leaf, 1, "late")
    assert fair.take(5) == (leaf, 4, "soon")
    assert fair.mask() == 0
    fair.validate()


def test_within_a_job_the_smallest_order_comes_first_over_all_classes() -> None:
    fair = queue()
    leaf = fair.add("a", Tier.FREE, "u", total_s=3.0)
    fair.push(leaf, 1, (0.0, 2), "second")
    fair.push(leaf, 4, (0.0, 1), "first")
    assert fair.take(5) == (leaf, 4, "first")


def test_the_owners_job_that_would_end_first_goes_first() -> None:
    fair = queue()
    add(fair, "long", 10)
    add(fair, "short", 2)
    assert [serve(fair) for _ in range(3)] == ["short", "short", "long"]


def test_a_job_that_turns_out_larger_moves_back() -> None:
    fair = queue()
    first = add(fair, "a", 2)
    add(fair, "b", 3)
    fair.resize(first, 10.0)
    assert serve(fair) == "b"


def test_a_job_waits_no_longer_for_its_owners_newer_ones_once_its_turn_came() -> None:
    fair = queue()
    old = add(fair, "old", 3)
    small = 0
    for index in range(100):
        leaf = add(fair, f"small{index}", 1)
        if serve(fair) == "old":
            break
        small += 1
        fair.remove(leaf)
    assert small <= 2 * old.total_s * 2 + 1


def test_pausing_hides_a_job_and_its_owner() -> None:
    fair = queue()
    leaf = add(fair, "a", 2)
    fair.pause(leaf)
    fair.validate()
    assert fair.take(ALL) is None
    fair.push(leaf, ALL, (0.0, 9), "a/9")
    assert fair.take(ALL) is None
    fair.resume(leaf)
    assert serve(fair) == "a"


def test_a_moved_job_takes_its_ready_tasks_along() -> None:
    fair = queue()
    leaf = add(fair, "a", 3)
    serve(fair)
    fair.add_work(leaf, -1.0)
    moved = fair.move(leaf, Tier.PAID, 2.0)
    assert moved.user.tier.tier is Tier.PAID
    assert moved.work_s == pytest.approx(2.0)
    assert fair.tiers[Tier.FREE].work_s == pytest.approx(0.0)
    assert serve(fair) == "a"
    assert fair.is_next(moved)


def test_who_is_next() -> None:
    fair = queue()
    first = add(fair, "a", 2, user="a")
    second = add(fair, "b", 2, user="b")
    idle = fair.add("c", Tier.FREE, "c")
    assert fair.is_next(first)
    assert not fair.is_next(second)
    assert not fair.is_next(idle)


def test_a_discarded_task_is_not_taken() -> None:
    fair = queue()
    leaf = add(fair, "a", 2)
    fair.discard(leaf, ALL, "a/0")
    taken = fair.take(ALL)
    assert taken is not None
    assert taken[2] == "a/1"
    fair.push(leaf, ALL, (0.0, 5), "a/5")
    fair.discard(leaf, ALL, "a/5")
    assert fair.mask() == 0
    fair.validate()


def test_users_without_jobs_are_forgotten() -> None:
    fair = queue()
    for index in range(4 * SWEEP_USERS):
        leaf = add(fair, f"j{index}", 1, user=f"u{index}")
        serve(fair)
        fair.remove(leaf)
    assert len(fair.tiers[Tier.FREE].users) <= SWEEP_USERS + 1


def test_dead_entries_do_not_pile_up() -> None:
    fair = queue()
    leaves = [add(fair, f"j{index}", 5, user=f"u{index}") for index in range(20)]
    for _ in range(2000):
        for leaf in leaves:
            fair.charge(leaf, 0.1)
    assert len(fair.tiers[Tier.FREE].level.heaps[ALL]) <= 3 * 20 + 17


class Load:
    """Slots that serve a queue; costs are predicted with an error. Jobs are all there from the start, or arrive."""

    def __init__(self, seed: int, *, slots: int, largest_s: float, error_s: float) -> None:
        self.chance = random.Random(seed)
        self.fair = queue()
        self.slots = slots
        self.largest_s = largest_s
        self.error_s = error_s
        self.now = 0.0
        self.free_at = [(0.0, index) for index in range(slots)]
        self.ends: list[tuple[float, int, JobLeaf, float]] = []
        self.started: dict[str, list[float]] = {}
        self.served: dict[str, float] = {}
        self.left: dict[str, int] = {}
        self.count = 0

    def submit(self, job: str, tasks: int, **more: object) -> JobLeaf:
        costs = [self.chance.uniform(0.1, self.largest_s) for _ in range(tasks)]
        leaf = self.fair.add(job, more.pop("tier", Tier.FREE), more.pop("user", job), total_s=sum(costs), **more)
        for index, cost in enumerate(costs):
            self.fair.push(leaf, ALL, (0.0, index), f"{job}/{index}/{cost}")
        self.left[job] = tasks
        return leaf

    def step(self) -> str | None:
        """A slot frees and takes the next task; None when nothing waits."""
        free_at, slot = heappop(self.free_at)
        self.now = max(self.now, free_at)
        while self.ends and self.ends[0][0] <= self.now:
            _, _, leaf, correction = heappop(self.ends)
            self.fair.charge(leaf, correction)
            self.served[leaf.job_id] += correction
        taken = self.fair.take(ALL)
        if taken is None:
            heappush(self.free_at, (free_at, slot))
            return None
        leaf, _, name = taken
        predicted = float(name.rsplit("/", 1)[1])
        actual = max(0.01, predicted + self.chance.uniform(-self.error_s, self.error_s))
        self.fair.charge(leaf, predicted)
        self.served[leaf.job_id] = self.served.get(leaf.job_id, 0.0) + predicted
        self.started.setdefault(leaf.job_id, []).append(self.now)
        self.left[leaf.job_id] -= 1
        self.count += 1
        heappush(self.ends, (self.now + actual, self.count, leaf, actual - predicted))
        heappush(self.free_at, (self.now + actual, slot))
        return leaf.job_id


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**32),
    slots=st.integers(1, 12),
    users=st.integers(2, 6),
    error_s=st.sampled_from((0.0, 1.0, 4.0)),
)
def test_users_with_work_are_served_alike(seed: int, slots: int, users: int, error_s: float) -> None:
    load = Load(seed, slots=slots, largest_s=5.0, error_s=error_s)
    names = [f"u{index}" for index in range(users)]
    for name in names:
        load.submit(name, 80)
    deviation_s = 5.0 + slots * error_s
    bound_s = share_gap_bound_s(1.0, 1.0, deviation_s=deviation_s)
    past: list[dict[str, float]] = []
    while all(load.left[name] for name in names):
        load.step()
        past.append({name: load.served.get(name, 0.0) for name in names})
    for since in past[:: max(1, len(past) // 8)]:
        for until in past[:: max(1, len(past) // 40)]:
            gained = [until[name] - since[name] for name in names]
            assert max(gained) - min(gained) <= bound_s + 1e-6


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32), slots=st.integers(1, 8), error_s=st.sampled_from((0.0, 2.0)))
def test_tiers_with_work_are_served_by_weight(seed: int, slots: int, error_s: float) -> None:
    load = Load(seed, slots=slots, largest_s=5.0, error_s=error_s)
    for tier in Tier:
        load.submit(tier, 120, tier=tier)
    deviation_s = 5.0 + slots * error_s
    while all(load.left[tier] for tier in Tier):
        load.step()
        served = {tier: load.served.get(tier, 0.0) for tier in Tier}
        for one in Tier:
            for two in Tier:
                gap = served[one] / WEIGHTS[one] - served[two] / WEIGHTS[two]
                bound_s = share_gap_bound_s(WEIGHTS[one], WEIGHTS[two], deviation_s=deviation_s)
                assert abs(gap) <= bound_s + 1e-6


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32))
def test_a_job_is_held_by_its_owners_others_no_longer_than_stated(seed: int) -> None:
    load = Load(seed, slots=1, largest_s=3.0, error_s=0.0)
    chance = load.chance
    for index in range(chance.randint(0, 5)):
        load.submit(f"before{index}", chance.randint(1, 20), user="u")
    for _ in range(chance.randint(0, 20)):
        load.step()
    user_leaves = load.fair.tiers[Tier.FREE].users
    mine = load.submit("mine", chance.randint(1, 8), user="u")
    job_s = mine.total_s
    user = user_leaves["u"]
    ahead_s = sum(
        sum(float(entry[3].rsplit("/", 1)[1]) for entry in leaf.ready)
        for leaf in user.jobs.values()
        if leaf is not mine and leaf.key <= mine.key
    )
    live_weight = user.live_weight
    before_s = load.fair.tiers[Tier.FREE].served_s
    waited_s = 0.0
    for index in range(2000):
        if load.left["mine"] == 0:
            break
        if chance.random() < 0.7:
            load.submit(f"after{index}", chance.randint(1, 2), user="u")
        live_weight = max(live_weight, user.live_weight)
        waited_s = load.fair.tiers[Tier.FREE].served_s - before_s
        job = load.step()
        assert job is not None
        if load.left[job] == 0:
            load.fair.remove(user.jobs[job])
    assert load.left["mine"] == 0
    assert waited_s <= own_jobs_bound_s(job_s, ahead_s=ahead_s, live_weight=live_weight, largest_task_s=3.0) + 1e-6


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 2**32),
    slots=st.integers(1, 8),
    error_s=st.sampled_from((0.0, 1.0)),
    burst_s=st.sampled_from((0.0, 20.0)),
)
def test_nobody_waits_longer_than_stated_under_any_load(seed: int, slots: int, error_s: float, burst_s: float) -> None:
    load = Load(seed, slots=slots, largest_s=4.0, error_s=error_s)
    load.fair.tiers[Tier.PAID].burst_s = burst_s
    chance = load.chance
    users = chance.randint(1, 5)
    for index in range(users - 1):
        load.submit(f"f{index}", 200)
    for index in range(chance.randint(0, 4)):
        load.submit(f"v{index}", 200, tier=Tier.VERIFIED)
    for _ in range(chance.randint(0, 60)):
        load.step()
    came = load.now
    load.submit("me", 1)
    bound_s = wait_bound_s(
        Tier.FREE,
        4.0,
        users=users,
        tier_weights=WEIGHTS,
        largest_task_s=4.0,
        slots=slots,
        error_s=error_s,
        bursts_s={Tier.PAID: burst_s},
    )
    paid = 0
    while "me" not in load.started:
        # The worst neighbour: a better tier that goes idle all the time, only to come back with its burst.
        if not load.fair.tiers[Tier.PAID].mask and chance.random() < 0.9:
            paid += 1
            load.submit(f"p{paid}", chance.randint(1, 30), tier=Tier.PAID)
        assert load.step() is not None
    assert load.started["me"][0] - came <= bound_s + 1e-6


def test_a_burst_lets_a_tier_overtake_at_once_but_only_once() -> None:
    fair = queue()
    fair.tiers[Tier.PAID].burst_s = 2.0
    add(fair, "free", 500)
    for _ in range(50):
        serve(fair)
    add(fair, "paid", 100, tier=Tier.PAID)
    first = [serve(fair) for _ in range(16)]
    assert first == ["paid"] * 16
    later = [serve(fair) for _ in range(45)]
    assert later.count("free") == pytest.approx(5, abs=1)


def test_a_tier_begins_with_its_burst() -> None:
    fair = queue()
    fair.tiers[Tier.PAID].burst_s = 2.0
    add(fair, "free", 500)
    add(fair, "paid", 100, tier=Tier.PAID)
    assert [serve(fair) for _ in range(16)] == ["paid"] * 16


def test_the_bound_grows_with_what_it_says() -> None:
    def bound(tier: Tier = Tier.FREE, **changed: float) -> float:
        terms: dict[str, float] = {"users": 10, "largest_task_s": 5.0, "slots": 20, "error_s": 0.1, "pace": 1.0}
        return wait_bound_s(tier, 5.0, tier_weights=WEIGHTS, **{**terms, **changed})  # type: ignore[arg-type]

    assert bound(Tier.PAID) < bound(Tier.VERIFIED) < bound(Tier.FREE)
    assert bound(users=20) > bound()
    assert bound(slots=40, error_s=0.0) < bound(error_s=0.0)
    assert bound(pace=2.0) == pytest.approx(bound() / 2)


def test_a_task_may_be_discarded_while_its_job_is_paused() -> None:
    fair = queue()
    leaf = add(fair, "a", 1)
    fair.pause(leaf)
    fair.discard(leaf, ALL, "a/0")
    fair.resume(leaf)
    fair.validate()
    assert fair.take(ALL) is None


@pytest.mark.parametrize("paused", [False, True])
def test_tasks_of_another_class_keep_their_places(paused: bool) -> None:
    fair = queue()
    leaf, other = add(fair, "a", 4, user="u"), add(fair, "b", 4, user="v")
    for _ in range(3):
        serve(fair)
    keys = leaf.user.key, other.user.key
    if paused:
        fair.pause(leaf)
    fair.reclass(leaf, {f"a/{index}": 2 for index in (2, 3)})
    fair.validate()
    fair.reclass(leaf, dict.fromkeys(("a/2", "a/3"), 4))
    if paused:
        fair.resume(leaf)
    fair.validate()
    assert leaf.mask == 4
    assert (leaf.user.key, other.user.key) == keys
    assert fair.mask() == ALL | 4
    assert [taken[2] for _ in range(2) if (taken := fair.take(4)) is not None] == ["a/2", "a/3"]
    assert fair.mask() == ALL
