"""All processes of one machine's farm: started in order, restarted when they die, ended with nothing left of them.

    Valkey ─ gateway ─ Ray head node ─ dispatcher

Killing any of them loses nothing: the database is the queue, and finished segments have their records. The supervisor
decides nothing else; it hands settings down by the environment and writes `farm.json`, which says where the farm is.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import structlog
from pydantic import SecretStr
from pydantic_settings import BaseSettings

from cluster.metadata.migrate import migrate
from cluster.processes import become_subreaper, descendants, die_with_parent, end_descendants, reap_adopted
from cluster.ray_node import RayNode, ray_environment
from cluster.redis_server import EmbeddedValkey
from cluster.settings import ClusterSettings
from encoders.errors import FarmError, Fault
from gateway.farm_folder import FarmFolder
from gateway.free_port import choose_port
from gateway.settings import GatewaySettings

log = structlog.get_logger()

CHECKOUT = Path(__file__).resolve().parent.parent
READY_TIMEOUT_S = 240.0
"""A gateway answers in 2 to 4 s on two idle cores, and after minutes on a machine that is far too busy."""
WATCH_S = 0.2
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 30.0
"""A process that dies is restarted at once, one that keeps dying less and less often."""
STEADY_S = 60.0
"""After so long without a death, the next one counts as the first again."""
STOP_PATIENCE_S = 8.0


class FarmNotStarted(FarmError):
    """A process of the farm did not come up; nothing of the farm is left running."""

    code = "farm_not_started"
    fault = Fault.INFRASTRUCTURE


class Child:
    """One supervised process: its command, its log, and how often it has died of late."""

    def __init__(self, name: str, module: str, folder: FarmFolder) -> None:
        self.name = name
        self.module = module
        self.log = folder.log(name)
        self.process: subprocess.Popen[bytes] | None = None
        self.log_start_bytes = 0
        self.deaths = 0
        self.started_at = 0.0
        self.due_at = 0.0

    def start(self, environment: dict[str, str]) -> None:
        """Start it in a process group of its own; it is told to end when the calling thread does."""
        with self.log.open("ab") as output:
            self.log_start_bytes = output.tell()
            self.process = subprocess.Popen(
                [sys.executable, "-m", self.module],
                cwd=CHECKOUT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,
                preexec_fn=die_with_parent(),
            )
        self.started_at = time.monotonic()

    @property
    def died(self) -> bool:
        """Whether it was started and has ended."""
        return self.process is not None and self.process.poll() is not None

    def last_words(self, lines: int = 15) -> str:
        """The end of its log, of this start only."""
        told = self.log.read_bytes()[self.log_start_bytes :].decode(errors="replace")
        return "\n".join(told.splitlines()[-lines:])

    def pause_s(self) -> float:
        """Count a death; how long to wait before the next start."""
        if time.monotonic() - self.started_at > STEADY_S:
            self.deaths = 0
        self.deaths += 1
        return float(min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (self.deaths - 1)))


class Farm:
    """The processes of one farm. A context manager: they run inside `with`, and none is left after it.

    The farm takes the calling process for itself: every descendant of this process ends with the farm.

    Args:
        cluster: settings; what they name (Redis, Ray) is used instead of being started.
        gateway: None runs a farm without HTTP. Port 0, or a port that is taken, lets the system choose one, unless
            `fixed_port` says that only the given one will do.
        tell: called with one sentence whenever a person would want to know.
    """

    def __init__(
        self,
        cluster: ClusterSettings,
        gateway: GatewaySettings | None,
        *,
        fixed_port: bool = False,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.cluster = cluster
        self.gateway = gateway
        self.folder = FarmFolder(cluster.root)
        self.url = ""
        self._fixed_port = fixed_port
        self._told = tell
        self._valkey: EmbeddedValkey | None = None
        self._ray: RayNode | None = None
        self._children: list[Child] = []
        self._environment: dict[str, str] = {}
        self._stopping = threading.Event()
        self._watcher: threading.Thread | None = None
        self._guard = threading.RLock()
        self._written: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start everything and wait until it answers.

        Raises:
            FarmNotStarted, ClusterUnavailable, RedisUnavailable, FarmRunning, PortTaken: nothing is left running.
        """
        self.folder.claim()
        become_subreaper()
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self) -> None:
        migrate(self.cluster.effective_database_url)
        self._environment = self._settled_environment()
        if not self.cluster.redis_url:
            self._valkey = EmbeddedValkey(self.cluster.root / "valkey")
            self._valkey.start()
            self._environment["REELMILL_REDIS_URL"] = self._valkey.url
        if self.gateway is not None:
            self._begin(Child("gateway", "gateway.serve", self.folder))
        if not self.cluster.ray_address:
            self._tell("starting Ray")
            self._ray = RayNode(self.cluster.root, self.cluster.slots_per_node, self.cluster.ray_dashboard)
            self._environment["REELMILL_RAY_ADDRESS"] = self._ray.start()
        self._begin(Child("dispatcher", "cluster.dispatch", self.folder))
        if self.gateway is not None:
            self._await_gateway()
        self._write_state()
        self._watcher = threading.Thread(target=self._watch, name="farm-watcher", daemon=True)
        self._watcher.start()

    def _settled_environment(self) -> dict[str, str]:
        """This process's environment, with all settings in it as they hold now."""
        environment = {**os.environ, **as_environment(self.cluster)}
        environment["REELMILL_DATA_DIR"] = str(self.cluster.root)
        environment["PYTHONUNBUFFERED"] = "1"
        # A restarted dispatcher is the same one, so it takes its own leadership over instead of waiting for its end.
        environment.setdefault("REELMILL_DISPATCHER_NAME", "embedded")
        if not self.cluster.ray_address:
            environment |= ray_environment(self.cluster.root)
        if self.gateway is not None:
            port = choose_port(self.gateway.host, self.gateway.port, fixed=self._fixed_port)
            self.url = f"http://{_reachable(self.gateway.host)}:{port}"
            environment |= as_environment(self.gateway)
            environment["REELMILL_PORT"] = str(port)
            if "public_url" not in self.cluster.model_fields_set:
                environment["REELMILL_PUBLIC_URL"] = self.url
        return environment

    def _begin(self, child: Child) -> None:
        self._children.append(child)
        child.start(self._environment)

    def _await_gateway(self) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < deadline:
            for child in self._children:
                if child.died:
                    raise FarmNotStarted(
                        f"the {child.name} ended while starting; its log ends with:\n{child.last_words()}"
                    )
            try:
                if httpx.get(f"{self.url}/healthz", timeout=2.0, trust_env=False).is_success:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        raise FarmNotStarted(f"the gateway did not answer at {self.url}; its log is {self.folder.log('gateway')}")

    @property
    def ray_address(self) -> str:
        """Where more nodes may join the embedded Ray; another after each restart of its head."""
        return self._environment.get("REELMILL_RAY_ADDRESS", "")

    @property
    def environment(self) -> dict[str, str]:
        """What the farm's processes get; another dispatcher with it, under a name of its own, stands by."""
        return dict(self._environment)

    @property
    def dashboard_url(self) -> str:
        """Of Ray's dashboard; empty when this farm has none."""
        shown = self._ray is not None and self.cluster.ray_dashboard
        return f"http://127.0.0.1:{self._ray.dashboard_port}" if shown and self._ray is not None else ""

    def pids(self) -> dict[str, int]:
        """Supervised processes by name: valkey, ray, gateway, dispatcher. Those of workers are below `ray`."""
        with self._guard:
            found = {child.name: child.process.pid for child in self._children if child.process is not None}
            if self._valkey is not None and (pid := self._valkey.pid) is not None:
                found["valkey"] = pid
            if self._ray is not None and self._ray.process is not None:
                found["ray"] = self._ray.process.pid
            return found

    def _watch(self) -> None:
        """The watcher's thread: restart what dies, collect orphans. Children it starts live as long as it does."""
        while not self._stopping.wait(WATCH_S):
            with self._guard:
                # Each step by itself: a full disk must not end this thread, and with it every child that it started.
                self._attempt(self._watch_ray)
                for child in self._children:
                    self._attempt(partial(self._watch_child, child))
                reap_adopted(set(self.pids().values()))
                self._attempt(self._write_state)

    def _attempt(self, step: Callable[[], None]) -> None:
        """Do a step of the watcher; what fails now (a full disk, a terminal that is gone) comes again with the next."""
        try:
            step()
        except OSError as error:
            log.error("watching_failed", error=str(error))
            self._stopping.wait(FIRST_PAUSE_S)

    def _tell(self, sentence: str) -> None:
        with suppress(OSError):  # whoever read it has gone
            self._told(sentence)

    def _watch_child(self, child: Child) -> None:
        if not child.died or self._stopping.is_set():
            return
        now = time.monotonic()
        if child.due_at == 0.0:
            assert child.process is not None
            pause_s = child.pause_s()
            child.due_at = now + pause_s
            status = child.process.returncode
            log.error("process_died", process=child.name, status=status, restart_in_s=pause_s, log=str(child.log))
            self._tell(f"the {child.name} ended ({_ending(status)}) and is started again; log: {child.log}")
        elif now >= child.due_at:
            child.due_at = 0.0
            child.start(self._environment)

    def _watch_ray(self) -> None:
        """Start Ray again when its supervisor is gone, or when the last such try failed."""
        ray = self._ray
        if ray is None or (ray.process is not None and ray.process.poll() is None):
            return
        log.error("process_died", process="ray", log=str(ray.log))
        self._tell(f"Ray ended and is started again; log: {ray.log}")
        ray.stop()
        # What it had started may have outlived it, each in a group of its own. The dispatcher is of no use without it,
        # and learns the new address only by a fresh start, which loses nothing.
        stays = {pid for name, pid in self.pids().items() if name != "dispatcher"}
        for child in self._children:
            if child.name == "dispatcher" and child.process is not None:
                child.process.kill()
                child.process.wait()
        end_descendants(0.0, keep=stays)
        try:
            self._environment["REELMILL_RAY_ADDRESS"] = ray.start()
        except (FarmError, OSError) as error:
            log.error("ray_restart_failed", detail=str(error))
            self._stopping.wait(LONGEST_PAUSE_S / 10)

    def _write_state(self) -> None:
        """Say in `farm.json` what runs, when that has changed."""
        state = {"url": self.url, "pid": os.getpid(), "pids": self.pids()}
        if state != self._written:
            self.folder.write_state(state)
            self._written = state

    def wait(self) -> None:
        """Block until another thread or a signal handler calls `stop` or raises here."""
        while not self._stopping.wait(3600):
            pass

    def stop(self) -> None:
        """End every process of the farm and reap it; safe to call twice, and from `except` blocks.

        A second Ctrl-C does not cut this short: it takes seconds at most, and would leave processes behind.
        """
        calm = _ignore_interrupts()
        try:
            self._stopping.set()
            # Asked at once and not one by one: each ends on its own, and whatever one leaves behind another can bear.
            for child in reversed(self._children):
                if child.process is not None and child.process.poll() is None:
                    child.process.terminate()
            if self._ray is not None and self._ray.process is not None:
                self._ray.process.terminate()
            if self._watcher is not None:
                self._watcher.join()
            if self._ray is not None:
                self._ray.stop()
            if self._valkey is not None:
                self._valkey.stop()
        finally:
            killed = end_descendants(STOP_PATIENCE_S)
            if killed:
                log.warning("processes_killed", count=killed)
            self.folder.release()
            calm()


def as_environment(settings: BaseSettings) -> dict[str, str]:
    """Settings that were given (not defaults) as the environment variables that make them again."""
    prefix = settings.model_config.get("env_prefix", "")
    return {
        f"{prefix}{name}".upper(): _as_text(getattr(settings, name))
        for name in settings.model_fields_set & type(settings).model_fields.keys()
    }


def _as_text(value: Any) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, bool | dict | list | tuple):
        return json.dumps(value)
    return str(value)


def _reachable(host: str) -> str:
    """The host that a client on this machine uses to reach a listening address."""
    named = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)
    return f"[{named}]" if ":" in named and not named.startswith("[") else named


def _ending(status: int) -> str:
    return f"by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"


def _ignore_interrupts() -> Callable[[], None]:
    """Ignore Ctrl-C and SIGTERM for now, where signals can be handled at all; returns how to undo it."""
    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    before = {
        number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    return restore


def workers_below(pid: int) -> list[int]:
    """Pids of the worker actors of the Ray node whose supervisor is `pid`; for tests and for people with `kill`."""
    return [info.pid for info in descendants(pid) if info.command.startswith("ray::SlotHolder")]
