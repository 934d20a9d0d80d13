"""What a segment's encoding takes of memory."""

from __future__ import annotations

from dataclasses import replace

import pytest
from planned import INFO

from encoders.ladder import Codec, Rendition
from encoders.media import VideoTrack
from encoders.memory import device_memory, host_memory

assert INFO.video is not None
VIDEO = INFO.video
LADDER = ((256, 144), (426, 240), (640, 360), (854, 480), (1280, 720), (1920, 1080))
MIB = 1 << 20


def video(width: int, height: int, bit_depth: int = 8) -> VideoTrack:
    return replace(VIDEO, width=width, height=height, bit_depth=bit_depth)


def renditions(*sizes: tuple[int, int], codec: Codec = Codec.H264) -> list[Rendition]:
    return [
        Rendition(name="r", width=wide, height=tall, crf=23, maxrate_bps=9, bufsize_bits=9, mp4=False, codec=codec)
        for wide, tall in sizes
    ]


@pytest.mark.parametrize(
    ("source", "ladder", "threads", "measured_mib"),
    [
        (video(640, 360), renditions(*LADDER[:3]), 2, 167),
        (video(1920, 1080), renditions(*LADDER), 1, 661),
        (video(1920, 1080), renditions(*LADDER), 2, 763),
        (video(3840, 2160, 10), renditions(LADDER[0]), 2, 348),
        (video(3840, 2160, 10), renditions(LADDER[5]), 2, 693),
        (video(3840, 2160, 10), renditions(*LADDER), 2, 971),
        (video(1920, 1080), renditions(LADDER[4]), 2, 283),
        (video(1920, 1080), renditions(LADDER[4], codec=Codec.HEVC), 2, 331),
        (video(1920, 1080), renditions(LADDER[4], codec=Codec.AV1), 2, 288),
    ],
)
def test_the_estimate_is_above_what_was_measured_and_not_far(
    source: VideoTrack, ladder: list[Rendition], threads: int, measured_mib: int
) -> None:
    estimate = host_memory(source, ladder, "standard", threads)
    assert measured_mib * MIB < estimate < 1.6 * measured_mib * MIB


def test_a_longer_look_ahead_takes_more() -> None:
    ladder = renditions(*LADDER)
    assert host_memory(VIDEO, ladder, "quick", 1) < host_memory(VIDEO, ladder, "fine", 1)


def test_a_gpu_holds_the_pictures_of_every_session() -> None:
    one, two = device_memory(VIDEO, renditions(LADDER[5])), device_memory(VIDEO, renditions(LADDER[5], LADDER[5]))
    assert 80_000_000 < two - one < 90_000_000
