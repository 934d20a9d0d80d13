"""Decides whose task is next, where it runs and what happens when something dies; never waits, opens or asks the time.

Map:
    jobs            values: tier, states, what a task and a worker are
    events          what happened; every event says when
    instructions    what must be done
    settings        the policy as one value
    transitions     the tables (state, event) -> state
    fairness        weighted fair queue in engine-seconds: tier -> user -> job
    bounds          how long anyone waits at most, proven
    requirements    what a task needs of a slot, as a few classes that queues are indexed by
    cost            expected engine-seconds of a task on a backend; learns
    retry           (fault, history) -> decision
    health          circuit breaker per device, black holes, slow devices
    placement       eligible -> rank -> pick a slot
    ledger          live jobs, tasks, attempts and slots: the books
    intake          a job's life: submitted, planned, paused, moved, cancelled, over
    outcomes        what becomes of a task when an attempt of it ends
    survivors       attempts that outlived their dispatcher go on
    fleet           slots and devices join, go, drain, are tested
    assign          free places to tasks, then twins of stragglers
    audit           the invariants of the books, checked
    reports         what the scheduler tells about itself: values
    outlook         the farm at one moment, for any number of explanations
    calibration     how wide the interval around an estimate must be; learns
    explain, stats  made from the books
    scaling         when more slots would help, and how many
    engine          Scheduler.handle(event) -> list[Instruction]

Invariants:
    - `engine.Scheduler.handle` is the only door through which scheduling state changes.
    - The same events in the same order give the same instructions: time comes in events, chance from a seed.
    - A task has at most one attempt in flight, or two when the second is a twin of a straggler.
    - Attempt numbers of a task rise strictly: over retries, twins and restarts.
    - An event that does not fit (late, doubled, unknown) changes nothing.
"""
