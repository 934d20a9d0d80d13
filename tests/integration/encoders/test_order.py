"""Sources whose packets are no frames, or whose key frames are none."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import pytest
from clips import write_clip
from field_clips import write_bare, write_stream

from encoders.backends.frames import FrameReader
from encoders.media import Copy, MediaInfo
from encoders.order import learn_order
from encoders.probe import probe_source
from encoders.remux import NAME, mend_source

FRAMES = 60


def shown(path: Path, info: MediaInfo, from_pts: int | None = None) -> list[tuple[int, int]]:
    """(time in ticks, luma in the middle) of the frames that a reader gives."""
    assert info.video is not None
    with FrameReader(path, info.video, 1) as reader:
        frames = [*reader.frames(from_pts)]
    return [(frame.pts, int(memoryview(frame.planes[0])[0])) for frame in frames if frame.pts is not None]


def test_fields_with_packets_of_their_own_are_one_frame(tmp_path: Path) -> None:
    source = write_stream(tmp_path / "x.ts", FRAMES)
    info = probe_source(source, "0" * 64)
    assert info.video is not None
    assert (info.copy, info.video.frames, info.video.frame_rate) == (Copy.NONE, FRAMES, 25)
    assert info.video.interlaced
    assert len(info.video.keyframe_pts) > 2
    times = [time for time, _ in shown(source, info)]
    assert len(times) == FRAMES
    assert {after - before for before, after in pairwise(times)} == {3600}


def test_a_reader_that_begins_at_a_key_frame_gets_whole_frames(tmp_path: Path) -> None:
    source = write_stream(tmp_path / "x.ts", FRAMES)
    info = probe_source(source, "0" * 64)
    assert info.video is not None
    key = info.video.keyframe_pts[2]
    assert [each for each in shown(source, info) if each[0] >= key] == [
        each for each in shown(source, info, key) if each[0] >= key
    ]


def test_a_bare_stream_of_fields_that_states_no_rate(tmp_path: Path) -> None:
    source = write_bare(tmp_path / "x", FRAMES)
    info = mend_source(source, tmp_path, probe_source(source, "0" * 64))
    assert info.video is not None
    assert (info.copy, info.video.frames, info.video.frame_rate) == (Copy.ORDER, FRAMES, 25)
    assert [Fraction(time) * info.video.time_base for time, _ in shown(tmp_path / NAME, info)] == [
        Fraction(number, 25) for number in range(FRAMES)
    ]
    assert len(info.video.keyframe_pts) > 1
    assert [warning for warning in info.warnings if "25 are shown a second" in warning]


@pytest.mark.parametrize("codec", ["msmpeg4v2", "cinepak"])
def test_frames_that_are_all_marked_as_key_frames(codec: str, tmp_path: Path) -> None:
    """As some writers of AVI and ASF do: who believes it shows differences without what they differ from."""
    pixel_format = "rgb24" if codec == "cinepak" else "yuv420p"
    proper = write_clip(
        tmp_path / "proper.avi", times=range(36), codec=codec, pixel_format=pixel_format, codec_options={"g": "12"}
    )
    lying = tmp_path / "lying.avi"
    with av.open(str(proper)) as source, av.open(str(lying), "w") as made:
        twin = made.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.is_keyframe, packet.stream = True, twin
                made.mux(packet)
    found = probe_source(lying, "0" * 64)
    assert found.copy is Copy.ORDER
    info = mend_source(lying, tmp_path, found)
    assert info.video is not None
    assert (info.video.frames, info.video.frame_rate) == (36, 24)
    honest = probe_source(proper, "0" * 64).video
    assert honest is not None
    assert len(info.video.keyframe_pts) == len(honest.keyframe_pts) > 1
    assert not [warning for warning in info.warnings if "contradict" in warning]


def test_guessed_times_give_way_to_counted_ones(tmp_path: Path) -> None:
    """As of Chinese AVS in program streams: a frame gets the time of the one before, decoding times are even."""
    proper = write_clip(tmp_path / "proper.mp4", codec_options={"preset": "ultrafast", "g": "24", "bf": "2"})
    broken = tmp_path / "broken.mkv"
    with av.open(str(proper)) as source, av.open(str(broken), "w") as made:
        twin = made.add_stream_from_template(source.streams.video[0])
        packets = [packet for packet in source.demux(video=0) if packet.size]
        step = packets[0].duration or 0
        for number, packet in enumerate(packets):
            packet.dts = number * step
            packet.pts = packet.dts + (0 if number % 6 == 1 else step)
            packet.stream = twin
            made.mux(packet)
    info = mend_source(broken, tmp_path, replace(probe_source(broken, "0" * 64), copy=Copy.ORDER))
    assert info.video is not None
    # Without sound the first frame may stay for one more, until none comes before its own packet's time.
    assert info.video.frame_rate == 24
    assert info.video.frames in (48, 49)
    times = [time * info.video.time_base for time, _ in shown(tmp_path / NAME, info)]
    assert max(abs(after - before - Fraction(1, 24)) for before, after in pairwise(times[1:])) < Fraction(2, 1000)


def test_true_key_frames_keep_their_marks(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "x.mkv", codec_options={"preset": "ultrafast", "g": "12", "bf": "2"})
    order = learn_order(source, 0)
    assert order.frames == 48
    assert not order.moved
    assert [number for number, place in enumerate(order.places) if place.key] == [0, 12, 24, 36]
    assert not any(place.rest for place in order.places)


def test_packets_without_a_picture_of_their_own_are_no_damage(tmp_path: Path) -> None:
    """As of writers that put each unit of the stream into a packet: what decodes to nothing has lost nothing."""
    proper = write_clip(tmp_path / "proper.mp4", codec_options={"preset": "ultrafast", "g": "12", "bf": "0"})
    apart = tmp_path / "apart.mkv"
    delimiter = b"\0\0\0\2\x09\x10"
    with av.open(str(proper)) as source, av.open(str(apart), "w") as made:
        twin = made.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                alone = av.Packet(delimiter)
                alone.stream, alone.time_base, alone.pts, alone.dts = twin, packet.time_base, packet.pts, packet.dts
                made.mux(alone)
                packet.stream = twin
                made.mux(packet)
    found = probe_source(apart, "0" * 64)
    info = mend_source(apart, tmp_path, replace(found, copy=Copy.ORDER))
    assert info.video is not None
    with FrameReader(tmp_path / NAME, info.video, 1) as reader:
        assert len([*reader.frames(None)]) == 48
        witness = reader.witness
        assert witness is not None
        assert (witness.lost, witness.damaged, witness.followers) == ([], [], [])
