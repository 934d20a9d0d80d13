"""The Backend protocol: from a span of a source to encoded pictures of all renditions.

A backend decodes a span of the source once, lays it on the output grid, scales it to every rendition and encodes it. It
knows nothing of containers on the output side: muxing, verification and storage are the same for all (segment.py).

Invariants every backend keeps (held by one contract suite, tests/contract/test_backends.py):
    - exactly `segment.frames` pictures per rendition, presentation times `segment.start .. segment.end - 1` in units of
      output frames, each once;
    - an IDR picture (AV1: a shown key frame) at every multiple of `grid.gop_frames` from the segment's start and
      nowhere else, closed GOPs;
    - the same parameter sets (VPS, SPS, PPS; AV1's sequence header) for every segment of a rendition, by any process on
      any host.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from encoders.ladder import Codec
from encoders.media import VideoTrack
from encoders.plan import Plan, Segment


class BackendName(StrEnum):
    """What an encoder runs on."""

    NVENC = "nvenc"
    HYBRID = "hybrid"
    CPU = "cpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class Capability:
    """What a backend can do on this host, proven by doing it; or why it cannot.

    Attributes:
        available: whether the backend may be used.
        reason: why not, in a sentence that a person can act on; empty when available.
        decodes: codecs that it decodes, as "codec/bit depth/chroma" ("hevc/10/420"); empty means whatever FFmpeg reads.
        encodes: codecs that it encodes.
        sessions: how many encodes run at once, 0 when only the cores limit it.
        detail: what was found (driver, device, versions), for `reelmill doctor`.
    """

    name: BackendName
    available: bool
    reason: str = ""
    decodes: tuple[str, ...] = ()
    encodes: tuple[str, ...] = ()
    sessions: int = 0
    detail: dict[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedPicture:
    """One encoded picture of one rendition, in decode order per rendition.

    Attributes:
        rendition: its name.
        data: NAL units in Annex B form, parameter sets not repeated in them; of AV1 a temporal unit, key frames with
            their sequence header.
        pts: output frame number.
        dts: decode time in output frames; strictly rising, may be below the segment's start.
        idr: whether decoding can start here.
    """

    rendition: str
    data: bytes
    pts: int
    dts: int
    idr: bool


@dataclass(slots=True, kw_only=True)
class Damage:
    """Counts what a backend could not show as the source meant it.

    Attributes:
        frames: output frames that were held in place of one that did not decode, or concealed by the decoder.
    """

    frames: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentRequest:
    """What one segment needs.

    Attributes:
        source: local path.
        threads: cores that decoding, scaling and encoding may use together, at least 1.
        tap: called for each output frame, in order, with (output frame number, luma plane of the smallest rendition);
            the plane is only valid during the call. None when nobody looks.
        damage: the backend adds to it what it says in `warnings`.
    """

    source: Path
    video: VideoTrack
    plan: Plan
    segment: Segment
    threads: int = 1
    tap: Callable[[int, npt.NDArray[np.uint8]], None] | None = None
    damage: Damage = field(default_factory=Damage)


class Backend(Protocol):
    """One way to encode; stateless between segments unless results stay the same."""

    name: BackendName

    def encoder_id(self, preset: str, codecs: Iterable[Codec] = (Codec.H264,)) -> str:
        """Identity of the encoders, their versions and their settings; goes into content keys.

        Args:
            preset: x264's name of the preset, or what maps to it.
            codecs: that the renditions have.

        Raises:
            BackendUnavailable: it does not encode one of them here.
        """
        ...

    def encode(self, request: SegmentRequest) -> Iterator[EncodedPicture]:
        """Encode one segment.

        Yields:
            pictures, interleaved over the renditions in any order.

        Raises:
            InputError: what the source holds here does not decode at all.
            BackendUnavailable: this device cannot do it; nothing is left open.
            FarmError with fault DEVICE: the device misbehaved; the caller discards what it got.
        """
        ...

    def extradata(self, rendition: str) -> bytes:
        """Parameter sets of the rendition encoded last, Annex B, or AV1's sequence header.

        Valid once `encode` has yielded the rendition's first picture.
        """
        ...

    def warnings(self) -> tuple[str, ...]:
        """What was concealed or odd in the segment encoded last, one sentence each; empty when nothing was."""
        ...
