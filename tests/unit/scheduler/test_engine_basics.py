"""A job's way through the engine when nothing goes wrong, and events that do not fit."""

from __future__ import annotations

from farm_driver import Farm, plan, starts, stops, task

from scheduler import events
from scheduler.instructions import FinishJob, SaveJob, SaveTask, StartTask
from scheduler.jobs import GpuPolicy, JobState, TaskKind, TaskState, Tier


def test_a_job_runs_its_tasks_in_order_and_completes() -> None:
    farm = Farm()
    farm.join()
    out = farm.submit(tasks=plan("a", 2))
    assert starts(out) == [("a/s0", 1)]
    assert [type(entry) for entry in out] == [SaveJob, SaveJob, SaveTask, StartTask]
    assert farm.saved_jobs["a"].encoder == "x264"
    assert starts(farm.done("a/s0")) == [("a/s1", 1)]
    assert starts(farm.done("a/s1")) == [("a/package", 1)]
    out = farm.done("a/package")
    assert out[-2:] == [
        SaveJob(job_id="a", state=JobState.COMPLETED, encoder="x264"),
        FinishJob(job_id="a", state=JobState.COMPLETED),
    ]
    assert farm.scheduler.explain("a", farm.now) is None


def test_a_job_waits_for_its_plan() -> None:
    farm = Farm()
    farm.join()
    farm.submit(tasks=(task("a/inspect", TaskKind.INSPECT),), still_open=True)
    farm.done("a/inspect")
    assert farm.over() is None
    out = farm.handle(events.TasksAdded(at=farm.now, job_id="a", tasks=plan("a", 1), last=False))
    assert starts(out) == [("a/s0", 1)]
    farm.finish_all()
    assert farm.over() is None
    farm.handle(events.TasksAdded(at=farm.now, job_id="a", tasks=()))
    assert farm.over() is JobState.COMPLETED


def test_the_plan_may_come_before_the_inspection_is_reported() -> None:
    farm = Farm()
    farm.join()
    farm.submit(tasks=(task("a/inspect", TaskKind.INSPECT),), still_open=True)
    tasks = (task("a/s0", needs=("a/inspect",)),)
    assert starts(farm.handle(events.TasksAdded(at=farm.now, job_id="a", tasks=tasks))) == []
    assert starts(farm.done("a/inspect")) == [("a/s0", 1)]


def test_a_slot_is_given_away_when_all_that_happened_is_known() -> None:
    farm = Farm()
    farm.join()
    farm.submit("b", (task("b/inspect", TaskKind.INSPECT),), user="v", tier=Tier.PAID, still_open=True)
    farm.submit("a", plan("a", 9))
    added = events.TasksAdded(at=5.0, job_id="b", tasks=plan("b", 2))
    assert starts(farm.handle(farm.success(farm.start_of("b/inspect")), added)) == [("b/s0", 1)]


def test_a_job_that_comes_and_is_cancelled_at_once_starts_nothing() -> None:
    farm = Farm()
    farm.join()
    came = events.JobSubmitted(at=1.0, job_id="a", user_id="u", tier=Tier.FREE, tasks=plan("a", 2))
    gone = events.CancelRequested(at=1.0, job_id="a")
    assert starts(farm.handle(came, gone)) == []


def test_a_plan_that_comes_twice_changes_nothing() -> None:
    farm = Farm()
    farm.join()
    farm.submit(tasks=(task("a/inspect", TaskKind.INSPECT),), still_open=True)
    added = events.TasksAdded(at=0.0, job_id="a", tasks=plan("a", 2), last=False)
    farm.handle(added)
    farm.handle(added)
    farm.handle(events.TasksAdded(at=0.0, job_id="a", tasks=plan("a", 2)))
    assert farm.handle(events.TasksAdded(at=0.0, job_id="a", tasks=plan("a", 9))) == []
    farm.finish_all()
    assert farm.over() is JobState.COMPLETED
    assert farm.handle(added) == []


def test_a_job_comes_back_after_a_restart_without_doing_anything_twice() -> None:
    farm = Farm()
    farm.join()
    tasks = plan("a", 2)
    out = farm.submit(
        tasks=tasks, done=frozenset({"a/s0", "a/inspect"}), attempts={"a/s0": 1, "a/s1": 4}, encoder="x264"
    )
    assert starts(out) == [("a/s1", 5)]
    farm.finish_all()
    assert farm.over() is JobState.COMPLETED
    assert all(entry.task_id != "a/s0" for entry in farm.log if isinstance(entry, StartTask))


def test_a_job_that_comes_back_finished_is_over_at_once() -> None:
    farm = Farm()
    out = farm.submit(tasks=(task("a/s0"),), done=frozenset({"a/s0"}))
    assert out == [SaveJob(job_id="a", state=JobState.COMPLETED), FinishJob(job_id="a", state=JobState.COMPLETED)]


def test_a_later_plan_may_need_what_was_done_before_the_restart() -> None:
    farm = Farm()
    farm.join()
    farm.submit(tasks=(), still_open=True, done=frozenset({"a/inspect"}))
    tasks = (task("a/s0", needs=("a/inspect",)),)
    assert starts(farm.handle(events.TasksAdded(at=0.0, job_id="a", tasks=tasks))) == [("a/s0", 1)]


def test_a_plan_that_can_never_run_fails_the_job_with_the_reason() -> None:
    for tasks, word in (
        ((task("x", needs=("nowhere",)),), "nowhere"),
        ((task("x", needs=("y",)), task("y", needs=("x",))), "itself"),
        ((task("x"), task("x")), "same id"),
    ):
        farm = Farm()
        farm.submit(tasks=tasks)
        failure = farm.finished["a"].failure
        assert failure is not None
        assert word in failure.detail
        assert farm.over() is JobState.FAILED


def test_a_plan_may_not_take_another_jobs_task() -> None:
    farm = Farm()
    farm.submit("a", (task("x"),))
    farm.submit("b", (task("x"),))
    assert farm.over("b") is JobState.FAILED
    assert farm.over("a") is None


def test_a_bad_plan_of_a_running_job_fails_it() -> None:
    farm = Farm()
    farm.join()
    farm.submit(tasks=(task("a/inspect", TaskKind.INSPECT),), still_open=True)
    out = farm.handle(events.TasksAdded(at=0.0, job_id="a", tasks=(task("x", needs=("nowhere",)),)))
    assert stops(out) == [("a/inspect", 1)]
    assert farm.over() is JobState.FAILED


def test_events_that_do_not_fit_change_nothing() -> None:
    farm = Farm()
    farm.join()
    farm.submit(tasks=plan("a", 1))
    first = farm.start_of("a/s0")
    at = farm.now
    unfitting = [
        events.TaskDone(at=at, task_id="a/s0", attempt=1, worker_id="other", engine_s=1.0),
        events.TaskDone(at=at, task_id="a/s0", attempt=2, worker_id="w0", engine_s=1.0),
        events.TaskDone(at=at, task_id="nothing", attempt=1, worker_id="w0", engine_s=1.0),
        events.CancelRequested(at=at, job_id="nothing"),
        events.JobPaused(at=at, job_id="nothing"),
        events.JobResumed(at=at, job_id="a"),
        events.JobResumed(at=at, job_id="nothing"),
        events.JobReprioritised(at=at, job_id="nothing"),
        events.TasksAdded(at=at, job_id="nothing", tasks=()),
        events.WorkerLost(at=at, worker_id="nobody", reason="crashed"),
        events.WorkerDraining(at=at, worker_id="nobody", deadline_at=9.0),
        events.DeviceChecked(at=at, device_id="nothing", healthy=False),
        events.Tick(at=at - 100.0),
    ]
    for event in unfitting:
        assert farm.handle(event) == []
    assert farm.submit(tasks=plan("a", 5)) == []
    farm.done("a/s0")
    assert farm.done("a/s0", start=first) == []
    assert farm.fail("a/s0", start=first) == []
    farm.finish_all()
    assert farm.over() is JobState.COMPLETED
    assert farm.done("a/s0", start=first) == []


def test_cancelling_stops_what_runs_and_keeps_the_slot_until_it_ended() -> None:
    farm = Farm()
    farm.join()
    farm.submit("a")
    farm.submit("b", plan("b", 1))
    out = farm.handle(events.CancelRequested(at=farm.now, job_id="a"))
    assert stops(out) == [("a/s0", 1)]
    assert farm.over("a") is JobState.CANCELLED
    assert farm.state("a/s0") is TaskState.CANCELLED
    assert not farm.runs("b/s0")
    assert starts(farm.fail("a/s0")) == [("b/s0", 1)]


def test_a_cancelled_job_may_be_submitted_again_while_it_still_stops() -> None:
    farm = Farm()
    farm.join("w0")
    farm.submit("a", plan("a", 1))
    first = farm.start_of("a/s0")
    farm.handle(events.CancelRequested(at=farm.now, job_id="a"))
    farm.finished.clear()
    farm.join("w1", node_id="n1")
    out = farm.submit("a", plan("a", 1))
    assert starts(out) == [("a/s0", 2)]
    assert farm.done("a/s0", start=first) == []
    farm.done("a/s0")
    farm.finish_all()
    assert farm.over("a") is JobState.COMPLETED


def test_a_better_tier_overtakes_at_the_next_task() -> None:
    farm = Farm()
    farm.join()
    farm.submit("free", plan("free", 4), tier=Tier.FREE)
    farm.submit("paid", plan("paid", 2), tier=Tier.PAID)
    assert starts(farm.done("free/s0", after=3.0)) == [("paid/s0", 1)]
    assert starts(farm.done("paid/s0", after=3.0)) == [("paid/s1", 1)]


def test_pause_stops_new_tasks_at_once_and_resume_goes_on() -> None:
    farm = Farm()
    farm.join()
    farm.submit("a", plan("a", 2))
    farm.handle(events.JobPaused(at=farm.now, job_id="a"))
    assert farm.handle(events.JobPaused(at=farm.now, job_id="a")) == []
    assert starts(farm.done("a/s0")) == []
    assert starts(farm.handle(events.JobResumed(at=farm.now, job_id="a"))) == [("a/s1", 1)]


def test_a_job_may_be_cancelled_while_paused() -> None:
    farm = Farm()
    farm.submit("a", plan("a", 2))
    farm.handle(events.JobPaused(at=farm.now, job_id="a"))
    farm.handle(events.CancelRequested(at=farm.now, job_id="a"))
    assert farm.over("a") is JobState.CANCELLED
    farm.join()
    assert farm.running == {}


def test_the_operator_moves_a_job_to_another_tier() -> None:
    farm = Farm()
    farm.submit("a", user="x")
    farm.submit("b", user="y")
    farm.handle(events.JobReprioritised(at=farm.now, job_id="b", tier=Tier.PAID))
    assert starts(farm.join()) == [("b/s0", 1)]
    farm.handle(events.JobReprioritised(at=farm.now, job_id="b", tier=Tier.FREE, weight=2.0))
    farm.finish_all()
    assert farm.over("a") is farm.over("b") is JobState.COMPLETED


def test_a_heavier_job_of_the_same_owner_goes_first() -> None:
    farm = Farm()
    farm.submit("a", plan("a", 2))
    farm.submit("b", plan("b", 2), weight=3.0)
    assert starts(farm.join()) == [("b/s0", 1)]


def test_a_short_job_does_not_wait_behind_a_long_one_of_its_owner() -> None:
    farm = Farm()
    farm.join()
    farm.submit("long", plan("long", 50))
    farm.done("long/s0")
    farm.submit("short", plan("short", 1))
    assert starts(farm.done("long/s1")) == [("short/s0", 1)]


def test_equal_jobs_of_one_owner_end_one_by_one() -> None:
    farm = Farm()
    farm.join()
    for index in range(5):
        farm.submit(f"j{index}", plan(f"j{index}", 2))
    farm.finish_all()
    assert list(farm.finished) == [f"j{index}" for index in range(5)]


def test_first_segments_first_or_the_longest() -> None:
    for early, first in ((True, "a/s0"), (False, "a/s1")):
        farm = Farm()
        farm.submit(
            "a", (task("a/s0", frames=10, position=0), task("a/s1", frames=99, position=1)), early_playback=early
        )
        assert starts(farm.join()) == [(first, 1)]


def test_a_deadline_orders_the_owners_jobs_once_it_presses() -> None:
    farm = Farm()
    farm.join()
    farm.submit("short", plan("short", 3))
    farm.submit("due", plan("due", 6), deadline_at=150.0)
    assert starts(farm.done("short/s0")) == [("short/s1", 1)]
    farm.wait(60.0)
    assert starts(farm.done("short/s1")) == [("due/s0", 1)]
    farm.wait(200.0)


def test_a_deadline_of_a_plan_counts_from_the_plan() -> None:
    farm = Farm()
    farm.join()
    farm.submit("short", plan("short", 3))
    farm.submit("due", (), still_open=True, deadline_at=50.0)
    farm.handle(events.TasksAdded(at=0.0, job_id="due", tasks=plan("due", 6)))
    assert starts(farm.done("short/s0")) == [("due/s0", 1)]


def test_a_deadline_that_moved_away_does_not_press() -> None:
    farm = Farm(ask_after_s=None)
    farm.submit("due", (), still_open=True, deadline_at=100.0, expected_s=1000.0)
    farm.handle(events.CancelRequested(at=0.0, job_id="due"))
    farm.submit("other", (), still_open=True, deadline_at=1000.0, expected_s=400.0)
    farm.handle(events.TasksAdded(at=0.0, job_id="other", tasks=plan("other", 1)))
    assert farm.wait(300.0) == []


def test_policy_never_keeps_segments_off_the_gpu_and_require_off_the_cpu() -> None:
    for policy, slot in ((GpuPolicy.NEVER, "cpu"), (GpuPolicy.REQUIRE, "nvenc"), (GpuPolicy.PREFER, "nvenc")):
        farm = Farm()
        farm.join("cpu")
        farm.join("nvenc", device_id="GPU-1", backends=("nvenc",))
        farm.submit("a", (task("a/s0", backends=("nvenc", "cpu")),), gpu=policy)
        assert farm.start_of("a/s0").worker_id == slot


def test_a_policy_that_no_backend_meets_fails_the_job() -> None:
    farm = Farm()
    farm.submit("a", (task("a/s0", backends=("cpu",)),), gpu=GpuPolicy.REQUIRE)
    failure = farm.finished["a"].failure
    assert failure is not None
    assert "gpu: require" in failure.detail


def test_sound_runs_on_the_cpu_whatever_the_policy() -> None:
    farm = Farm()
    farm.join()
    farm.submit("a", (task("a/audio", TaskKind.AUDIO),), gpu=GpuPolicy.REQUIRE)
    assert farm.runs("a/audio")


def test_all_segments_of_a_job_come_from_one_encoder() -> None:
    farm = Farm()
    farm.join("g", device_id="GPU-1", backends=("nvenc",))
    segments = tuple(task(f"a/s{i}", position=i, backends=("nvenc", "hybrid", "cpu")) for i in range(3))
    farm.submit("a", segments)
    assert farm.saved_jobs["a"].encoder == "nvenc"
    assert starts(farm.join("c")) == []
    farm.submit(
        "b", tuple(task(f"b/s{i}", position=i, backends=("nvenc", "hybrid", "cpu")) for i in range(2)), user="v"
    )
    assert farm.start_of("b/s0").backend == "cpu"
    assert starts(farm.join("h", device_id="GPU-2", backends=("hybrid",), node_id="n1")) == [("b/s1", 1)]


def test_a_job_resumes_with_the_encoder_it_had() -> None:
    farm = Farm()
    farm.join("g", device_id="GPU-1", backends=("nvenc",))
    farm.submit("a", (task("a/s0", backends=("nvenc", "cpu")),), encoder="x264")
    assert farm.running == {}
    assert starts(farm.join("c")) == [("a/s0", 1)]


def test_an_encoder_that_no_backend_of_the_plan_has_is_not_waited_for() -> None:
    farm = Farm()
    farm.join("c")
    farm.submit("a", (task("a/s0", backends=("cpu",)),), encoder="nvenc")
    assert farm.runs("a/s0")
