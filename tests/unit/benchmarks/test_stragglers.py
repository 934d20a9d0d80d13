"""Who is slowed down: what encodes for a worker, nobody else."""

from __future__ import annotations

from benchmarks.stragglers import at_work
from cluster.processes import ProcessInfo

FORK_SERVER = "python -P -m encoders.forkserver 7"


def test_a_workers_confined_children_are_slowed_and_neither_it_nor_its_fork_server_nor_those_of_others() -> None:
    rows = [
        ProcessInfo(10, 1, "S", "ray::SlotHolder"),
        ProcessInfo(11, 10, "S", FORK_SERVER),
        ProcessInfo(12, 11, "R", FORK_SERVER),
        ProcessInfo(13, 11, "Z", FORK_SERVER),
        ProcessInfo(20, 1, "S", "ray::SlotHolder"),
        ProcessInfo(21, 20, "S", FORK_SERVER),
        ProcessInfo(22, 21, "R", FORK_SERVER),
    ]
    assert at_work(10, {info.pid: info for info in rows}) == [12]
