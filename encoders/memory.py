"""How much memory a segment's encoding takes, before it is encoded. Pure; standard library only.

Rule: an estimate for budgets, made to be a little too high; it limits nothing (`confined.Limits` does).

A picture takes memory where frames of its size wait: decoded ones for the decoder's references and reordering, scaled
ones for the encoder's look-ahead, references, B-frames and threads. So the estimate is pixels x frames, summed.

Source of the constants: peak resident size of one encode of 120 frames, preset `standard`, this against the estimate:

| source | renditions | threads | measured MiB | estimated MiB |
|---|---|---|---|---|
| H.264 640x360 | H.264 144p to 360p | 2 | 167 | 175 |
| HEVC 1920x1080 | H.264 144p to 1080p | 1 | 661 | 793 |
| HEVC 1920x1080 | H.264 144p to 1080p | 2 | 763 | 857 |
| H.264 10 bits 3840x2160 | H.264 144p | 2 | 348 | 534 |
| H.264 10 bits 3840x2160 | H.264 1080p | 2 | 693 | 914 |
| H.264 10 bits 3840x2160 | H.264 144p to 1080p | 2 | 971 | 1231 |
| HEVC 1920x1080 | H.264 720p | 2 | 283 | 325 |
| HEVC 1920x1080 | HEVC 720p | 2 | 331 | 364 |
| HEVC 1920x1080 | AV1 720p | 2 | 288 | 312 |
"""

from __future__ import annotations

from collections.abc import Iterable

from encoders.ladder import Codec, Rendition
from encoders.media import VideoTrack
from encoders.tuning import tuning_of

CHILD_BYTES = 100 << 20
"""Interpreter, libraries and buffers of the confined child, whatever it encodes."""
DECODED_FRAMES = 16
"""Decoded pictures alive at once: references (H.264 and HEVC allow 16) and what threads decode ahead."""
NV12_BYTES = 1.5
"""Of a pixel at 4:2:0 and 8 bits."""
ENCODER_BYTES = 4.25
"""Of a pixel in x264's frame: the picture, its quarter-size copies for the look-ahead, half-sample planes, costs."""
ENCODER_FRAMES = 8
"""Frames of an encoder beside its look-ahead: references, B-frames, the one in work."""
THREAD_FRAMES = 4
"""Frames more for each thread of an encoder. Measured: 1 and 2 threads at 1080p."""
OTHER_CODEC_BYTES = {Codec.HEVC: 240, Codec.AV1: 180}
"""Of a rendition's pixel in all that x265 and SVT-AV1 hold; their look-ahead hardly depends on the preset."""

DEVICE_CONTEXT_BYTES = 500_000_000
"""Of a child on a GPU: context, kernel, tables. An allowance, not measured yet: no device was at hand."""
NVENC_FRAMES = 27
"""NV12 pictures that a session keeps: B-frames, look-ahead of 20, what is on its way. At 1080p about 90 MB."""


def host_memory(video: VideoTrack, renditions: Iterable[Rendition], preset: str, threads: int) -> int:
    """Bytes of main memory that a segment takes at its peak, decoded and encoded on cores.

    Args:
        threads: that decoding and encoding use together.
    """
    decoded = video.width * video.height * _sample_bytes(video) * NV12_BYTES * (DECODED_FRAMES + threads)
    return CHILD_BYTES + int(decoded + sum(_encoder_bytes(each, preset, threads) for each in renditions))


def device_memory(video: VideoTrack, renditions: Iterable[Rendition]) -> int:
    """Bytes of a GPU's memory that a segment takes at its peak, decoded, scaled and encoded there."""
    decoded = video.width * video.height * _sample_bytes(video) * NV12_BYTES * DECODED_FRAMES
    scaled = sum(each.width * each.height for each in renditions) * NV12_BYTES * NVENC_FRAMES
    return DEVICE_CONTEXT_BYTES + int(decoded + scaled)


def _sample_bytes(video: VideoTrack) -> int:
    return 2 if video.bit_depth > 8 else 1


def _encoder_bytes(rendition: Rendition, preset: str, threads: int) -> float:
    pixels = rendition.width * rendition.height
    if rendition.codec in OTHER_CODEC_BYTES:
        return pixels * OTHER_CODEC_BYTES[rendition.codec]
    look_ahead = tuning_of(preset, rendition.width, rendition.height).lookahead_frames
    return pixels * ENCODER_BYTES * (look_ahead + ENCODER_FRAMES + THREAD_FRAMES * threads)
