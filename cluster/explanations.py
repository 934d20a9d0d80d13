"""The engine's explanations as JSON, for whoever has another clock: dispatchers publish them, gateways read them."""

from __future__ import annotations

import time
from typing import Any

from pydantic import TypeAdapter

from scheduler.reports import Explanation

EXPLANATION = TypeAdapter(Explanation)


def as_json(explanation: Explanation) -> dict[str, Any]:
    """An explanation as JSON, its times in epoch seconds instead of the engine's monotonic ones."""
    found: dict[str, Any] = EXPLANATION.dump_python(explanation, mode="json")
    shift_s = time.time() - time.monotonic()
    for name in ("start", "end"):
        if found[name] is not None:
            found[name] = {key: value + shift_s for key, value in found[name].items()}
    return found
