"""Entry point of a gateway process: `python -m gateway.serve`. Settings come from the environment (`REELMILL_…`)."""

from __future__ import annotations

import sys

import uvicorn

from cluster.logs import configure_logging
from cluster.settings import ClusterSettings
from encoders.errors import FarmError
from gateway.app import create_app
from gateway.settings import GatewaySettings

GRACE_S = 10
"""How long open requests may go on after a stop was asked for, seconds; event streams are cut then."""


def main() -> None:
    """Serve until SIGTERM or SIGINT. Exit status 2: the settings cannot be used."""
    settings, cluster = GatewaySettings(), ClusterSettings()
    configure_logging(cluster.log_json)
    try:
        app = create_app(settings, cluster)
    except (FarmError, ValueError) as error:
        print(f"the gateway cannot start: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
        # Above the 60 s of common load balancers, so that they close first and never meet a dead connection.
        timeout_keep_alive=75,
    )


if __name__ == "__main__":
    main()
