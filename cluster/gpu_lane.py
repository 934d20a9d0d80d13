"""A worker's side of its GPU: segments in a child that is kept, and what follows when the device misbehaves."""

from __future__ import annotations

import threading
from pathlib import Path

from encoders.backends.base import BackendName
from encoders.backends.nverrors import DeviceFault
from encoders.backends.probe import default_cache_dir, forget_probes, hand_down, run_probe
from encoders.backends.proof import GpuProbe, hybrid_capability, nvenc_capability
from encoders.confine import Confiner, Limits
from encoders.errors import MediaCrashed
from encoders.held import HeldChild
from encoders.media import MediaInfo
from encoders.plan import Plan, Segment
from encoders.segment import SegmentResult

PROOF_LIMIT_S = 40.0
"""A canary's answer is waited for a minute (ray_pool.CHECK_TIMEOUT_S); a proof takes about ten seconds a device."""


class GpuLane:
    """Encodes segments on the worker's GPU. After a fault the device is proven anew before it passes another canary.

    Args:
        scratch: folder in which the kept child gets one of its own.
    """

    def __init__(self, confiner: Confiner, scratch: Path) -> None:
        self._confiner = confiner
        self._held = HeldChild(confiner, scratch)
        self._stale = False

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
        """As `HeldChild.encode`; a fault makes what was proven of the device void, here and for whoever starts next."""
        try:
            return self._held.encode(source, info, plan, segment, out, backend, threads, limits=limits, stop=stop)
        except (DeviceFault, MediaCrashed):
            forget_probes(default_cache_dir())
            self._stale = True
            raise

    def prepare_check(self, backend: str) -> str:
        """Before a canary: gives the device up, and proves it anew after a fault; the reason when it failed that."""
        self._held.close()
        if not self._stale:
            return ""
        probe = run_probe(default_cache_dir(), timeout_s=PROOF_LIMIT_S)
        reason = why_not(probe, backend)
        if not reason:
            hand_down(probe)
            self._confiner.close()  # the next child is forked from a server that knows the new proof
            self._stale = False
        return reason

    def close(self) -> None:
        """End the kept child."""
        self._held.close()


def why_not(probe: GpuProbe, backend: str) -> str:
    """Why a backend is not among what was proven; empty when it is."""
    found = nvenc_capability(probe) if backend == BackendName.NVENC else hybrid_capability(probe)
    return "" if found.available else f"the device no longer proves {backend}: {found.reason}"
