"""Sources that cannot be read in pieces as they are, copied and read again."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import pytest
from clips import write_clip

from encoders.backends.frames import FrameReader
from encoders.media import Copy, MediaInfo
from encoders.probe import probe_source
from encoders.remux import NAME, mend_source


def mended(path: Path, folder: Path) -> MediaInfo:
    return mend_source(path, folder, probe_source(path, "0" * 64))


def shown(path: Path, info: MediaInfo) -> list[Fraction]:
    assert info.video is not None
    with FrameReader(path, info.video, 1) as reader:
        return [frame.pts * info.video.time_base for frame in reader.frames(None) if frame.pts is not None]


def test_two_recordings_joined_byte_by_byte_play_one_after_the_other(tmp_path: Path) -> None:
    one = write_clip(tmp_path / "one.ts", container="mpegts", sound_start_s=Fraction(0))
    both = tmp_path / "both.ts"
    both.write_bytes(one.read_bytes() * 2)
    assert probe_source(one, "0" * 64).copy is Copy.NONE

    info = mended(both, tmp_path)
    assert info.copy is Copy.CLOCK
    assert info.video is not None
    assert (info.video.frames, info.video.frame_rate) == (96, 24)
    assert len(info.video.keyframe_pts) == 8
    [sound] = info.audio
    assert float(sound.end_s - sound.start_s) == pytest.approx(4.0, abs=0.1)
    assert any("joined" in warning for warning in info.warnings)
    assert len(shown(tmp_path / NAME, info)) == 96


def test_frames_whose_times_are_those_of_their_packets_come_in_order(tmp_path: Path) -> None:
    # As writers without composition times make it: decoding times for all.
    proper = write_clip(tmp_path / "proper.mp4", codec_options={"preset": "ultrafast", "g": "24", "bf": "2"})
    broken = tmp_path / "broken.mkv"
    with av.open(str(proper)) as source, av.open(str(broken), "w") as made:
        twin = made.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.pts, packet.stream = packet.dts, twin
                made.mux(packet)
    assert probe_source(broken, "0" * 64).copy is Copy.ORDER

    info = mended(broken, tmp_path)
    assert info.copy is Copy.ORDER
    assert info.video is not None
    assert info.video.frame_rate == 24
    first, *times = shown(tmp_path / NAME, info)
    assert len(times) == 47
    # No sound has to fit, so the first frame waits for those that come after their time.
    assert times[0] - first < Fraction(4, 24)
    assert max(abs(after - before - Fraction(1, 24)) for before, after in pairwise(times)) < 0.002


@pytest.mark.parametrize("kind", [Copy.CLOCK, Copy.INDEX, Copy.ORDER])
def test_a_recording_that_begins_between_key_frames_shows_nothing_grey(kind: Copy, tmp_path: Path) -> None:
    whole = write_clip(
        tmp_path / "whole.ts", codec="mpeg2video", codec_options={"g": "12", "bf": "2"}, container="mpegts"
    )
    packets = whole.read_bytes()
    late = tmp_path / "late.ts"
    late.write_bytes(packets[len(packets) // 188 * 3 // 10 * 188 :])
    found = probe_source(late, "0" * 64)
    info = mend_source(late, tmp_path, replace(found, copy=kind))
    assert found.video is not None
    assert info.video is not None
    assert info.video.frames == found.video.frames < 40
    with av.open(str(tmp_path / NAME)) as copy:
        assert next(packet for packet in copy.demux(video=0)).is_keyframe
    assert len(shown(tmp_path / NAME, info)) == info.video.frames


def falsely_indexed(folder: Path, every: int) -> Path:
    """A clip of an odd rate whose container calls so many packets key frames, as phones' do; every 20th is one."""
    rate = Fraction(1000, 133)
    proper = write_clip(
        folder / "proper.mp4",
        codec="mpeg4",
        times=range(60),
        rate=rate,
        time_base=1 / rate,
        codec_options={"g": "20", "sc_threshold": "1000000000"},
    )
    path = folder / "false.mp4"
    with av.open(str(proper)) as source, av.open(str(path), "w") as made:
        twin = made.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if packet.dts is not None:
                packet.is_keyframe, packet.stream = number % every == 0, twin
                made.mux(packet)
    return path


@pytest.mark.parametrize(("every", "kind"), [(1, Copy.ORDER), (4, Copy.INDEX)])
def test_a_copy_starts_where_pictures_owe_nothing_whatever_the_source_says(
    every: int, kind: Copy, tmp_path: Path
) -> None:
    path = falsely_indexed(tmp_path, every)
    before = probe_source(path, "0" * 64)
    assert before.video is not None
    assert (before.copy, before.video.frame_rate) == (kind, Fraction(1000, 133))
    before = replace(before, video=replace(before.video, sar=Fraction(4, 3)))

    info = mend_source(path, tmp_path, before)
    assert info.video is not None
    assert (info.copy, info.video.frames) == (kind, 60)
    # The copy's container knows neither.
    assert (info.video.frame_rate, info.video.sar) == (Fraction(1000, 133), Fraction(4, 3))
    starts = [(pts - info.video.first_pts) * info.video.time_base for pts in info.video.keyframe_pts]
    assert [round(start * Fraction(1000, 133)) for start in starts] == [0, 20, 40]
    assert len(shown(tmp_path / NAME, info)) == 60


def test_a_copy_that_can_be_started_from_nowhere_either_is_of_no_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = falsely_indexed(tmp_path, 4)
    monkeypatch.setattr("encoders.remux._true_keys", lambda *_: None)
    assert mended(path, tmp_path).copy is Copy.NONE


def test_what_cannot_be_copied_is_read_as_it_is(tmp_path: Path) -> None:
    # NUT has no name for APNG.
    source = write_clip(tmp_path / "x.apng", container="apng", codec="apng", pixel_format="rgb24", codec_options={})
    asked = replace(probe_source(source, "0" * 64), copy=Copy.ORDER)
    assert mend_source(source, tmp_path, asked) == replace(asked, copy=Copy.NONE)


def test_a_bare_stream_is_shown_at_the_rate_that_it_states(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "x", container="h264", codec_options={"preset": "ultrafast", "g": "24", "bf": "2"})
    info = mended(source, tmp_path)

    assert info.video is not None
    assert (info.copy, info.video.frame_rate, info.video.frames) == (Copy.ORDER, 24, 48)
    assert shown(tmp_path / NAME, info) == [Fraction(number, 24) for number in range(48)]
    assert [warning for warning in info.warnings if "24 are shown a second" in warning]
