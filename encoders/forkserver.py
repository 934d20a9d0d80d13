"""The fork server of confined processes: `python -m encoders.forkserver FD` and what runs in its children.

It imports the media modules once, then forks a child per call, which gives up its rights (`encoders/sandbox.py`), runs
one function and is gone. It stays single-threaded, so that a fork is safe, and ends when its parent does: the control
socket then reads end-of-file, also after kill -9; its children die with it by the kernel's parent-death signal.
"""

from __future__ import annotations

import errno
import faulthandler
import gc
import importlib
import json
import os
import pickle
import select
import signal
import socket
import sys
import traceback
from typing import NoReturn

from encoders import confine, sandbox, wire
from encoders.errors import DiskFull, FarmError

PARENT_CHECK_MS = 1000
"""A second look at the parent, for the case that another process holds its end of the control socket."""


def main(control_fd: int, preload: list[str]) -> None:
    """Serve until the parent is gone."""
    control = socket.socket(fileno=control_fd)
    parent_pid = os.getppid()
    for name in preload:
        importlib.import_module(name)
    _log_media_errors_to_stderr()
    namespaces = sandbox.enter_namespaces()
    gc.collect()
    gc.freeze()
    control.send(json.dumps({"namespaces": namespaces}).encode())
    children: dict[int, tuple[int, socket.socket]] = {}
    poll = select.poll()
    poll.register(control, select.POLLIN)
    while os.getppid() == parent_pid:
        for fd, _ in poll.poll(PARENT_CHECK_MS):
            if fd != control.fileno():
                poll.unregister(fd)
                _report_exit(fd, *children.pop(fd))
                continue
            order, fds, _, _ = socket.recv_fds(control, 1, 3)
            if not order:
                return
            pidfd, pid, status = _fork(fds, namespaces)
            children[pidfd] = (pid, status)
            poll.register(pidfd, select.POLLIN)


def _log_media_errors_to_stderr() -> None:
    """FFmpeg's own log callback writes to stderr, which the parent keeps the tail of; PyAV's default keeps silent."""
    if "av" in sys.modules:
        importlib.import_module("encoders.medialog").log_to_stderr()


def _fork(fds: list[int], namespaces: str) -> tuple[int, int, socket.socket]:
    call_fd, status_fd, stderr_fd = fds
    server_pid = os.getpid()
    pid = os.fork()
    if pid == 0:
        _child(call_fd, stderr_fd, server_pid, namespaces)
    os.close(call_fd)
    os.close(stderr_fd)
    status = socket.socket(fileno=status_fd)
    pidfd = os.pidfd_open(pid)
    _send_status(status, [wire.EXIT.pack(pid, -1, 0, 0.0)], [pidfd])
    return pidfd, pid, status


def _send_status(status: socket.socket, data: list[bytes], fds: list[int]) -> None:
    try:
        socket.send_fds(status, data, fds)
    except (BrokenPipeError, ConnectionResetError):
        return  # the caller has given up on this child, and has killed it


def _report_exit(pidfd: int, pid: int, status: socket.socket) -> None:
    _, wait_status, usage = os.wait4(pid, 0)
    _send_status(
        status, [wire.EXIT.pack(pid, wait_status, usage.ru_maxrss * 1024, usage.ru_utime + usage.ru_stime)], []
    )
    status.close()
    os.close(pidfd)


def _child(call_fd: int, stderr_fd: int, server_pid: int, namespaces: str) -> NoReturn:
    """The life of a confined process; it never returns into the server's loop."""
    try:
        sandbox.die_with(server_pid)
        _keep_only(call_fd, stderr_fd)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        faulthandler.enable()
        _serve_call(call_fd, namespaces)
        sys.stderr.flush()
    except BaseException:  # noqa: BLE001 - whatever it is, the fork must not run the server's code
        traceback.print_exc()
        os._exit(70)
    os._exit(0)


def _keep_only(call_fd: int, stderr_fd: int) -> None:
    os.dup2(stderr_fd, 2)
    os.dup2(stderr_fd, 1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    for fd in sorted(int(name) for name in os.listdir("/proc/self/fd")):  # noqa: PTH208 - Path has no cheaper way
        if fd > 2 and fd != call_fd:
            try:
                os.close(fd)
            except OSError:
                continue  # the listing's own descriptor


def _serve_call(call_fd: int, namespaces: str) -> None:
    _, length = wire.HEADER.unpack(wire.read_exactly(call_fd, wire.HEADER.size))
    target, args, limits, readable, writable, devices = pickle.loads(wire.read_exactly(call_fd, length))
    kind, body = wire.VALUE, b""
    try:
        module_name, _, name = target.partition(":")
        function = getattr(importlib.import_module(module_name), name)
        confine.enter_child(
            call_fd,
            {"namespaces": namespaces}
            | sandbox.restrict(
                readable,
                writable,
                devices=devices,
                memory_bytes=limits.memory_bytes,
                cpu_s=limits.cpu_s,
                output_bytes=limits.output_bytes,
                open_files=limits.open_files,
                threads=limits.threads,
            ),
        )
        body = wire.pack_value(function(*args))
    except FarmError as error:
        kind, body = wire.ERROR, pickle.dumps((type(error).__module__, type(error).__qualname__, error.detail))
        traceback.print_exc()
    except MemoryError as error:
        kind, body = wire.LIMIT, pickle.dumps(f"memory of {limits.memory_bytes >> 20} MiB: {error}")
    except OSError as error:
        kind, body = _judge_os_error(error, limits)
    except Exception as error:  # noqa: BLE001 - the worker's edge: what is not typed is reported as a crash
        kind, body = wire.CRASH, pickle.dumps((f"{type(error).__name__}: {error}", traceback.format_exc()))
    wire.write_frame(call_fd, kind, body)


def _judge_os_error(error: OSError, limits: confine.Limits) -> tuple[bytes, bytes]:
    if error.errno == errno.ENOMEM:
        return wire.LIMIT, pickle.dumps(f"memory of {limits.memory_bytes >> 20} MiB")
    if error.errno == errno.EFBIG:
        return wire.LIMIT, pickle.dumps(f"output of {limits.output_bytes} bytes a file")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        traceback.print_exc()
        return wire.ERROR, pickle.dumps((DiskFull.__module__, DiskFull.__qualname__, str(error)))
    return wire.CRASH, pickle.dumps((f"{type(error).__name__}: {error}", traceback.format_exc()))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
