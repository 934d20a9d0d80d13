"""Weighted fair queue in engine-seconds: tier -> user -> job; nobody starves, whatever the load.

Two disciplines, one per question:

**Who is next, between tiers and between users** (`TierShare`, `User`): each member has a counter of the service it got,
divided by its weight; the backlogged member with the smallest counter is next, and is charged the *predicted* cost at
once; when a task ends, the difference to the *actual* cost is charged or given back. A member that comes back from
idleness is lifted to the smallest counter of those with work, and at least to the largest that was ever served:
idleness earns nothing, and newcomers, however many, do not overtake who waits. One whose work no slot could run for a
while may catch up `credit_s`, not more, lest it take the farm. This is the Virtual Token Counter (Source: Sheng et al.,
"Fairness in Serving Large Language Models", arXiv 2401.00588) with engine-seconds for tokens and charges that are
predicted first and corrected later. A tier may be granted a burst: it then comes back that much behind the others.

**Which of a user's own jobs** (`User`): the one that would end first if all shared the user's service by weight. A job
gets a finish tag F = v + R/w when it arrives: v is the user's virtual time, which moves by x/W when the user is
served x while jobs of total weight W live; R is the predicted work of the whole job. (Source: Friedman & Henderson,
"Fairness and efficiency in web server protocols", SIGMETRICS 2003: the order in which processor sharing would end jobs,
served one after the other, ends none of them later than sharing does.) So a short job never waits behind a long one of
its owner, and ten thousand equal jobs end one by one instead of all at the very end.

The bounds on sharing and waiting that follow are stated and proven in bounds.py.

Cost: choose, charge, add and remove are O(c log n) with c the number of requirement classes alive (a handful: see
requirements.py), by heaps with lazy deletion whose dead entries never outnumber the live ones by more than two to one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Any, Generic, TypeVar

from scheduler.jobs import Tier

Key = Any  # float for shares, tuple for jobs; comparable within one level
_stamps = count(1)  # order of arrival among equal keys; never decides between unequal ones

SWEEP_USERS = 256
"""Users remembered without jobs before a sweep; then as many again as are left, so a sweep is O(1) per job."""

_Child = TypeVar("_Child", bound="_Member")


def bits_of(mask: int) -> Iterator[int]:
    """The single bits of a mask, lowest first."""
    while mask:
        bit = mask & -mask
        yield bit
        mask ^= bit


class _Member:
    """Something that a level orders by a key.

    Attributes:
        mask: classes (single bits) in which it has work to start; 0 = idle.
        stamp: names its one valid entry per heap; older entries are dead.
    """

    __slots__ = ("key", "mask", "stamp")

    def __init__(self, key: Key) -> None:
        self.key = key
        self.mask = 0
        self.stamp = next(_stamps)


class _Level(Generic[_Child]):
    """Members with work, by key: one heap per class of (key, order, stamp, member); dead entries go when met."""

    __slots__ = ("counts", "heaps")

    def __init__(self) -> None:
        self.heaps: dict[int, list[tuple[Key, int, int, _Child]]] = {}
        self.counts: dict[int, int] = {}

    def activate(self, child: _Child, bit: int) -> bool:
        """The child has work of a class from now on. Returns whether the class is new here."""
        child.mask |= bit
        alive = self.counts.get(bit, 0)
        self.counts[bit] = alive + 1
        self._push(child, bit)
        return alive == 0

    def deactivate(self, child: _Child, bit: int) -> bool:
        """The child has no work of the class any more. Returns whether nobody here has."""
        child.mask ^= bit
        alive = self.counts[bit] - 1
        if alive:
            self.counts[bit] = alive
            return False
        del self.counts[bit], self.heaps[bit]
        return True

    def rekey(self, child: _Child, key: Key) -> None:
        """The child's place changes."""
        child.key = key
        child.stamp = next(_stamps)
        for bit in bits_of(child.mask):
            self._push(child, bit)

    def _push(self, child: _Child, bit: int) -> None:
        heap = self.heaps.get(bit)
        if heap is None:
            heap = self.heaps[bit] = []
        heappush(heap, (child.key, next(_stamps), child.stamp, child))
        if len(heap) > 3 * self.counts[bit] + 16:
            heap[:] = [entry for entry in heap if entry[2] == entry[3].stamp and entry[3].mask & bit]
            heapify(heap)

    def first(self, mask: int) -> _Child | None:
        """The member with the smallest key among those with work in a class of `mask`."""
        best: tuple[Key, int, int, _Child] | None = None
        for bit in self.counts:
            if not bit & mask:
                continue
            heap = self.heaps[bit]
            entry = heap[0]
            while entry[2] != entry[3].stamp or not entry[3].mask & bit:
                heappop(heap)
                entry = heap[0]
            if best is None or entry < best:
                best = entry
        return None if best is None else best[3]


class JobLeaf(_Member):
    """A job in the queue: its tasks that may start, and its finish tag.

    Attributes:
        total_s: predicted engine-seconds of the whole job; what its finish tag is made of.
        work_s: predicted engine-seconds not done yet; what estimates are made of.
        ready: heap of (order, stamp, class, task id): tasks that may start.
        due: deadline once it presses, None before; orders the owner's own jobs only.
    """

    __slots__ = ("due", "job_id", "order", "paused", "ready", "start", "total_s", "user", "weight", "work_s")

    def __init__(self, job_id: str, user: User, weight: float, total_s: float) -> None:
        super().__init__(None)
        self.job_id = job_id
        self.user = user
        self.weight = weight
        self.start = user.virtual
        self.total_s = total_s
        self.work_s = 0.0
        self.ready: list[tuple[tuple[float, int], int, int, str]] = []
        self.paused = False
        self.order = self.stamp
        self.due: float | None = None
        self.key = self.finish_key()

    def finish_key(self) -> tuple[int, float, int]:
        """Pressing deadlines first, then finish tags; who came first among equals."""
        if self.due is not None:
            return (0, self.due, self.order)
        return (1, self.start + self.total_s / self.weight, self.order)


class User(_Member):
    """A user within a tier: `key` counts its service in engine-seconds. `virtual` is the time of its own jobs."""

    __slots__ = ("jobs", "level", "live_weight", "tier", "user_id", "virtual", "work_s")

    def __init__(self, user_id: str, tier: TierShare) -> None:
        super().__init__(tier.virtual)
        self.user_id = user_id
        self.tier = tier
        self.level: _Level[JobLeaf] = _Level()
        self.jobs: dict[str, JobLeaf] = {}
        self.virtual = 0.0
        self.live_weight = 0.0
        self.work_s = 0.0


class TierShare:
    """A tier and its users: `key` counts its service per weight.

    Attributes:
        virtual: the largest counter that a user had when it was served.
        last: the user that was served last.
        burst_s: how far behind the others it starts when it comes back from idleness.
    """

    __slots__ = (
        "burst_s",
        "key",
        "last",
        "level",
        "mask",
        "served_s",
        "sweep_at",
        "tier",
        "users",
        "virtual",
        "weight",
        "work_s",
    )

    def __init__(self, tier: Tier, weight: float) -> None:
        self.key = 0.0
        self.weight = weight
        self.mask = 0
        self.tier = tier
        self.level: _Level[User] = _Level()
        self.users: dict[str, User] = {}
        self.last: User | None = None
        self.burst_s = 0.0
        self.virtual = 0.0
        self.sweep_at = SWEEP_USERS
        self.served_s = 0.0
        self.work_s = 0.0


class FairQueue:
    """All jobs that are not over, and who is next. See the module for the order and its bounds."""

    def __init__(self, tier_weights: Mapping[Tier, float], credit_s: float) -> None:
        self._credit = credit_s
        self._virtual = 0.0
        self.tiers = {tier: TierShare(tier, tier_weights[tier]) for tier in Tier}
        self._last = self.tiers[Tier.FREE]

    def add(self, job_id: str, tier: Tier, user_id: str, *, weight: float = 1.0, total_s: float = 0.0) -> JobLeaf:
        """A job joins with `total_s` predicted engine-seconds; nothing of it may start yet."""
        user = self._user(tier, user_id)
        leaf = JobLeaf(job_id, user, weight, total_s)
        user.jobs[job_id] = leaf
        user.live_weight += weight
        self.add_work(leaf, total_s)
        return leaf

    def remove(self, leaf: JobLeaf) -> None:
        """A job is over, or leaves for another tier."""
        for bit in bits_of(leaf.mask):
            self._deactivate(leaf, bit)
        user = leaf.user
        self.add_work(leaf, -leaf.work_s)
        del user.jobs[leaf.job_id]
        user.live_weight = user.live_weight - leaf.weight if user.jobs else 0.0
        if not user.jobs:
            self._forget_idle(user.tier)

    def move(self, leaf: JobLeaf, tier: Tier, weight: float) -> JobLeaf:
        """The same job in another tier, or with another weight: the new leaf holds the same ready tasks."""
        work_s = leaf.work_s
        self.remove(leaf)
        moved = self.add(leaf.job_id, tier, leaf.user.user_id, weight=weight, total_s=leaf.total_s)
        self.add_work(moved, work_s - moved.work_s)
        moved.ready, moved.paused, moved.due = leaf.ready, leaf.paused, leaf.due
        moved.key = moved.finish_key()
        self._publish(moved)
        return moved

    def pause(self, leaf: JobLeaf) -> None:
        """Nothing of the job is chosen until `resume`; its ready tasks stay where they are."""
        leaf.paused = True
        for bit in bits_of(leaf.mask):
            self._deactivate(leaf, bit)

    def resume(self, leaf: JobLeaf) -> None:
        """The end of a pause."""
        leaf.paused = False
        self._publish(leaf)

    def press(self, leaf: JobLeaf, due: float) -> None:
        """A deadline presses: the job goes before its owner's other jobs, the earliest deadline first."""
        leaf.due = due
        leaf.user.level.rekey(leaf, leaf.finish_key())

    def resize(self, leaf: JobLeaf, delta_s: float) -> None:
        """The job turned out to be larger or smaller than it was thought to be when it came."""
        leaf.total_s += delta_s
        self.add_work(leaf, delta_s)
        leaf.user.level.rekey(leaf, leaf.finish_key())

    def add_work(self, leaf: JobLeaf, delta_s: float) -> None:
        """Predicted work of the job that is not done yet grows or shrinks; nobody's place changes."""
        leaf.work_s += delta_s
        leaf.user.work_s += delta_s
        leaf.user.tier.work_s += delta_s

    def push(self, leaf: JobLeaf, bit: int, order: tuple[float, int], task_id: str) -> None:
        """A task may start. `order`: smaller is sooner, within the job."""
        heappush(leaf.ready, (order, next(_stamps), bit, task_id))
        if not leaf.paused and not leaf.mask & bit:
            self._activate(leaf, bit)

    def discard(self, leaf: JobLeaf, bit: int, task_id: str) -> None:
        """A task that was pushed may not start any more. Linear in the job's ready tasks: for rare cases."""
        leaf.ready = [entry for entry in leaf.ready if entry[3] != task_id]
        heapify(leaf.ready)
        self._shrink(leaf, bit)

    def reclass(self, leaf: JobLeaf, bits: Mapping[str, int]) -> None:
        """Waiting tasks of a job belong to other classes from now on; nobody's place changes. Linear in the job's.

        Args:
            bits: the new class by task id; tasks that are not named keep theirs.
        """
        leaf.ready = [(order, stamp, bits.get(task_id, bit), task_id) for order, stamp, bit, task_id in leaf.ready]
        before = leaf.mask
        self._publish(leaf)
        for bit in bits_of(before & ~sum({entry[2] for entry in leaf.ready})):
            self._deactivate(leaf, bit)

    def mask(self) -> int:
        """The classes in which some task waits."""
        total = 0
        for tier in self.tiers.values():
            total |= tier.mask
        return total

    def is_next(self, leaf: JobLeaf) -> bool:
        """Whether the job is the next of its user, its user of its tier, and its tier of all."""
        tier = self._first_tier(leaf.mask)
        user = None if tier is None else tier.level.first(leaf.mask)
        return user is not None and user.level.first(leaf.mask) is leaf

    def take(self, mask: int) -> tuple[JobLeaf, int, str] | None:
        """The next task among those of the classes in `mask`, taken out of the queue; None when there is none.

        Returns:
            (job, class, task id). The caller charges it (`charge`) when it starts.
        """
        tier = self._first_tier(mask)
        if tier is None:
            return None
        user = tier.level.first(mask)
        assert user is not None
        leaf = user.level.first(mask)
        assert leaf is not None
        tier.key = max(tier.key, self._virtual - max(self._credit / tier.weight, tier.burst_s))
        self._virtual = max(self._virtual, tier.key)
        self._last = tier
        tier.last = user
        if user.key < tier.virtual - self._credit:
            tier.level.rekey(user, tier.virtual - self._credit)
        tier.virtual = max(tier.virtual, user.key)
        bit, task_id = self._pop(leaf, mask)
        return leaf, bit, task_id

    def charge(self, leaf: JobLeaf, amount_s: float) -> None:
        """The job was served `amount_s` engine-seconds; negative gives back what a prediction took too much."""
        user = leaf.user
        tier = user.tier
        tier.served_s += amount_s
        if user.live_weight > 0 and amount_s > 0:
            user.virtual += amount_s / user.live_weight
        tier.level.rekey(user, user.key + amount_s)
        tier.key += amount_s / tier.weight

    def validate(self) -> None:
        """Raises AssertionError when counts, masks and heaps disagree."""
        for tier in self.tiers.values():
            for user in tier.users.values():
                for leaf in user.jobs.values():
                    ready = 0 if leaf.paused else sum({entry[2] for entry in leaf.ready})
                    assert leaf.mask == ready, f"job {leaf.job_id}: mask and ready tasks differ"
                _check_level(user.level, user.jobs.values(), user.mask)
                assert user.jobs or not user.mask
            _check_level(tier.level, tier.users.values(), tier.mask)

    def _user(self, tier: Tier, user_id: str) -> User:
        share = self.tiers[tier]
        user = share.users.get(user_id)
        if user is None:
            user = share.users[user_id] = User(user_id, share)
        return user

    def _first_tier(self, mask: int) -> TierShare | None:
        """The tier with the smallest counter; the heavier of two equal ones."""
        best: TierShare | None = None
        for tier in self.tiers.values():
            if tier.mask & mask and (best is None or (tier.key, -tier.weight) < (best.key, -best.weight)):
                best = tier
        return best

    def _publish(self, leaf: JobLeaf) -> None:
        for _, _, bit, _ in leaf.ready:
            if not leaf.paused and not leaf.mask & bit:
                self._activate(leaf, bit)

    def _pop(self, leaf: JobLeaf, mask: int) -> tuple[int, str]:
        """The job's first task among the classes of `mask`: its first of all, but for jobs of mixed needs."""
        ready = leaf.ready
        if ready[0][2] & mask:
            _, _, bit, task_id = heappop(ready)
        else:
            entry = min(entry for entry in ready if entry[2] & mask)
            _, _, bit, task_id = entry
            ready.remove(entry)
            heapify(ready)
        self._shrink(leaf, bit)
        return bit, task_id

    def _shrink(self, leaf: JobLeaf, bit: int) -> None:
        if leaf.ready and (leaf.mask == bit or any(entry[2] == bit for entry in leaf.ready)):
            return
        if leaf.mask & bit:
            self._deactivate(leaf, bit)

    def _activate(self, leaf: JobLeaf, bit: int) -> None:
        user = leaf.user
        tier = user.tier
        if not user.level.activate(leaf, bit):
            return
        if not user.mask:
            first = tier.level.first(tier.mask) or tier.last
            user.key = max(user.key, tier.virtual, first.key if first is not None else 0.0)
            user.stamp = next(_stamps)
        if not tier.level.activate(user, bit):
            return
        if not tier.mask:
            first_tier = self._first_tier(self.mask()) or self._last
            lifted = max(self._virtual, first_tier.key) - tier.burst_s
            tier.key = max(tier.key, lifted) if tier.served_s else lifted  # its first work comes from idleness, too
        tier.mask |= bit

    def _deactivate(self, leaf: JobLeaf, bit: int) -> None:
        user = leaf.user
        if user.level.deactivate(leaf, bit) and user.tier.level.deactivate(user, bit):
            user.tier.mask ^= bit

    def _forget_idle(self, tier: TierShare) -> None:
        """Users without jobs whose counter earns them nothing any more are forgotten, now and then."""
        if len(tier.users) < tier.sweep_at:
            return
        for user_id in [u for u, user in tier.users.items() if not user.jobs and user.key <= tier.virtual]:
            del tier.users[user_id]
        tier.sweep_at = 2 * len(tier.users) + SWEEP_USERS


def _check_level(level: _Level[Any], members: Iterable[_Member], mask: int) -> None:
    counted: dict[int, int] = {}
    for member in members:
        for bit in bits_of(member.mask):
            counted[bit] = counted.get(bit, 0) + 1
            valid = sum(1 for entry in level.heaps[bit] if entry[3] is member and entry[2] == member.stamp)
            assert valid >= 1, "a member with work has no entry"
    assert counted == level.counts, f"counts differ: {counted} and {level.counts}"
    assert mask == sum(counted), "a member's mask is not that of its children"
