"""Clips with one damaged picture, through the product's reader: it is owned up to, and what is sound is not accused."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from encoders.backends.frames import FrameReader
from encoders.backends.witness import Witness
from encoders.media import VideoTrack
from encoders.probe import probe_source

FRAMES, GOP = 36, 12
CLIPS = {
    "hevc with hashes": ("mp4", "libx265", {"preset": "ultrafast", "x265-params": "log-level=none:hash=1:bframes=0"}),
    "hevc": ("mp4", "libx265", {"preset": "ultrafast", "x265-params": "log-level=none:bframes=0"}),
    "h264 in ts": ("mpegts", "libx264", {"preset": "ultrafast"}),
    "h264": ("mp4", "libx264", {"preset": "ultrafast", "bf": "0"}),
    "vp9": ("webm", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}),
    "vp8 in ogg": ("ogg", "libvpx", {"deadline": "realtime", "cpu-used": "8"}),
    "ffv1": ("matroska", "ffv1", {"level": "3", "slices": "4", "slicecrc": "1"}),
    "mpeg2": ("matroska", "mpeg2video", {}),
}


@pytest.fixture(scope="module", params=CLIPS)
def clip(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, VideoTrack]:
    """Noise that moves, so that every picture has bytes to damage."""
    container, encoder, options = CLIPS[request.param]
    path = tmp_path_factory.mktemp("clips") / "clip"
    dice = np.random.default_rng(3)
    land = np.kron(dice.integers(30, 220, (40, 60, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
    with av.open(str(path), "w", format=container) as output:
        stream = output.add_stream(encoder, rate=25, options={"g": str(GOP), **options})
        stream.width, stream.height, stream.pix_fmt = 192, 128, "yuv420p"
        stream.codec_context.thread_count = 1
        for number in range(FRAMES):
            picture = np.ascontiguousarray(land[2 * number : 2 * number + 128, 5 * number : 5 * number + 192])
            frame = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    video = probe_source(path, "0" * 64).video
    assert video is not None
    return request.param, path, video


def test_a_checksum_of_the_container_tells_what_no_decoder_does(tmp_path: Path) -> None:
    path = tmp_path / "clip"
    with av.open(str(path), "w", format="matroska") as output:
        options = {"level": "3", "slices": "4", "slicecrc": "0", "coder": "0", "g": "1"}
        stream = output.add_stream("ffv1", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        dice = np.random.default_rng(5)
        for number in range(300):
            frame = av.VideoFrame.from_ndarray(dice.integers(0, 255, (72, 64), np.uint8), "yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    video = probe_source(path, "0" * 64).video
    assert video is not None
    assert read(path, video)[1].unexplained == []
    pts, position, size = list(packets_of(path))[150]
    data = bytearray(path.read_bytes())
    data[position + size // 2] ^= 16
    path.write_bytes(bytes(data))
    witness = read(path, video)[1]
    assert (witness.lost, witness.damaged, witness.followers) == ([], [], [])
    assert pts in witness.unexplained
    assert len(witness.unexplained) < 200


def packets_of(path: Path) -> Iterator[tuple[int, int, int]]:
    """(presentation time, position in the file, length) of each."""
    with av.open(str(path)) as container:
        for packet in container.demux(video=0):
            if packet.size and packet.pts is not None and packet.pos is not None:
                yield packet.pts, packet.pos, packet.size


def read(path: Path, video: VideoTrack, from_pts: int | None = None) -> tuple[list[int | None], Witness]:
    with FrameReader(path, video, 1) as reader:
        times = [frame.pts for frame in reader.frames(from_pts)]
        assert reader.witness is not None
        return times, reader.witness


def test_nothing_is_said_of_a_sound_clip(clip: tuple[str, Path, VideoTrack]) -> None:
    _, path, video = clip
    times, witness = read(path, video)
    assert len(times) == FRAMES
    assert (witness.lost, witness.damaged, witness.followers) == ([], [], [])
    for key in video.keyframe_pts:
        assert (read(path, video, key)[1].lost, read(path, video, key)[1].damaged) == ([], [])


def test_damage_is_owned_up_to_where_it_is(clip: tuple[str, Path, VideoTrack], tmp_path: Path) -> None:
    name, path, video = clip
    times, _ = read(path, video)
    begin, end = video.keyframe_pts[1:3]
    group = {pts for pts in times if pts is not None and begin <= pts < end}
    position, size = next(each[1:] for each in packets_of(path) if each[0] == begin)
    data = bytearray(path.read_bytes())
    at = position + size // 2
    # Zeros, where the syntax forbids them; changed bits, where a checksum, the container's or a second decoder notices.
    zeros = name in ("hevc", "h264", "h264 in ts")
    data[at : at + 64] = bytes(64) if zeros else bytes(byte ^ 0x40 for byte in data[at : at + 64])
    (tmp_path / "clip").write_bytes(bytes(data))
    _, witness = read(tmp_path / "clip", video)
    told = {*witness.lost, *witness.damaged, *witness.followers}
    assert told == group
    # The segment behind decodes from its own key frame, and knows nothing of it.
    behind = read(tmp_path / "clip", video, end)[1]
    assert (behind.lost, behind.damaged, behind.followers) == ([], [], [])
