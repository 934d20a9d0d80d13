"""Confined calls: what comes back, what they cannot do, and that nothing of them is left."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import confined_functions as fn
import numpy as np
import pytest

from encoders.confine import Confiner, Limits, Stopped, describe_confinement, evidence_of, failure_of
from encoders.errors import Damaged, DiskFull, FarmError, Fault, MediaCrashed, ResourceExceeded
from encoders.media import Colour, ColourRange

HERE = Path(__file__).parent
PATIENCE_S = 20.0
SMALL = Limits(memory_bytes=512 << 20, wall_s=PATIENCE_S)

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="the confinement is Linux's")


@pytest.fixture(scope="module")
def confiner() -> Iterator[Confiner]:
    with Confiner(preload=("numpy",)) as shared:
        yield shared


@pytest.fixture(scope="module")
def rights() -> dict[str, str]:
    return describe_confinement()


def until(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


class TestWhatComesBack:
    def test_plain_values_dataclasses_and_arrays(self, confiner: Confiner) -> None:
        assert confiner.run(fn.add, 2, 3) == 5
        assert confiner.run("confined_functions:add", 2, 3) == 5
        assert confiner.run(fn.colour) == Colour(range=ColourRange.FULL, primaries=9)
        assert np.array_equal(confiner.run(fn.squares, 5), [0, 1, 4, 9, 16])

    def test_large_results_pass(self, confiner: Confiner) -> None:
        assert len(confiner.run(fn.big, 5_000_000)) == 5_000_000

    def test_a_typed_error_keeps_class_detail_and_evidence(self, confiner: Confiner) -> None:
        with pytest.raises(Damaged, match=r"^half of it is missing$") as caught:
            confiner.run(fn.refuse)
        assert "the codec said no" in evidence_of(caught.value)["stderr"]
        failure = failure_of(caught.value)
        assert (failure.code, failure.fault) == ("damaged", Fault.INPUT)
        assert "the codec said no" in failure.evidence["stderr"]

    def test_an_untyped_error_is_a_crash_with_its_traceback(self, confiner: Confiner) -> None:
        with pytest.raises(MediaCrashed, match="KeyError: 'a bug'") as caught:
            confiner.run(fn.blunder)
        assert "in blunder" in evidence_of(caught.value)["traceback"]

    def test_messages_arrive_in_order(self, confiner: Confiner) -> None:
        seen: list[object] = []
        assert confiner.run(fn.count_to, 50, on_message=seen.append) == 50
        assert seen == [{"step": step} for step in range(50)]

    def test_a_receiver_that_fails_ends_the_child(self, confiner: Confiner) -> None:
        pids: list[int] = []

        def fail(pid: int) -> None:
            pids.append(pid)
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            confiner.run(fn.wait, 600.0, on_message=fail)
        assert until(lambda: not alive(pids[0]))

    def test_a_forged_value_is_not_built(self, confiner: Confiner) -> None:
        with pytest.raises(MediaCrashed, match="may not send"):
            confiner.run(fn.forge)

    def test_functions_that_no_other_process_can_import_are_refused(self, confiner: Confiner) -> None:
        with pytest.raises(ValueError, match="importable"):
            confiner.run(lambda: 1)

    def test_threads_may_call_at_once(self, confiner: Confiner) -> None:
        sums: list[int] = []
        threads = [
            threading.Thread(target=lambda number=number: sums.append(confiner.run(fn.add, number, 1)))
            for number in range(6)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(sums) == [1, 2, 3, 4, 5, 6]


@linux_only
class TestWhatIsRefused:
    @pytest.fixture(autouse=True)
    def _limits(self, confiner: Confiner) -> None:
        self.attempt = lambda *args, **rights: confiner.run(fn.attempt, *args, limits=SMALL, **rights)

    def test_every_mechanism_says_whether_it_holds(self, rights: dict[str, str]) -> None:
        wanted = {"namespaces", "no new privileges", "landlock", "capabilities", "resource limits", "seccomp"}
        assert set(rights) == wanted
        assert all(state.startswith(("on", "off: ")) for state in rights.values())

    def test_network(self, rights: dict[str, str]) -> None:
        if rights["seccomp"] != "on":
            pytest.skip(rights["seccomp"])
        for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, socket.AF_NETLINK):
            assert self.attempt("socket", int(family)) == "EPERM"
        with socket.create_server(("127.0.0.1", 0)) as server:
            assert self.attempt("connect", server.getsockname()[1]) == "EPERM"

    def test_programs_and_processes(self, rights: dict[str, str]) -> None:
        if rights["seccomp"] != "on":
            pytest.skip(rights["seccomp"])
        assert self.attempt("exec") == "EPERM"
        assert self.attempt("fork") == "EPERM"
        assert self.attempt("signal", os.getpid()) == "EPERM"
        assert self.attempt("ptrace", os.getpid()) == "EPERM"
        assert self.attempt("memfd") == "EPERM"
        assert self.attempt("thread") == "done: [1]"

    def test_other_files(self, rights: dict[str, str], tmp_path: Path) -> None:
        if not rights["landlock"].startswith("on"):
            pytest.skip(rights["landlock"])
        mine, other, out = tmp_path / "mine", tmp_path / "other", tmp_path / "out"
        mine.write_text("mine")
        other.write_text("other")
        out.mkdir()
        given = {"readable": [mine], "writable": [out]}
        assert self.attempt("read", mine, **given) == "done: b'mine'"
        assert self.attempt("read", other, **given) == "EACCES"
        assert self.attempt("read", "/etc/passwd", **given) == "EACCES"
        assert self.attempt("read", f"/proc/{os.getpid()}/environ", **given) == "EACCES"
        assert self.attempt("list", tmp_path, **given) == "EACCES"
        assert self.attempt("write", mine, **given) == "EACCES"
        assert self.attempt("write", tmp_path / "new", **given) == "EACCES"
        assert self.attempt("remove", other, **given) == "EACCES"
        assert self.attempt("rename", out, tmp_path / "moved", **given) in ("EACCES", "EXDEV")
        assert self.attempt("chmod", other, **given) == "EPERM"
        assert self.attempt("write", out / "new", **given) == "done: 1"
        assert other.read_text() == "other"

    def test_secrets_of_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("REELMILL_SECRET", "do not tell")
        with Confiner(preload=()) as fresh:
            assert fresh.run(fn.attempt, "environment", "REELMILL_SECRET") == "done: None"

    def test_what_is_written_is_the_callers(self, confiner: Confiner, tmp_path: Path) -> None:
        previous = os.umask(0o077)
        try:
            with Confiner(preload=()) as fresh:
                fresh.run(fn.save, tmp_path / "made", "whole", writable=[tmp_path])
        finally:
            os.umask(previous)
        final = tmp_path / "made" / "final"
        assert final.read_text() == "whole"
        assert final.stat().st_uid == os.geteuid()


@linux_only
class TestLimits:
    def test_memory(self, confiner: Confiner) -> None:
        with pytest.raises(ResourceExceeded, match="memory of 300 MiB"):
            confiner.run(fn.eat_memory, limits=Limits(memory_bytes=300 << 20, wall_s=PATIENCE_S))

    def test_processor_time(self, confiner: Confiner) -> None:
        with pytest.raises(ResourceExceeded, match="processor time of 1 s"):
            confiner.run(fn.spin, limits=Limits(cpu_s=1, wall_s=600))

    def test_time_on_the_clock(self, confiner: Confiner) -> None:
        with pytest.raises(ResourceExceeded, match=r"time of 0\.3 s"):
            confiner.run(fn.wait, 600.0, limits=Limits(wall_s=0.3))

    def test_length_of_files(self, confiner: Confiner, tmp_path: Path) -> None:
        with pytest.raises(ResourceExceeded, match="output of 65536 bytes"):
            confiner.run(fn.write_large, tmp_path / "big", limits=Limits(output_bytes=65536), writable=[tmp_path])

    def test_a_full_disk_is_the_machines_fault_and_not_the_sources(self, confiner: Confiner) -> None:
        full = Path("/dev/full")
        with pytest.raises(DiskFull) as caught:
            confiner.run(fn.write_large, full, writable=[full])
        assert failure_of(caught.value).fault is Fault.INFRASTRUCTURE

    @pytest.mark.parametrize("wrong", [{"memory_bytes": 0}, {"wall_s": 0}, {"open_files": -1}])
    def test_limits_must_be_positive(self, wrong: dict[str, int]) -> None:
        with pytest.raises(ValueError, match="positive"):
            Limits(**wrong)  # type: ignore[arg-type]


@linux_only
class TestEnds:
    def test_a_crash_is_named_and_leaves_evidence(self, confiner: Confiner) -> None:
        with pytest.raises(MediaCrashed, match="SIGSEGV") as caught:
            confiner.run(fn.crash)
        assert "before the crash" in evidence_of(caught.value)["stderr"]
        assert confiner.run(fn.add, 1, 1) == 2

    def test_leaving_without_a_result_is_a_crash(self, confiner: Confiner) -> None:
        with pytest.raises(MediaCrashed, match="exit status 3"):
            confiner.run(fn.leave)

    def test_stop_kills_the_child(self, confiner: Confiner) -> None:
        stop, pids = threading.Event(), []

        def started(pid: int) -> None:
            pids.append(pid)
            stop.set()

        with pytest.raises(Stopped):
            confiner.run(fn.wait, 600.0, stop=stop, on_message=started)
        assert not alive(pids[0])

    def test_a_killed_server_is_an_error_once_and_then_replaced(self) -> None:
        with Confiner(preload=()) as fresh:
            fresh.run(fn.add, 1, 1)
            server = fresh.server_pid
            assert server is not None
            pids: list[int] = []

            def kill_server(pid: int) -> None:
                pids.append(pid)
                os.kill(server, signal.SIGKILL)

            with pytest.raises(FarmError):
                fresh.run(fn.wait, 600.0, on_message=kill_server)
            assert until(lambda: not alive(pids[0]))
            assert fresh.run(fn.add, 1, 2) == 3
            assert fresh.server_pid != server

    def test_a_server_killed_while_idle_is_replaced_unnoticed(self) -> None:
        with Confiner(preload=()) as fresh:
            fresh.run(fn.add, 1, 1)
            assert fresh.server_pid is not None
            os.kill(fresh.server_pid, signal.SIGKILL)
            assert fresh.run(fn.add, 1, 2) == 3

    def test_close_ends_the_server_and_a_later_call_starts_another(self) -> None:
        fresh = Confiner(preload=())
        fresh.run(fn.add, 1, 1)
        server = fresh.server_pid
        assert server is not None
        fresh.close()
        assert not alive(server)
        assert fresh.run(fn.add, 1, 1) == 2
        fresh.close()

    def test_nothing_outlives_a_caller_that_is_killed(self) -> None:
        script = (
            "import confined_functions as fn; from encoders.confine import Confiner\n"
            "confiner = Confiner(preload=())\n"
            "say = lambda pid: print(pid, confiner.server_pid, flush=True)\n"
            "confiner.run(fn.wait, 600.0, on_message=say)\n"
        )
        path = os.pathsep.join([str(HERE), str(HERE.parents[2])])
        caller = subprocess.Popen(
            [sys.executable, "-c", script], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path}
        )
        with caller:
            assert caller.stdout is not None
            child, server = map(int, caller.stdout.readline().split())
            assert alive(child)
            assert alive(server)
            caller.kill()
        assert until(lambda: not alive(child) and not alive(server))

    def test_the_server_stays_single_threaded_with_everything_loaded(self) -> None:
        # A fork copies locks that other threads hold, and nobody ever opens them.
        with Confiner() as full:
            assert full.run(fn.add, 1, 1) == 2
            assert len([*Path(f"/proc/{full.server_pid}/task").iterdir()]) == 1

    def test_a_server_that_cannot_start_says_so(self) -> None:
        with (
            Confiner(preload=("no_such_module_anywhere",)) as broken,
            pytest.raises(MediaCrashed, match="did not start"),
        ):
            broken.run(fn.add, 1, 1)
