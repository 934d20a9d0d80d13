"""Runs one function on hostile bytes in a process that has no rights to spare, and returns its value or a typed error.

Rule: every call is a fresh process, forked from a server that has the media libraries loaded (about 10 ms), so nothing
of one source survives into the next (a call may serve several orders, all of one source: encoders/held.py); the process
that calls never parses a byte of media itself. What the child may do is in `encoders/sandbox.py`; what it may send back
is in `encoders/wire.py`.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, overload

from encoders import wire
from encoders.confined import Call, drive, judge
from encoders.confined import Limits as Limits
from encoders.confined import Stopped as Stopped
from encoders.errors import Failure, FarmError, MediaCrashed

T = TypeVar("T")

KEPT_ENVIRONMENT = {"PATH", "HOME", "LANG", "TZ", "LD_LIBRARY_PATH", "CUDA_PATH", "NVIDIA_VISIBLE_DEVICES"} | {
    "CUDA_VISIBLE_DEVICES",
    "CUDA_DEVICE_ORDER",
    "REELMILL_GPU_PROOF",
}
"""What the fork server gets of this process's environment, which may hold secrets; the last says what the worker's GPU
was proven to do (encoders/backends/probe.py)."""
# A child may not write caches that the next one would trust.
SET_ENVIRONMENT = {"LC_ALL": "C.UTF-8", "CUPY_CACHE_IN_MEMORY": "1", "CUDA_CACHE_DISABLE": "1"}
# One thread each: a fork must not meet the lock of a numerical library's thread pool.
SET_ENVIRONMENT |= {f"{library}_NUM_THREADS": "1" for library in ("OPENBLAS", "OMP", "MKL")}
_MODULES = "probe segment held audio package verify_asset canary backends.registry recognition.recognise"
PRELOAD = tuple(f"encoders.{name}" for name in _MODULES.split())
"""Whatever workers run confined: imported for each call it would cost half a second of it."""
STARTUP_LIMIT_S = 60.0
REAP_LIMIT_S = 5.0

_call_fd: int | None = None
_report_lock = threading.Lock()
_rights: dict[str, str] = {}


def report(message: object) -> None:
    """Send a message from the confined function to the caller's `on_message`; nothing happens outside a child.

    Args:
        message: plain values, or dataclasses and enums of the function's own package.
    """
    if _call_fd is not None:
        with _report_lock:
            wire.write_frame(_call_fd, wire.MESSAGE, wire.pack_value(message))


def next_order() -> Any:
    """Inside a child: the next order of the caller that opened the channel (`Confiner.run`, `opened`); None at its end.

    Waits as long as it takes; the caller's limits hold meanwhile.
    """
    if _call_fd is None:
        return None
    try:
        _, length = wire.HEADER.unpack(wire.read_exactly(_call_fd, wire.HEADER.size))
        return pickle.loads(wire.read_exactly(_call_fd, length))
    except EOFError:
        return None


def enter_child(call_fd: int, rights: Mapping[str, str]) -> None:
    """Called once by the fork server in a new child: where `report` writes, and which rights it gave up."""
    global _call_fd
    _call_fd = call_fd
    _rights.update(rights)


def own_rights() -> dict[str, str]:
    """Inside a child: mechanism -> "on", or why not. Empty in a process that is not confined."""
    return dict(_rights)


def evidence_of(error: FarmError) -> dict[str, str]:
    """What a confined call kept to find an error's cause: stderr's tail, exit, peak memory; empty for other errors."""
    found: dict[str, str] = vars(error).get("evidence", {})
    return found


def failure_of(error: FarmError) -> Failure:
    """The value of an error that a confined call raised, with its evidence."""
    return Failure.of(error, **evidence_of(error))


class Confiner:
    """Owns a fork server and runs functions in its confined children. Safe to use from several threads at once.

    The server starts with the first call, is replaced by the next call if it dies, and ends with `close()`, with this
    process however it ends, and takes its children with it.
    """

    def __init__(self, preload: Sequence[str] = PRELOAD) -> None:
        """Args: preload: modules that the server imports once, so that children have them. They start no threads."""
        self.preload = tuple(preload)
        self._lock = threading.Lock()
        self._server: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def __enter__(self) -> Confiner:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def server_pid(self) -> int | None:
        """Process id of the fork server, None while there is none."""
        return self._server.pid if self._server else None

    def close(self) -> None:
        """End the server and every running child; a later `run` starts a new server."""
        with self._lock:
            self._end_server()

    @overload
    def run(
        self,
        function: Callable[..., T],
        *args: object,
        limits: Limits = ...,
        writable: Sequence[Path] = ...,
        readable: Sequence[Path] = ...,
        devices: bool = ...,
        stop: threading.Event | None = ...,
        on_message: Callable[[Any], None] | None = ...,
        opened: Callable[[int], None] | None = ...,
    ) -> T: ...

    @overload
    def run(
        self,
        function: str,
        *args: object,
        limits: Limits = ...,
        writable: Sequence[Path] = ...,
        readable: Sequence[Path] = ...,
        devices: bool = ...,
        stop: threading.Event | None = ...,
        on_message: Callable[[Any], None] | None = ...,
        opened: Callable[[int], None] | None = ...,
    ) -> Any: ...

    def run(
        self,
        function: Callable[..., Any] | str,
        *args: object,
        limits: Limits | None = None,
        writable: Sequence[Path] = (),
        readable: Sequence[Path] = (),
        devices: bool = False,
        stop: threading.Event | None = None,
        on_message: Callable[[Any], None] | None = None,
        opened: Callable[[int], None] | None = None,
    ) -> Any:
        """Call a module-level function in a fresh confined process and wait for it.

        Args:
            function: the function, or "module:function" so that the caller need not import its module.
            args: must pickle.
            limits: what the child may use.
            writable: existing files and folders in which it may read, write and remove.
            readable: existing files and folders that it may read.
            devices: whether it may use the machine's GPUs.
            stop: the child is killed soon after this is set.
            on_message: gets what the child passes to `report`, in this thread; if it raises, the child is killed.
            opened: gets the descriptor of the channel to the child before the call begins, to copy it: once the child
                has reported something, frames written there are what `next_order` returns in it.

        Returns:
            What the function returned: plain values, arrays, or dataclasses and enums of its package or of `encoders`.

        Raises:
            FarmError: the same class with the same detail that the function raised.
            ResourceExceeded: it passed a limit.
            MediaCrashed: it died by a signal, or raised what is no `FarmError`.
            Stopped: `stop` was set.
            All of them carry an attribute `evidence` (see `evidence_of`).
        """
        target = function if isinstance(function, str) else f"{function.__module__}:{function.__qualname__}"
        if "<" in target or target.startswith("__main__:"):
            raise ValueError(f"{target}: only functions of an importable module can be called in another process")
        limits = limits or Limits()
        paths = [[Path(path).absolute() for path in group] for group in (readable, writable)]
        payload = pickle.dumps((target, args, limits, *paths, devices))
        call = self._call(Call(target, limits), payload, stop, on_message, opened)
        if call.never_began:
            call = self._call(Call(target, limits), payload, stop, on_message, opened)
        return judge(call)

    def _call(
        self,
        call: Call,
        payload: bytes,
        stop: threading.Event | None,
        on_message: Callable[[Any], None] | None,
        opened: Callable[[int], None] | None,
    ) -> Call:
        with contextlib.ExitStack() as closing:
            ends = self._order_fork(closing)
            if opened is not None:
                opened(ends["call"])
            try:
                drive(call, payload, ends, stop, on_message)
            finally:
                call.kill(None)
                if call.pidfd >= 0:
                    os.close(call.pidfd)
        return call

    def _order_fork(self, closing: contextlib.ExitStack) -> dict[str, int]:
        """Have the server fork; returns the parent's ends: call, status, stderr."""
        call_here, call_there = socket.socketpair()
        status_here, status_there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        stderr_here, stderr_there = os.pipe()
        closing.callback(os.close, stderr_here)
        for end in (call_here, status_here):
            closing.enter_context(end)
        try:
            fds = [call_there.fileno(), status_there.fileno(), stderr_there]
            with self._lock:
                try:
                    socket.send_fds(self._ready_server(), [b"f"], fds)
                except (BrokenPipeError, ConnectionResetError):
                    self._end_server()
                    socket.send_fds(self._ready_server(), [b"f"], fds)
        finally:
            call_there.close()
            status_there.close()
            os.close(stderr_there)
        return {"call": call_here.fileno(), "status": status_here.fileno(), "stderr": stderr_here}

    def _ready_server(self) -> socket.socket:
        if self._server is not None and self._server.poll() is not None:
            self._end_server()
        if self._control is None:
            self._start_server()
        assert self._control is not None
        return self._control

    def _start_server(self) -> None:
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        kept = {name: value for name, value in os.environ.items() if name in KEPT_ENVIRONMENT}
        path = [str(Path(__file__).resolve().parent.parent), *filter(None, sys.path)]
        environment = {**kept, **SET_ENVIRONMENT, "PYTHONPATH": os.pathsep.join(dict.fromkeys(path))}
        with there:
            self._server = subprocess.Popen(
                [sys.executable, "-P", "-m", "encoders.forkserver", str(there.fileno()), *self.preload],
                pass_fds=[there.fileno()],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._control = here
        here.settimeout(STARTUP_LIMIT_S)
        try:
            ready = here.recv(65536)
        except TimeoutError:
            ready = b""
        if not ready:
            self._end_server()
            raise MediaCrashed("the fork server of confined processes did not start; its reason is on standard error")
        json.loads(ready)
        here.settimeout(None)

    def _end_server(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._server is not None:
            try:
                self._server.wait(REAP_LIMIT_S)
            except subprocess.TimeoutExpired:
                self._server.kill()
                self._server.wait()
            self._server = None


def describe_confinement() -> dict[str, str]:
    """What holds a confined process on this machine: mechanism -> "on", or "off: " and why. Starts and ends one."""
    if sys.platform != "linux":
        return {"confinement": f"off: {sys.platform} has none of its mechanisms"}
    with Confiner(preload=()) as confiner:
        found: dict[str, str] = confiner.run("encoders.confine:own_rights")
    return found
