"""A dead worker's scratch folder is removed by the next worker of the node, a living one's is not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from cluster.scratch import claim_scratch, sweep_scratch

WORK = """
import sys, time
from pathlib import Path
from cluster.scratch import claim_scratch
folder = claim_scratch(Path(sys.argv[1]), "other")
(folder / "work").mkdir()
(folder / "work" / "half.mp4").write_bytes(b"x")
print(flush=True)
time.sleep(99)
"""


def test_folders_go_with_their_process_even_when_that_is_killed(tmp_path: Path) -> None:
    mine = claim_scratch(tmp_path, "mine")
    other = subprocess.Popen([sys.executable, "-c", WORK, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        assert other.stdout is not None
        other.stdout.readline()
        assert sweep_scratch(tmp_path) == 0
        assert (tmp_path / "other" / "work" / "half.mp4").exists()
    finally:
        other.kill()
        other.communicate()
    assert sweep_scratch(tmp_path) == 1
    assert list(tmp_path.iterdir()) == [mine]


def test_a_node_that_has_never_worked_has_nothing_to_sweep(tmp_path: Path) -> None:
    assert sweep_scratch(tmp_path / "none") == 0
