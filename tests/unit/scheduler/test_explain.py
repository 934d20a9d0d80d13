"""Explanations: the position, the rule that holds a job, and times that follow from the queue's own rules."""

from __future__ import annotations

import pytest
from farm_driver import DEVICE, STORE, Farm, plan, task
from hypothesis import given
from hypothesis import strategies as st

from scheduler import events
from scheduler.fairness import FairQueue
from scheduler.jobs import GpuPolicy, JobState, TaskKind, Tier
from scheduler.outlook import OwnJobs, Sharing
from scheduler.reports import Explanation, Rule
from scheduler.settings import SchedulerSettings


def told(farm: Farm, job: str = "a") -> Explanation:
    found = farm.scheduler.explain(job, farm.now)
    assert found is not None
    return found


def learn(farm: Farm, seconds: float, *, times: int = 5) -> None:
    """Teaches the farm that a segment takes so long."""
    for index in range(times):
        farm.submit(f"learn{index}", (task(f"learn{index}/s0"),), user="teacher")
        farm.done(f"learn{index}/s0", after=seconds)


def test_an_unknown_job_has_no_explanation() -> None:
    assert Farm().scheduler.explain("nobody", 0.0) is None


def test_without_a_worker_nothing_can_be_promised() -> None:
    farm = Farm()
    farm.submit("a", (task("a/s0", backends=("nvenc",)),), gpu=GpuPolicy.REQUIRE)
    it = told(farm)
    assert (it.rule, it.start, it.end) == (Rule.NO_WORKER, None, None)
    assert "No worker is there yet" in it.sentence
    farm.join()
    it = told(farm)
    assert (it.rule, it.start, it.end) == (Rule.NO_WORKER, None, None)
    assert "nvenc" in it.sentence
    assert it.state is JobState.QUEUED


def test_a_running_job_started_when_it_started_and_ends_when_its_tasks_do() -> None:
    farm = Farm()
    farm.join("w0")
    farm.join("w1", node_id="n1")
    learn(farm, 10.0)
    farm.submit("a", (task("a/s0"), task("a/s1", position=1)))
    begun = farm.now
    farm.wait(4.0)
    it = told(farm)
    assert it.rule is Rule.RUNNING
    assert it.start is not None
    assert it.end is not None
    assert it.start.at == begun
    assert begun + 9.0 <= it.end.at <= begun + 20.0
    assert it.end.earliest < it.end.at < it.end.latest
    assert it.jobs_ahead == 0
    assert it.sentence == "2 of its tasks run; 0 of 2 are done."


def test_the_owners_earlier_jobs_go_first() -> None:
    farm = Farm()
    farm.join()
    for name in ("a", "b", "c"):
        farm.submit(name, plan(name, 2))
    assert told(farm, "b").rule is Rule.OWN_JOBS
    assert told(farm, "b").position == 2
    assert told(farm, "b").sentence == "1 job of the same owner ends sooner and goes first."
    assert told(farm, "c").position == 3
    assert told(farm, "c").sentence == "2 jobs of the same owner end sooner and go first."


def test_waits_grow_with_what_is_ahead() -> None:
    farm = Farm()
    farm.join()
    learn(farm, 10.0)
    for name in ("a", "b", "c"):
        farm.submit(name, (task(f"{name}/s0"), task(f"{name}/s1", position=1)))
    starts = [told(farm, name).start for name in ("b", "c")]
    ends = [told(farm, name).end for name in ("a", "b", "c")]
    assert starts[0] is not None
    assert starts[1] is not None
    assert starts[0].at < starts[1].at
    times = [end.at - farm.now for end in ends if end is not None]
    assert times == pytest.approx([30.0, 60.0, 90.0], rel=0.5)
    assert times == sorted(times)


def test_a_better_tier_is_told_a_shorter_wait() -> None:
    farm = Farm()
    farm.join()
    learn(farm, 10.0)
    for index in range(10):
        farm.submit(f"free{index}", plan(f"free{index}"), user=f"f{index}")
    for tier in (Tier.PAID, Tier.VERIFIED, Tier.FREE):
        farm.submit(f"{tier}-mine", plan(f"{tier}-mine"), user="me", tier=tier)
    ends = [told(farm, f"{tier}-mine").end for tier in (Tier.PAID, Tier.VERIFIED, Tier.FREE)]
    times = [end.at for end in ends if end is not None]
    assert times == sorted(times)
    assert times[0] < times[2]
    assert told(farm, "free-mine").jobs_ahead > 0


def test_next_and_fair_share() -> None:
    farm = Farm()
    farm.join()
    farm.submit("a", plan("a"), user="a")
    farm.submit("b", plan("b"), user="b", tier=Tier.VERIFIED)
    farm.submit("c", plan("c"), user="c")
    assert told(farm, "b").rule is Rule.NEXT
    it = told(farm, "c")
    assert it.rule is Rule.FAIR_SHARE
    assert "tier free" in it.sentence


def test_paused_and_backing_off_and_out_of_service() -> None:
    farm = Farm(failures_to_open=1)
    farm.join()
    farm.submit("a", (task("a/s0"),))
    farm.submit("b", (task("b/s0"),), user="v")
    farm.handle(events.JobPaused(at=farm.now, job_id="b"))
    it = told(farm, "b")
    assert (it.rule, it.end) == (Rule.PAUSED, None)
    farm.fail("a/s0", STORE)
    assert told(farm).rule is Rule.BACKOFF
    farm.wait(5.0)
    farm.fail("a/s0", DEVICE)
    assert told(farm).rule is Rule.DEVICE_OUT
    assert told(farm).end is not None


def test_between_the_inspection_and_the_plan() -> None:
    farm = Farm()
    farm.join()
    farm.submit("a", (task("a/inspect", TaskKind.INSPECT),), still_open=True)
    assert told(farm).rule is Rule.RUNNING
    farm.done("a/inspect")
    assert told(farm).rule is Rule.PLANNING
    assert told(farm).end is not None


def test_a_hint_of_the_work_to_come_moves_the_estimate() -> None:
    ends = []
    for hint in (20.0, None, 600.0):
        farm = Farm()
        farm.join()
        learn(farm, 10.0)
        farm.submit("a", (task("a/inspect", TaskKind.INSPECT),), still_open=True, expected_s=hint)
        end = told(farm).end
        assert end is not None
        ends.append(end.at - farm.now)
    assert ends == sorted(ends)
    assert ends[0] < 40.0 < ends[1] < ends[2]


def test_asking_about_the_future_does_not_move_the_clock() -> None:
    farm = Farm()
    farm.join()
    farm.submit("a", (task("a/s0"),))
    assert farm.scheduler.explain("a", farm.now + 1e6) is not None
    assert farm.wait(1.0) == []


def test_difficult_sources_are_told_longer_times() -> None:
    farm = Farm(twins=False)
    farm.join()
    learn(farm, 10.0)
    farm.submit("a", plan("a", 6))
    before = told(farm).end
    for index in range(3):
        farm.done(f"a/s{index}", after=30.0)
    after = told(farm).end
    assert before is not None
    assert after is not None
    assert after.at - farm.now > (before.at - 90.0) * 1.2


def test_arrivals_lengthen_estimates() -> None:
    ends = []
    for crowd in (0, 200):
        farm = Farm()
        farm.join()
        learn(farm, 10.0)
        for index in range(crowd):
            name = f"x{index}"
            farm.submit(name, plan(name, 5), user=name)
            farm.handle(events.CancelRequested(at=farm.now, job_id=name))
        farm.submit("a", plan("a", 5), user="me")
        end = told(farm).end
        assert end is not None
        ends.append(end.at - farm.now)
    assert ends[0] < ends[1]


def test_stats_count_what_is_there() -> None:
    farm = Farm()
    farm.join("w0")
    farm.join("w1", node_id="n1")
    farm.submit("a", (task("a/s0"),), tier=Tier.PAID)
    farm.submit("b", (), still_open=True)
    farm.handle(events.WorkerDraining(at=0.0, worker_id="w1", deadline_at=50.0))
    stats = farm.scheduler.stats()
    assert stats.tiers[Tier.PAID].jobs == {JobState.QUEUED: 0, JobState.RUNNING: 1}
    assert stats.tiers[Tier.FREE].jobs == {JobState.QUEUED: 1, JobState.RUNNING: 0}
    assert stats.tiers[Tier.PAID].users == 1
    assert stats.tiers[Tier.PAID].waiting_s > 0
    assert stats.tiers[Tier.PAID].served_s > 0
    assert (stats.workers, stats.draining, stats.idle, stats.running, stats.stopping) == (2, 1, 0, 1, 0)


USERS = st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), max_size=20)


@given(users=USERS, level=st.floats(0, 250))
def test_sharing_is_the_sum_over_users(users: list[tuple[float, float]], level: float) -> None:
    sharing = Sharing(users)
    served = sum(min(work, max(0.0, level - key)) for key, work in users)
    room = sum(max(0.0, level - key - work) for key, work in users)
    assert sharing.served_s(level) == pytest.approx(served, abs=1e-6)
    assert sharing.room_s(level) == pytest.approx(room, abs=1e-6)
    total = sum(work for _, work in users)
    ending = sum(work for key, work in users if key + work < level)
    assert sharing.ending_part(level) == pytest.approx(ending / total if total else 0.0)


def test_own_jobs_are_counted_up_to_a_job() -> None:
    fair = FairQueue(SchedulerSettings().tier_weights, 10.0)
    leaves = [fair.add(f"j{size}", Tier.FREE, "u", total_s=float(size)) for size in (5, 1, 3)]
    own = OwnJobs([(leaf.key, leaf.total_s) for leaf in leaves])
    assert [own.ahead(leaf) for leaf in leaves] == [(2, 4.0), (0, 0.0), (1, 1.0)]


def test_what_an_upload_will_cost_is_learned_from_its_size() -> None:
    farm = Farm()

    def left_s(job_id: str, size_bytes: int) -> float:
        farm.submit(job_id, (task(f"{job_id}/inspect", TaskKind.INSPECT),), still_open=True, size_bytes=size_bytes)
        return farm.scheduler._ledger.jobs[job_id].expected_s

    unknown_s = left_s("a", 1_000_000)
    assert unknown_s == left_s("b", 0), "nothing is learned yet"
    farm.handle(events.TasksAdded(at=farm.now, job_id="a", tasks=plan("a", 4)))
    first_s = left_s("c", 1_000_000)
    assert left_s("d", 3_000_000) == pytest.approx(3 * first_s)
    assert first_s != unknown_s
    farm.handle(events.TasksAdded(at=farm.now, job_id="b", tasks=plan("b", 4)))
    farm.handle(events.TasksAdded(at=farm.now, job_id="c", tasks=plan("c", 8)))
    assert left_s("e", 1_000_000) > first_s
