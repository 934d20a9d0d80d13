"""Starts in the middle of a file whose key frames are none, or owe something to its beginning after all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from clips import picture

from encoders.backends.frames import FrameReader
from encoders.media import VideoTrack
from encoders.probe import probe_source

FRAMES, EVERY = 96, 12
CONTAINER = {"h263": "3gp", "mpeg4": "mp4", "flv": "flv"}
"""By codec."""


def write_false(path: Path, codec: str, true_keys: Iterable[int]) -> Path:
    """A clip whose container calls every 12th frame a key frame, of which only `true_keys` are."""
    wanted = set(true_keys)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=24, options={"g": "600", "sc_threshold": "1000000000"})
        stream.width, stream.height, stream.pix_fmt = 176, 144, "yuv420p"
        for number in range(FRAMES):
            frame = picture(number, 176, 144).reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 24)
            frame.pict_type = 1 if number in wanted else 0
            for packet in stream.encode(frame):
                packet.is_keyframe = number % EVERY == 0
                container.mux(packet)
        container.mux(stream.encode(None))
    return path


def lumas(path: Path, keys: tuple[int, ...], from_pts: int | None) -> dict[int, np.ndarray]:
    track = probe_source(path, "0" * 64).video
    assert track is not None
    with FrameReader(path, replace(track, keyframe_pts=keys), 1) as reader:
        return {
            frame.pts: frame.to_ndarray(format="gray") for frame in reader.frames(from_pts) if frame.pts is not None
        }


@pytest.mark.parametrize("codec", CONTAINER)
def test_the_probe_finds_that_none_but_the_first_can_be_started_from(codec: str, tmp_path: Path) -> None:
    info = probe_source(write_false(tmp_path / f"clip.{CONTAINER[codec]}", codec, [0]), "0" * 64)
    assert info.video is not None
    assert info.video.frames == FRAMES
    assert info.video.keyframe_pts == (info.video.first_pts,)
    assert any("from its beginning" in warning for warning in info.warnings)


def test_key_frames_that_are_some_remain_starts(tmp_path: Path) -> None:
    info = probe_source(write_false(tmp_path / "clip.mp4", "mpeg4", range(0, FRAMES, EVERY)), "0" * 64)
    assert info.video is not None
    assert len(info.video.keyframe_pts) == FRAMES // EVERY


@pytest.mark.parametrize("codec", CONTAINER)
def test_one_that_the_probe_did_not_try_is_noticed_while_reading(codec: str, tmp_path: Path) -> None:
    path = write_false(tmp_path / f"clip.{CONTAINER[codec]}", codec, [0, 48])
    with av.open(str(path)) as container:
        keys = tuple(packet.pts for packet in container.demux(video=0) if packet.is_keyframe and packet.pts is not None)
    assert len(keys) == FRAMES // EVERY
    whole = lumas(path, keys, None)
    for key in (keys[2], keys[5]):
        read = lumas(path, keys, key)
        assert set(read) >= {pts for pts in whole if pts >= key}
        for pts, luma in read.items():
            assert np.array_equal(luma, whole[pts]), pts
    assert min(lumas(path, keys, keys[4])) == keys[4]


def write_old_x264(path: Path, codec: str, pixel_format: str) -> Path:
    """Noise in 4:4:4, of four groups of pictures, that says it is of an x264 whose mistake decoders make good."""
    rng = np.random.default_rng(3)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=24, options={"g": "12", "sc_threshold": "0", "crf": "30"})
        stream.width, stream.height, stream.pix_fmt = 160, 96, pixel_format
        for number in range(48):
            pixels = rng.integers(0, 255, (96, 160, 3), np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24").reformat(format=pixel_format)
            frame.pts, frame.time_base = number, Fraction(1, 24)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    data = path.read_bytes()
    at = data.index(b"x264 - core ") + len(b"x264 - core ")
    path.write_bytes(data[:at] + b"148" + data[at + 3 :])
    return path


def damaged(path: Path, track: VideoTrack, from_pts: int | None) -> list[int]:
    with FrameReader(path, track, 1) as reader:
        assert sum(1 for _ in reader.frames(from_pts))
        assert reader.witness is not None
        return reader.witness.damaged


@pytest.mark.parametrize(("codec", "pixel_format"), [("libx264", "yuv444p"), ("libx264rgb", "rgb24")])
def test_full_chroma_of_an_old_x264_is_read_alike_wherever_reading_starts(
    codec: str, pixel_format: str, tmp_path: Path
) -> None:
    path = write_old_x264(tmp_path / "clip.mp4", codec, pixel_format)
    track = probe_source(path, "0" * 64).video
    assert track is not None
    assert len(track.keyframe_pts) == 4
    # This encoder makes no mistake, so making it good does damage: in the same pictures, wherever reading starts.
    whole = damaged(path, track, None)
    assert [pts for pts in whole if pts >= track.keyframe_pts[-1]]
    for key in track.keyframe_pts[1:]:
        assert damaged(path, track, key) == [pts for pts in whole if pts >= key]
