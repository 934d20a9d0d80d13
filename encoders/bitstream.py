"""How each codec's stream is stored: from an encoder's pictures to MP4 samples and a decoder's configuration.

One row a codec; nothing else asks which codec a rendition has. Pure functions on bytes; standard library only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from encoders import av1, hevc, nal
from encoders.cmaf import REORDER_FRAMES, DecoderConfiguration
from encoders.ladder import Codec


def _none(sample: bytes) -> tuple[bytes, ...]:
    """Parameter sets lie in the init segment only: `sample_of` takes them out."""
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bitstream:
    """One codec's way into MP4.

    Attributes:
        reorder_frames: by how many frames composition times are late (`cmaf.REORDER_FRAMES`).
        configuration: an encoder's parameter sets (`Backend.extradata`) -> what the init segment says; ValueError when
            something is missing.
        sample_of: one encoded picture (`EncodedPicture.data`) -> one MP4 sample.
        starts_with_key: whether decoding can start at a sample; 4096 bytes of it are enough.
        repeated: parameter sets that a sample holds: they must be the init segment's.
    """

    reorder_frames: int
    configuration: Callable[[bytes], DecoderConfiguration]
    sample_of: Callable[[bytes], bytes]
    starts_with_key: Callable[[bytes], bool]
    repeated: Callable[[bytes], tuple[bytes, ...]] = _none


BITSTREAMS: dict[Codec, Bitstream] = {
    Codec.H264: Bitstream(
        reorder_frames=REORDER_FRAMES,
        configuration=nal.parameter_sets,
        sample_of=nal.sample_of,
        starts_with_key=nal.starts_with_idr,
    ),
    Codec.HEVC: Bitstream(
        reorder_frames=REORDER_FRAMES,
        configuration=hevc.parameter_sets,
        sample_of=hevc.sample_of,
        starts_with_key=hevc.starts_with_idr,
    ),
    Codec.AV1: Bitstream(
        reorder_frames=0,
        configuration=av1.read_sequence_header,
        sample_of=av1.sample_of,
        starts_with_key=av1.starts_with_key_frame,
        repeated=av1.sequence_headers,
    ),
}
