"""`kill -9` at every step of the local store loses nothing that was acknowledged."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

PROGRAM = Path(__file__).with_name("kill_every_step.py")


MEMORY = Path("/dev/shm")
"""Where syncing costs nothing: what a killed process leaves is the same there as on a disk."""


def test_kill_at_every_step() -> None:
    root = PROGRAM.parent.parent.parent
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        done = subprocess.run(
            [sys.executable, PROGRAM, folder],
            capture_output=True,
            text=True,
            cwd=root,
            env=os.environ | {"PYTHONPATH": str(root)},
            check=False,
        )
    assert done.returncode == 0, done.stderr
    # The work changes the file system at some ninety places; far fewer would mean that the hook saw nothing.
    assert int(done.stdout) > 50
