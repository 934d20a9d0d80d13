"""`python -m benchmarks.simulated_dispatch SOCKET`: the real dispatcher process, on workers that only pretend."""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from pathlib import Path

from benchmarks.simulated_workers import SimulatedPool
from cluster.dispatch import LOST_LEADERSHIP, LostLeadership, serve
from cluster.logs import configure_logging
from cluster.settings import ClusterSettings


def nothing_to_join(_: ClusterSettings) -> None:
    """Pretended workers need no cluster."""


def main() -> None:
    """Entry point; settings come from the environment, as the real one's do."""
    settings = ClusterSettings()
    configure_logging(settings.log_json)
    try:
        asyncio.run(serve(settings, nothing_to_join, partial(SimulatedPool, Path(sys.argv[1]))))
    except* LostLeadership:
        sys.exit(LOST_LEADERSHIP)


if __name__ == "__main__":
    main()
