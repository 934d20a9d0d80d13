"""The tests that need a GPU, run by `python -m benchmarks gpu --prove` with no leave to skip.

They need pytest and the lanes' own packages, none of the farm's others: neither the project's configuration nor its
fixtures are loaded, so a bare machine with a handful of wheels can run them.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CONTRACT = "tests/contract/test_backends.py"
"""What every backend promises, here on the device; `gpu_verdicts` judges the rest by what the steps found."""
LINE = re.compile(r"^(\S+::.*?) (PASSED|FAILED|ERROR|SKIPPED)\b", re.MULTILINE)
SAID_CHARS = 6000


def contract_command(lanes: Sequence[str], only: str = "") -> list[str]:
    """pytest on the contract suite.

    Args:
        lanes: backends that the probe offers here.
        only: a further expression for pytest's -k.
    """
    wanted = f"({' or '.join(lanes)}) and not fake" + (f" and {only}" if only else "")
    options = [
        "-c",
        os.devnull,
        f"--rootdir={ROOT}",
        "--noconftest",
        "--import-mode=importlib",
        "-p",
        "no:cacheprovider",
    ]
    paths = ["-o", f"pythonpath={ROOT} {ROOT / 'tests'}"]
    return [sys.executable, "-m", "pytest", *options, *paths, "-v", "--tb=short", "-k", wanted, CONTRACT]


def run_contract(lanes: Sequence[str], limit_s: float, environment: dict[str, str], only: str = "") -> dict[str, Any]:
    """Outcome of each test on the backends that are offered; when time runs out those that had ended stand."""
    if not lanes:
        return {"reason": "no backend of this GPU is offered"}
    try:
        done = subprocess.run(
            contract_command(lanes, only),
            capture_output=True,
            timeout=limit_s,
            check=False,
            cwd=ROOT,
            env={**environment, "REELMILL_REQUIRE_GPU": "1"},
            stdin=subprocess.DEVNULL,
        )
        output, late = done.stdout + done.stderr, ""
    except subprocess.TimeoutExpired as hung:
        output, late = hung.stdout or b"", f"did not finish within {limit_s:.0f} s"
    return {**read_outcomes(output.decode(errors="replace")), **({"reason": late} if late else {})}


def read_outcomes(output: str) -> dict[str, Any]:
    """Counts by outcome and the tests that did not pass, from what pytest said; its last words when any did not."""
    ended = dict(LINE.findall(output))
    missed = sorted(name for name, outcome in ended.items() if outcome != "PASSED")
    found: dict[str, Any] = {outcome.lower(): count for outcome, count in Counter(ended.values()).items()}
    if missed or not ended:
        found |= {"not_passed": missed, "said": output[-SAID_CHARS:]}
    return found
