"""The `nvenc` backend: NVDEC decodes, a kernel scales, NVENC encodes; pictures never leave the device.

Sources that NVDEC does not take are decoded and scaled by FFmpeg and uploaded; the encoder stays the same, so a
rendition has one encoder whatever its source is. The libraries are loaded when the first segment is encoded, never on
import.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

from encoders.backends.base import BackendName, Capability, EncodedPicture, SegmentRequest
from encoders.backends.nvdec import why_not
from encoders.backends.nverrors import DeviceFault, NoDevice, Unsupported
from encoders.backends.nvlane import LumaTap, NvencLane
from encoders.backends.nvparams import settings_digest
from encoders.backends.probe import proven
from encoders.backends.proof import DeviceProof, GpuProbe, nvenc_capability
from encoders.ladder import Codec, Rendition
from encoders.media import VideoTrack


def capability() -> Capability:
    """What NVENC was proven to do on this host; proves it when nobody has yet."""
    return nvenc_capability(proven())


class NvencBackend:
    """One segment at a time on one device; keeps the device open between segments of an asset.

    Args:
        probe: what was proven of this host's devices; None asks for it.
        sleep: waits seconds while all encode sessions are taken.
    """

    name = BackendName.NVENC

    def __init__(self, probe: GpuProbe | None = None, sleep: Callable[[float], None] = time.sleep) -> None:
        self._probe = probe or proven()
        self._sleep = sleep
        self._lane: NvencLane | None = None
        self._extradata: dict[str, bytes] = {}
        self._warnings: list[str] = []

    def encoder_id(self, preset: str, codecs: Iterable[Codec] = (Codec.H264,)) -> str:
        """Versions of the library and the driver, the device's generation, and a digest of all settings.

        The driver and the generation are part of it because they write the parameter sets.
        """
        device = self._device()
        _refuse_unproven(codecs, device)
        library = self._probe.versions.get("PyNvVideoCodec", "unknown")
        settings = settings_digest(preset, {codec: device.b_frames_of(codec) for codec in device.encodes})
        return f"nvenc-{library}-{self._probe.driver}-sm{device.architecture}-{preset}-{settings}".replace(" ", "")

    def accepts(self, video: VideoTrack) -> str:
        """Why NVDEC is not used for a track; empty when it is. Either way the segment is encoded by NVENC."""
        return why_not(video, self._device().decodes)

    def encode(self, request: SegmentRequest) -> Iterator[EncodedPicture]:
        """Encode one segment.

        Raises:
            NoDevice, Unsupported, BadConfiguration: this device cannot do it.
            SessionsExhausted: no encode session for a while; try the segment again later.
            DeviceFault: nothing of the segment can be used; the process should end and the device be proven again.
            InputError: FFmpeg cannot decode the source either.
        """
        grid = request.plan.grid
        if grid is None:
            raise ValueError("an asset without picture has no segments")
        self._warnings.clear()
        _refuse_unproven((rendition.codec for rendition in request.plan.renditions), self._device())
        self._check_identity(request)
        lane = self._open_lane(request.plan.renditions)
        tap = LumaTap(lane, request.tap) if request.tap is not None else None
        try:
            with lane.sessions(request, grid, self._sleep) as sessions:
                self._extradata = {name: session.parameter_sets for name, session in sessions.items()}
                for number, slot in lane.slots(request, grid, self._warnings.append):
                    idr = (number - request.segment.start) % grid.gop_frames == 0
                    for session, surface in zip(sessions.values(), lane.inputs(slot), strict=True):
                        yield from session.push(surface, idr=idr)
                    if tap is not None:
                        tap.take(number, slot)
                for session in sessions.values():
                    yield from session.finish()
        except DeviceFault:
            self._lane = None
            raise
        if tap is not None:
            tap.finish()

    def extradata(self, rendition: str) -> bytes:
        """Parameter sets of the rendition encoded last, Annex B or AV1's sequence header, tagged BT.709."""
        return self._extradata[rendition]

    def warnings(self) -> tuple[str, ...]:
        """What was concealed, and where the GPU stopped decoding, in the segment encoded last."""
        return tuple(self._warnings)

    def _device(self) -> DeviceProof:
        """The first device that this process sees and that encodes; NoDevice with the reasons when there is none."""
        for device in self._probe.devices:
            if device.can_encode:
                return device
        raise NoDevice(nvenc_capability(self._probe).reason)

    def _check_identity(self, request: SegmentRequest) -> None:
        """A rendition has one encoder: a plan that was made for another driver or generation is not added to."""
        own = self.encoder_id(request.plan.preset)
        if (
            request.plan.encoder.startswith("nvenc-")
            and " -> " not in request.plan.encoder
            and request.plan.encoder != own
        ):
            raise Unsupported(f"the asset's encoder is {request.plan.encoder}, this device's is {own}")

    def _open_lane(self, renditions: tuple[Rendition, ...]) -> NvencLane:
        if self._lane is None or self._lane.renditions != renditions:
            self._lane = None  # frees the device's memory before more is asked for
            self._lane = NvencLane(self._device(), renditions)
        return self._lane


def _refuse_unproven(codecs: Iterable[Codec], device: DeviceProof) -> None:
    other = sorted(set(map(str, codecs)) - set(device.encodes))
    if other:
        raise Unsupported(f"NVENC of {device.name} was not proven to encode {', '.join(other)}")
