"""Which TCP port a farm listens on."""

from __future__ import annotations

import errno
import socket

from encoders.errors import FarmError, Fault


class PortTaken(FarmError):
    """Somebody listens on the port that was asked for; nothing was started."""

    code = "port_taken"
    fault = Fault.CALLER


def choose_port(host: str, wanted: int, *, fixed: bool) -> int:
    """The wanted port when it is free, else one that the system chooses; 0 always lets it choose.

    Between this answer and the server's own bind somebody else may take the port; the server then fails and says so.

    Raises:
        PortTaken: it is not free, and `fixed` says that no other will do.
    """
    try:
        return _free(host, wanted)
    except OSError as error:
        if fixed or error.errno != errno.EADDRINUSE:
            raise PortTaken(
                f"cannot listen on {host}:{wanted} ({error.strerror}); choose another with --port"
            ) from None
        return _free(host, 0)


def _free(host: str, port: int) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        return int(probe.getsockname()[1])
