"""A supervisor ends everything below it: orphans, groups of their own, those that do not listen."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
import uuid
from pathlib import Path

import pytest

from cluster.processes import process_table


def run_script(script: str) -> str:
    """A Python script's output; it must end well."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def left_over(marker: str) -> list[str]:
    """Commands of processes that carry the marker."""
    return [info.command for info in process_table().values() if marker in info.command and not info.zombie]


def wait_until_gone(marker: str) -> None:
    """Fail when a process with the marker is there after ten seconds."""
    for _ in range(200):
        if not left_over(marker):
            return
        time.sleep(0.05)
    pytest.fail(f"still there: {left_over(marker)}")


def test_every_descendant_is_ended_and_reaped() -> None:
    marker = f"mark-{uuid.uuid4().hex}"
    output = run_script(f"""
        import os, subprocess, sys, time
        from cluster.processes import become_subreaper, descendants, end_descendants, process_table
        become_subreaper()
        deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(99)"
        subprocess.Popen(["sh", "-c", "sh -c 'sleep 99; true {marker}' & setsid sleep 98 & exit 0"]).wait()
        subprocess.Popen(["setsid", "sh", "-c", "sh -c 'sleep 97; true {marker}' & wait"])
        stubborn = subprocess.Popen([sys.executable, "-c", deaf, "{marker}"], stdout=subprocess.PIPE)
        stubborn.stdout.readline()
        while len(descendants(os.getpid())) < 7:
            time.sleep(0.01)
        print(end_descendants(0.5), len(descendants(os.getpid())))
    """)
    killed, left = map(int, output.split())
    assert killed >= 1  # the deaf one
    assert left == 0
    wait_until_gone(marker)


def test_a_child_ends_with_its_parent_even_when_that_is_killed() -> None:
    marker = f"mark-{uuid.uuid4().hex}"
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import subprocess, sys, time; from cluster.processes import die_with_parent;"
            "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(99)', sys.argv[1] + 'x'],"
            " preexec_fn=die_with_parent()); print(flush=True); time.sleep(99)",
            marker,
        ],
        stdout=subprocess.PIPE,
    )
    try:
        assert parent.stdout is not None
        parent.stdout.readline()
        assert left_over(f"{marker}x")
    finally:
        parent.kill()
        parent.wait()
        assert parent.stdout is not None
        parent.stdout.close()
    wait_until_gone(f"{marker}x")


def test_adopted_orphans_are_reaped_and_known_children_left_alone() -> None:
    output = run_script("""
        import os, subprocess, time
        from cluster.processes import become_subreaper, process_table, reap_adopted
        become_subreaper()
        ours = subprocess.Popen(["true"])
        subprocess.Popen(["sh", "-c", "true & sleep 0.01 & exit 0"]).wait()
        while any(not info.zombie for info in process_table().values() if info.parent == os.getpid()):
            time.sleep(0.01)
        reap_adopted({ours.pid})
        print([info.pid == ours.pid for info in process_table().values() if info.parent == os.getpid()], ours.wait())
    """)
    assert output.strip() == "[True] 0"


def test_the_table_knows_this_process() -> None:
    mine = process_table()[os.getpid()]
    assert mine.parent == os.getppid()
    assert "python" in mine.command or "pytest" in mine.command
    assert not mine.zombie
    assert Path(f"/proc/{mine.pid}").exists()


def test_what_is_to_be_kept_stays_with_all_below_it() -> None:
    output = run_script("""
        import os, subprocess, time
        from cluster.processes import become_subreaper, descendants, end_descendants, process_table
        become_subreaper()
        keep = subprocess.Popen(["sh", "-c", "sleep 99 & wait"])
        gone = subprocess.Popen(["sh", "-c", "sleep 99 & wait"])
        ended = subprocess.Popen(["true"])
        while len(descendants(os.getpid())) < 5:
            time.sleep(0.01)
        end_descendants(5.0, keep={keep.pid, ended.pid})
        left = [info for info in descendants(os.getpid()) if not info.zombie]
        print(sorted(info.pid == keep.pid for info in left))
        print(len(descendants(keep.pid)), ended.wait(), gone.pid in process_table())
        end_descendants(5.0)
    """)
    assert output.split("\n")[:2] == ["[False, True]", "1 0 False"]
