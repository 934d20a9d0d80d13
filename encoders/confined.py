"""One confined call as its parent sees it: feed the child, read what it sends, watch its limits, judge how it ended.

The child is hostile until proven otherwise: what it sends is bounded in length and read by `encoders/wire.py` only.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from encoders import wire
from encoders.errors import FarmError, Fault, MediaCrashed, ResourceExceeded

STDERR_TAIL_BYTES = 4096
RESULT_LIMIT_BYTES = 256 << 20
LOOK_EVERY_S = 0.1
"""How often the parent looks at the stop event, the clock and the child's memory."""


class Stopped(FarmError):
    """The caller asked for this work to end; its process was killed and what it wrote is incomplete."""

    code = "stopped"
    fault = Fault.INFRASTRUCTURE


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one confined call may use; past any of it the child dies and the call raises `ResourceExceeded`.

    Attributes:
        memory_bytes: private memory. Measured for decoding 3840x2160 (H.264 10 bit, HEVC): 0.3 GiB with 2 threads,
            0.9 GiB with 16.
        cpu_s: processor time, of all threads together.
        wall_s: time on the clock.
        output_bytes: length of the longest file written.
        open_files: file descriptors.
        threads: threads of this user at once; root is not bound by it, only by the memory.
    """

    memory_bytes: int = 4 << 30
    cpu_s: int = 3600
    wall_s: float = 3600.0
    output_bytes: int = 64 << 30
    open_files: int = 256
    threads: int = 8192

    def __post_init__(self) -> None:
        if min(self.memory_bytes, self.cpu_s, self.output_bytes, self.open_files, self.threads) < 1 or self.wall_s <= 0:
            raise ValueError(f"limits must be positive: {self}")


@dataclass(slots=True)
class Call:
    """What is known of one call while it runs."""

    target: str
    limits: Limits
    pid: int = 0
    pidfd: int = -1
    wait_status: int | None = None
    peak_bytes: int = 0
    cpu_s: float = 0.0
    outcome: tuple[bytes, bytes] | None = None
    killed_for: FarmError | None = None
    stderr: bytes = b""
    open: set[str] = field(default_factory=lambda: {"call", "status", "stderr"})

    @property
    def trusted(self) -> set[str]:
        """Packages whose values the child may send: the function's own and the media core's."""
        return {"encoders", self.target.partition(":")[0].partition(".")[0]}

    @property
    def never_began(self) -> bool:
        """Whether the server died before it reported a child: it was gone already, and another may be asked."""
        return self.pid == 0 and self.wait_status is None and isinstance(self.killed_for, MediaCrashed)

    def kill(self, reason: FarmError | None) -> None:
        """End the child, and remember why (the first reason counts)."""
        self.killed_for = self.killed_for or reason
        if self.pidfd >= 0 and self.wait_status is None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def evidence(self) -> dict[str, str]:
        """For `FarmError.evidence`."""
        found = {"function": self.target, "peak_bytes": str(self.peak_bytes), "cpu_s": f"{self.cpu_s:.2f}"}
        if self.stderr:
            found["stderr"] = self.stderr.decode(errors="replace")
        if self.wait_status is not None:
            found["exit"] = str(os.waitstatus_to_exitcode(self.wait_status))
        return found


def drive(
    call: Call,
    payload: bytes,
    ends: Mapping[str, int],
    stop: threading.Event | None,
    on_message: Callable[[Any], None] | None,
) -> None:
    """Feed the child, collect what it sends, watch its limits, until it is gone and everything is read."""
    frames = wire.FrameBuffer(RESULT_LIMIT_BYTES)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        wire.write_frame(ends["call"], wire.CALL, payload)
    deadline = time.monotonic() + call.limits.wall_s
    with selectors.DefaultSelector() as selector:
        for name in call.open:
            selector.register(ends[name], selectors.EVENT_READ, name)
        while call.open:
            for key, _ in selector.select(LOOK_EVERY_S):
                more = _read(call, key.data, key.fd, frames, on_message)
                if not more:
                    call.open.discard(key.data)
                    selector.unregister(key.fd)
            _watch(call, deadline, stop)


def _read(call: Call, name: str, fd: int, frames: wire.FrameBuffer, on_message: Callable[[Any], None] | None) -> bool:
    """Take what one of the child's three channels has; False when nothing more will come of it."""
    if name == "status":
        return _read_status(call, fd)
    try:
        data = os.read(fd, 1 << 16)
    except ConnectionResetError:
        data = b""
    if name == "stderr":
        call.stderr = (call.stderr + data)[-STDERR_TAIL_BYTES:]
        return bool(data)
    return _read_frames(call, data, frames, on_message)


def _read_status(call: Call, fd: int) -> bool:
    with socket.socket(fileno=os.dup(fd)) as status:
        data, fds, _, _ = socket.recv_fds(status, wire.EXIT.size, 1)
    if fds:
        call.pidfd = fds[0]
    if len(data) < wire.EXIT.size:
        if call.wait_status is None:
            call.killed_for = call.killed_for or MediaCrashed("the fork server of confined processes died")
        return False
    call.pid, wait_status, call.peak_bytes, call.cpu_s = wire.EXIT.unpack(data)
    if wait_status >= 0:
        call.wait_status = wait_status
    if call.killed_for is not None:
        call.kill(None)
    return True


def _read_frames(call: Call, data: bytes, frames: wire.FrameBuffer, on_message: Callable[[Any], None] | None) -> bool:
    try:
        for kind, body in frames.feed(data):
            if kind != wire.MESSAGE:
                call.outcome = (kind, body)
            elif on_message is not None:
                on_message(wire.read_value(body, call.trusted))
    except ValueError as error:
        call.kill(MediaCrashed(f"{call.target}: {error}"))
        return False
    return bool(data)


def _watch(call: Call, deadline: float, stop: threading.Event | None) -> None:
    if call.wait_status is not None or call.killed_for is not None:
        return
    if stop is not None and stop.is_set():
        call.kill(Stopped(f"{call.target} was stopped"))
    elif time.monotonic() > deadline:
        call.kill(_past(call, f"time of {call.limits.wall_s:g} s"))
    elif call.pid and _resident_bytes(call.pid) > call.limits.memory_bytes:
        call.kill(_past(call, f"memory of {call.limits.memory_bytes >> 20} MiB"))


def _resident_bytes(pid: int) -> int:
    """Anonymous and shared memory of a process in bytes: the second bound, for what RLIMIT_DATA does not count."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("RssAnon", "RssShmem")))


def _past(call: Call, limit: str) -> ResourceExceeded:
    return ResourceExceeded(
        f"{call.target} passed its limit: {limit}. The source needs more than is allowed for one; "
        "upload a smaller or re-exported one."
    )


def judge(call: Call) -> Any:
    """The value of a call that has ended; raises what it ended with."""
    error = call.killed_for
    kind, body = call.outcome or (b"", b"")
    if error is None and call.wait_status != 0:
        error = _death(call)
    if error is None and kind == wire.VALUE:
        try:
            return wire.read_value(body, call.trusted)
        except ValueError as unreadable:
            error = MediaCrashed(f"{call.target}: {unreadable}")
    evidence = call.evidence()
    if error is None:
        error = _sent_error(call, kind, body, evidence)
    vars(error)["evidence"] = evidence
    raise error


def _death(call: Call) -> FarmError:
    assert call.wait_status is not None
    code = os.waitstatus_to_exitcode(call.wait_status)
    if code == -signal.SIGXCPU:
        return _past(call, f"processor time of {call.limits.cpu_s} s")
    # C++ codecs abort when an allocation fails; C ones may walk into the null pointer.
    if b"bad_alloc" in call.stderr or b"Cannot allocate memory" in call.stderr:
        return _past(call, f"memory of {call.limits.memory_bytes >> 20} MiB")
    how = signal.Signals(-code).name if code < 0 else f"exit status {code}"
    return MediaCrashed(f"the confined process of {call.target} died: {how}")


def _sent_error(call: Call, kind: bytes, body: bytes, evidence: dict[str, str]) -> FarmError:
    try:
        sent: Any = wire.read_value(body) if body else None
        if kind == wire.LIMIT:
            return _past(call, str(sent))
        if kind == wire.CRASH:
            summary, evidence["traceback"] = (str(part) for part in sent)
            return MediaCrashed(f"{call.target} failed: {summary}")
        if kind == wire.ERROR:
            module, name, detail = (str(part) for part in sent)
            return _error_class(module, name)(detail)
    except (ValueError, TypeError) as unreadable:
        return MediaCrashed(f"{call.target} sent an unreadable error: {unreadable}")
    return MediaCrashed(f"the confined process of {call.target} ended without a result")


def _error_class(module: str, name: str) -> type[FarmError]:
    """The typed error of that name among those this process knows; `MediaCrashed` when it knows none."""
    todo: list[type[FarmError]] = [FarmError]
    for known in todo:
        if (known.__module__, known.__qualname__) == (module, name):
            return known
        todo += known.__subclasses__()
    return MediaCrashed
