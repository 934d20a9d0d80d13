"""How the probing child tells its parent what it finds: one line of JSON each. Standard library only."""

from __future__ import annotations

import json
import sys

MARK = "reelmill-probe "
"""Begins each line that is meant for the parent; libraries print what they like."""


def report(kind: str, **values: object) -> None:
    """Write one finding for the parent."""
    sys.stdout.write(f"{MARK}{json.dumps({'kind': kind, **values})}\n")
    sys.stdout.flush()
