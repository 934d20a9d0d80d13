"""One NVENC session: surfaces of one rendition go in, encoded pictures with output frame numbers come out.

What the library does not do is done here: decode times, presentation times (it overwrites them with a counter of its
inputs), the rate cap that `cq` zeroes, and the check that IDR pictures are where they were planned.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from encoders.backends.base import EncodedPicture
from encoders.backends.cuda import CudaDevice, DeviceMemory
from encoders.backends.nverrors import BadConfiguration, DeviceFault, SessionsExhausted, typed_errors
from encoders.backends.nvparams import EncoderSpec, NvCodec, encoder_kwargs
from encoders.backends.nvstream import strip_parameter_sets, tag_parameter_sets
from encoders.backends.scale import Surface

FORCE_IDR, OUTPUT_SPS_PPS = 2, 4
"""NV_ENC_PIC_FLAGS. Source: nvEncodeAPI.h."""

BACK_OFF_S = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Waits between tries while all sessions are taken; another lane ends a segment every few seconds."""
CONFIGURATION_TRIES = 3
"""Error 8 comes at random with some presets and drivers (one in ten was seen), so it is believed the third time."""


@dataclass(frozen=True, slots=True)
class _Plane:
    """What the library takes for one plane: tight rows at an address."""

    __cuda_array_interface__: dict[str, object]


class SurfaceInput:
    """A surface as `Encode` takes it: an object whose `cuda()` lists planes of exact shape.

    The order of work needs no stream here: kernel and encoder share one (CudaDevice).
    """

    def __init__(self, slot: DeviceMemory, surface: Surface) -> None:
        width, height = surface.width, surface.height
        self._planes = [
            _plane(slot.address + surface.offset, (height, width, 1)),
            _plane(slot.address + surface.chroma_offset, (height // 2, width // 2, 2)),
        ]

    def cuda(self) -> list[_Plane]:
        """Luma and interleaved chroma."""
        return self._planes


def _plane(address: int, shape: tuple[int, int, int]) -> _Plane:
    _, width, components = shape
    return _Plane(
        {
            "shape": shape,
            "typestr": "|u1",
            "strides": (width * components, components, 1),
            "data": (address, False),
            "version": 3,
        }
    )


class NvencSession:
    """An open session for one rendition's shape; encodes one segment after another.

    Raises:
        SessionsExhausted, NoDevice, Unsupported, BadConfiguration, DeviceFault: as the library's error says.
    """

    def __init__(self, library: Any, device: CudaDevice, spec: EncoderSpec) -> None:
        kwargs = encoder_kwargs(spec)
        with typed_errors(f"open an NVENC session for {spec.width}x{spec.height}"):
            self._encoder: Any = library.CreateEncoder(
                spec.width, spec.height, "NV12", False, gpu_id=device.index, cudastream=device.stream_address, **kwargs
            )
            self._cap_rate(spec)
            self.parameter_sets = tag_parameter_sets(spec.codec, bytes(self._encoder.GetSequenceParams()))
        self._spec = spec
        self._inputs = 0
        self._begin_at = 0
        self._rendition = ""
        self._start = 0
        self._coded = 0
        self._idr_at: set[int] = set()

    def _cap_rate(self, spec: EncoderSpec) -> None:
        """`cq` zeroes the library's rates; without this the driver's own cap would hold."""
        rates = self._encoder.GetEncodeReconfigureParams()
        rates.maxBitRate = spec.maxrate_bps
        rates.vbvBufferSize = spec.bufsize_bits
        rates.vbvInitialDelay = spec.vbv_initial_bits
        self._encoder.Reconfigure(rates)

    def begin(self, rendition: str, start: int) -> None:
        """The next surfaces are output frames `start`, `start + 1` and on, of a rendition."""
        self._rendition, self._start = rendition, start
        self._begin_at, self._coded = self._inputs, 0
        self._idr_at.clear()

    def push(self, surface: SurfaceInput, *, idr: bool) -> list[EncodedPicture]:
        """Encode the next output frame; the surface may be overwritten once the stream has passed it.

        Returns:
            pictures that are done, often of earlier frames, in decode order.
        """
        if idr:
            self._idr_at.add(self._start + self._inputs - self._begin_at)
        self._inputs += 1
        with typed_errors(f"encode {self._rendition} on the GPU"):
            done = self._encoder.Encode(surface, FORCE_IDR | OUTPUT_SPS_PPS if idr else 0)
        return self._wrap(done)

    def finish(self) -> list[EncodedPicture]:
        """The rest of the segment.

        Raises:
            DeviceFault: not as many pictures came out as went in.
        """
        with typed_errors(f"finish {self._rendition} on the GPU"):
            done = self._encoder.EndEncode()
        pictures = self._wrap(done)
        if self._coded != self._inputs - self._begin_at:
            raise DeviceFault(
                f"{self._rendition}: NVENC gave {self._coded} pictures for {self._inputs - self._begin_at} frames"
            )
        return pictures

    def _wrap(self, packets: list[dict[str, Any]]) -> list[EncodedPicture]:
        return [self._picture(bytes(packet["data"]), int(packet["timestamp"])) for packet in packets]

    def _picture(self, data: bytes, index: int) -> EncodedPicture:
        pts = self._start + index - self._begin_at
        dts = self._start + self._coded - self._spec.reorder_frames
        self._coded += 1
        stripped, idr = strip_parameter_sets(self._spec.codec, data)
        if idr != (pts in self._idr_at) or dts > pts:
            raise DeviceFault(f"{self._rendition}: NVENC put frame {pts} (IDR: {idr}) where none such was planned")
        if idr and self._spec.codec is NvCodec.AV1:
            stripped = self.parameter_sets + stripped  # a key frame of AV1 keeps its sequence header (backends/base.py)
        return EncodedPicture(rendition=self._rendition, data=stripped, pts=pts, dts=dts, idr=idr)


def open_session(
    library: Any,
    device: CudaDevice,
    spec: EncoderSpec,
    sleep: Callable[[float], None],
    max_waits: int = len(BACK_OFF_S),
) -> NvencSession:
    """Open a session, patiently: sessions are shared by all processes on the device.

    Args:
        sleep: waits seconds.
        max_waits: how often it may wait; 0 fails at once.

    Raises:
        SessionsExhausted: still none after all waits; the caller's policy is to try the segment again later.
        BadConfiguration: refused three times.
        NoDevice, Unsupported, DeviceFault: at once.
    """
    waits = list(BACK_OFF_S[:max_waits])
    tries_left = CONFIGURATION_TRIES
    while True:
        try:
            return NvencSession(library, device, spec)
        except SessionsExhausted:
            if not waits:
                raise
            sleep(waits.pop(0))
        except BadConfiguration:
            tries_left -= 1
            if not tries_left:
                raise
