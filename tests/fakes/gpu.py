"""A GPU that is not there: what it can do, what goes wrong on it, and how tests put it under the production code.

`fakes.nvc` stands for PyNvVideoCodec and `fakes.cupy_host` for CuPy; both obey the `Gpu` set here. "Device"
memory is host memory; decoding, scaling and encoding are real (FFmpeg, NumPy, x264), so tests compare pictures.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from unittest import mock

from pydantic import TypeAdapter

from encoders.backends.probe import PROOF_VARIABLE
from encoders.backends.proof import DeviceProof, GpuProbe

VARIABLE = "REELMILL_FAKE_GPU"
"""Environment variable that carries a `Gpu` into a child process, as JSON."""


@dataclass(slots=True)
class Gpu:
    """What the fake machine has.

    Attributes:
        decodes: "codec/depth/chroma" that NVDEC takes.
        encodes: codecs of NVENC; empty means a GPU without one.
        sessions: encode sessions that may be open at once.
        session_error: code when there are more: 21, or 10 on older drivers.
        fails: name of a call -> codes that its next calls fail with, 0 for one that works.
        vanishes_before: name of a call that finds no device any more, however many there were.
        drops_picture: presentation index of a picture that every decoder loses; -1 for none.
        wrong_pixels: whether the decoder gives other pictures than the CPU.
        forgetful: whether a reused encode session gives other bytes than a fresh one.
    """

    devices: int = 1
    decodes: tuple[str, ...] = ("h264/8/420", "hevc/8/420", "hevc/10/420")
    encodes: tuple[str, ...] = ("h264",)
    max_b_frames: int = 4
    encode_engines: int = 2
    decode_engines: int = 4
    sessions: int = 12
    session_error: int = 21
    fails: dict[str, list[int]] = field(default_factory=dict)
    wrong_pixels: bool = False
    drops_picture: int = -1
    vanishes_before: str = ""
    forgetful: bool = False
    calls: list[tuple[str, dict[str, object]]] = field(default_factory=list)
    open_sessions: int = 0

    def note(self, call: str, **arguments: object) -> int:
        """Record a call; returns the code that it must fail with, or 0."""
        self.calls.append((call, arguments))
        scripted = self.fails.get(call)
        return scripted.pop(0) if scripted else 0

    def called(self, name: str) -> list[dict[str, object]]:
        """Arguments of all calls of a name."""
        return [arguments for call, arguments in self.calls if call == name]


present = Gpu(**json.loads(os.environ.get(VARIABLE, "{}")))
"""The machine's one kind of GPU; in a child process what its environment says."""


@contextmanager
def plugged_in(gpu: Gpu | None = None) -> Iterator[Gpu]:
    """This process has the GPU and its libraries; afterwards it has neither."""
    from fakes import cupy_host, nvc

    global present
    before, present = present, gpu or Gpu()
    modules = {"PyNvVideoCodec": nvc, "cupy": cupy_host}
    try:
        with mock.patch.dict("sys.modules", modules):
            yield present
    finally:
        present = before


PROOF = GpuProbe(
    driver="580.1",
    versions={"PyNvVideoCodec": "2.2.4"},
    devices=(
        DeviceProof(
            index=0,
            uuid="GPU-00000000-0000-0000-0000-000000000000",
            name="Fake GPU",
            architecture="8.9",
            memory_bytes=24 << 30,
            decodes=("h264/8/420", "hevc/8/420", "hevc/10/420"),
            decode_engines=4,
            scale_psnr_db=70.0,
            encodes=("h264",),
            encode_engines=2,
            sessions=12,
            max_b_frames=4,
            reuse_exact=True,
            lane_fps=1000.0,
        ),
    ),
    cpu_lane_fps=100.0,
)
"""What the probe says of a default `Gpu`."""


@contextmanager
def proven_fake(gpu: Gpu | None = None, probe: GpuProbe = PROOF) -> Iterator[Gpu]:
    """As `plugged_in`, and the registry knows what the GPU was proven to do."""
    text = TypeAdapter(GpuProbe).dump_json(probe).decode()
    with plugged_in(gpu) as plugged, mock.patch.dict(os.environ, {PROOF_VARIABLE: text}):
        yield plugged


def environment(gpu: Gpu) -> dict[str, str]:
    """What a child process needs to have the GPU."""
    values = asdict(gpu)
    return {VARIABLE: json.dumps({k: v for k, v in values.items() if k not in ("calls", "open_sessions")})}
