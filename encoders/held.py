"""A confined child that stays for several segments of one source, so that a GPU is opened once for all of them.

A fresh process on a GPU pays for the libraries, a context (200 to 400 ms), a compiled kernel and encode sessions (0.7 s
each) before its first picture. None of that depends on the source; the bytes of a source do. So a child is kept for as
long as it works on the same source for the same asset, and ends

- after `SEGMENTS` of them, since decoders of these libraries have leaked;
- with any error, whatever its kind: what a device or a decoder left behind is gone with the process;
- when another source or asset is due, or nothing was asked of it for `IDLE_S`: it holds the device's memory and encode
  sessions, of which a slot has only its own share.

Nothing of a segment's result depends on the ones before: backends keep what was proven exact (backends/base.py).

Source: PyNvVideoCodec 2.2.4 against stub drivers and reports of its users for what an opening costs; not yet measured
on hardware by this project.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import shutil
import socket
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from encoders import confine, wire
from encoders.backends.base import BackendName
from encoders.backends.registry import open_backend
from encoders.confine import Confiner, Limits, Stopped
from encoders.errors import MediaCrashed
from encoders.media import MediaInfo
from encoders.plan import Plan, Segment
from encoders.segment import SegmentResult, encode_segment

SEGMENTS = 16
IDLE_S = 10.0
LOOK_EVERY_S = 0.05
"""How often a waiting caller looks at its stop event."""
READY = "ready"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One segment to encode, and how."""

    segment: Segment
    out: Path
    threads: int


def serve_orders(source: Path, info: MediaInfo, plan: Plan, backend: BackendName) -> int:
    """Inside the child: encode what is ordered with one backend until no more comes; returns how many that were."""
    lane = open_backend(backend)
    confine.report(READY)
    count = 0
    while isinstance(order := confine.next_order(), Order):
        confine.report(encode_segment(source, info, plan, order.segment, order.out, backend, order.threads, lane))
        count += 1
    return count


class HeldChild:
    """Keeps one such child for a worker. One order at a time; safe to close from another thread.

    Args:
        folder: of its own; what the child writes is moved out of its reach before anybody reads it.
        segments: after so many the child is replaced.
        idle_s: after so long without an order it ends.
    """

    def __init__(self, confiner: Confiner, folder: Path, *, segments: int = SEGMENTS, idle_s: float = IDLE_S) -> None:
        self._confiner, self._folder = confiner, folder
        self._segments, self._idle_s = segments, idle_s
        self._lock = threading.Lock()
        self._child: _Child | None = None
        self._timer: threading.Timer | None = None

    def encode(
        self,
        source: Path,
        info: MediaInfo,
        plan: Plan,
        segment: Segment,
        out: Path,
        backend: BackendName,
        threads: int,
        *,
        limits: Limits,
        stop: threading.Event,
    ) -> SegmentResult:
        """As `encode_segment`, confined.

        Args:
            out: existing folder on the file system of the child's own; gets a folder for each rendition, in place of
                what an earlier attempt left.
            limits: for one segment; the child gets the sum of them for all that it may do.
            stop: the child is killed soon after this is set.

        Raises:
            What `Confiner.run` raises; the child is gone then.
        """
        with self._lock:
            self._stop_timer()
            child = self._fitting(source, info, plan, backend, limits)
            try:
                made = child.folder / segment_folder(segment)
                made.mkdir()
                result = child.ask(Order(segment=segment, out=made, threads=threads), stop)
            except BaseException:
                self._end()
                raise
            for part in made.iterdir():
                shutil.rmtree(out / part.name, ignore_errors=True)
                part.rename(out / part.name)
            made.rmdir()
            if child.left <= 0:
                self._end()
            else:
                self._timer = threading.Timer(self._idle_s, self.close)
                self._timer.daemon = True
                self._timer.start()
            return result

    def close(self) -> None:
        """End the child, if there is one; waits for what it does."""
        with self._lock:
            self._stop_timer()
            self._end()

    @property
    def alive(self) -> bool:
        """Whether a child is kept now."""
        return self._child is not None

    def _fitting(self, source: Path, info: MediaInfo, plan: Plan, backend: BackendName, limits: Limits) -> _Child:
        found = source.stat()
        key = (source, found.st_dev, found.st_ino, found.st_size, plan.asset_key, plan.encoder, backend)
        if self._child is not None and (self._child.key != key or self._child.ended):
            self._end()
        if self._child is None:
            folder = self._folder / "held"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            self._child = _Child(self._confiner, key, folder, self._segments, (source, info, plan, backend), limits)
        return self._child

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self) -> None:
        if self._child is not None:
            self._child.end()
            shutil.rmtree(self._child.folder, ignore_errors=True)
            self._child = None


def segment_folder(segment: Segment) -> str:
    """Where the child writes a segment."""
    return f"{segment.index:05d}"


class _Child:
    """One child from its start to its end.

    Args:
        key: what it may be used for.
        work: arguments of `serve_orders`.
    """

    def __init__(
        self,
        confiner: Confiner,
        key: tuple[Any, ...],
        folder: Path,
        segments: int,
        work: tuple[Any, ...],
        limits: Limits,
    ) -> None:
        self.key, self.folder, self.left = key, folder, segments
        self._answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._channel: socket.socket | None = None
        self._ready = False
        self._runner = ThreadPoolExecutor(1, thread_name_prefix="held-child")
        total = replace(limits, cpu_s=limits.cpu_s * segments, wall_s=limits.wall_s * segments + 3600)
        serve = partial(
            confiner.run,
            "encoders.held:serve_orders",
            *work,
            limits=total,
            readable=[work[0]],
            writable=[folder],
            devices=work[-1] is not BackendName.CPU,
            stop=self._stop,
            on_message=self._answers.put,
            opened=self._opened,
        )
        self._call: Future[Any] = self._runner.submit(serve)
        self._call.add_done_callback(lambda _: self._answers.put(None))

    @property
    def ended(self) -> bool:
        """Whether it is gone, for whatever reason."""
        return self._call.done()

    def ask(self, order: Order, stop: threading.Event) -> SegmentResult:
        """One segment; raises what the child ended with."""
        if not self._ready:
            self._answer(stop)
            self._ready = True
        assert self._channel is not None
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            wire.write_frame(self._channel.fileno(), wire.CALL, pickle.dumps(order))
        self.left -= 1
        result = self._answer(stop)
        if not isinstance(result, SegmentResult):
            raise MediaCrashed(f"a confined child answered {type(result).__name__} where a segment was ordered")
        return result

    def end(self) -> None:
        """No more orders: the child ends by itself; it is killed when it does not."""
        if self._channel is not None:
            with contextlib.suppress(OSError):
                self._channel.shutdown(socket.SHUT_WR)
        try:
            self._call.exception(timeout=2.0)
        except TimeoutError:
            self._stop.set()
        self._runner.shutdown(wait=True)
        if self._channel is not None:
            self._channel.close()

    def _opened(self, fd: int) -> None:
        if self._channel is not None:
            self._channel.close()
        self._channel = socket.socket(fileno=os.dup(fd))

    def _answer(self, stop: threading.Event) -> Any:
        while True:
            try:
                answer = self._answers.get(timeout=LOOK_EVERY_S)
            except queue.Empty:
                if stop.is_set():
                    self._stop.set()
                    self._call.exception()
                    raise Stopped("the segment was stopped") from None
                continue
            if answer is not None:
                return answer
            self._call.result()  # raises what the child ended with
            raise MediaCrashed("a confined child ended before it had encoded what was ordered")
