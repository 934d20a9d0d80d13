"""Keeps encoders from taking the machine's cores for themselves.

SVT-AV1, run as root, puts the thread that opens it and all of its own under SCHED_FIFO at the highest priority, which
children inherit: one encoder then keeps a core from everything else on the machine. Confined children may not
(seccomp); this is for where seccomp is missing, and for tools and tests that encode without confinement.

Source: SVT-AV1, Source/Lib/Codec/svt_threads.c.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

REAL_TIME = (os.SCHED_FIFO, os.SCHED_RR)


@contextlib.contextmanager
def shared_cores() -> Iterator[None]:
    """Threads of this process that become real-time ones inside get back the policy that the caller's had before."""
    before = os.sched_getscheduler(0)
    try:
        yield
    finally:
        if before not in REAL_TIME:
            for thread in Path("/proc/self/task").iterdir():
                # A thread may end meanwhile, and in a confined child these calls are refused, as the encoder's were.
                with contextlib.suppress(OSError):
                    if os.sched_getscheduler(int(thread.name)) in REAL_TIME:
                        os.sched_setscheduler(int(thread.name), before, os.sched_param(0))
