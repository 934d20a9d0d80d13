"""The probe on small files of every kind: right values for good ones, typed reasons for the others."""

from __future__ import annotations

import wave
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from clips import picture, tone, write_clip
from edit_lists import with_edits

from encoders.confine import Confiner, Limits
from encoders.demux import open_source, packets_from
from encoders.errors import Encrypted, FarmError, ForbiddenFormat, NoPlayableTrack, NotAVideo, TooLarge, TooLong
from encoders.media import ColourRange, Copy, MediaInfo, VideoTrack
from encoders.plan import plan_asset
from encoders.probe import probe_source
from encoders.profiles.load import load_profile
from encoders.source_limits import ProbeLimits

DIGEST = "0" * 64


def probe(path: Path, **limits: int) -> MediaInfo:
    return probe_source(path, DIGEST, ProbeLimits(**limits))


def video_of(path: Path) -> VideoTrack:
    track = probe(path).video
    assert track is not None
    return track


class TestConstantRate:
    @pytest.mark.parametrize(
        ("container", "options"),
        [
            ("mp4", {}),
            ("mp4", {"movflags": "frag_keyframe+empty_moov"}),
            ("matroska", {}),
            ("mpegts", {}),
            ("flv", {}),
            ("nut", {}),
        ],
        ids=["mp4", "fragmented", "matroska", "mpegts", "flv", "nut"],
    )
    def test_every_container_gives_the_same_frames(
        self, container: str, options: dict[str, str], tmp_path: Path
    ) -> None:
        path = write_clip(tmp_path / "-x.jpg", container=container, container_options=options)
        info = probe(path)
        track = info.video
        assert track is not None
        assert (track.frame_rate, track.frames, track.width, track.height) == (24, 48, 160, 96)
        assert (track.codec, track.pixel_format, track.bit_depth) == ("h264", "yuv420p", 8)
        assert track.duration_s == pytest.approx(2, abs=0.002)
        assert len(track.keyframe_pts) == 4
        assert track.keyframe_pts[0] == track.first_pts
        assert (info.audio, info.warnings, info.sha256) == ((), (), DIGEST)
        assert info.size_bytes == path.stat().st_size

    @pytest.mark.parametrize("rate", [Fraction(24000, 1001), Fraction(30000, 1001), Fraction(60), Fraction(15)])
    def test_rates_are_exact(self, rate: Fraction, tmp_path: Path) -> None:
        path = write_clip(tmp_path / "x.mp4", rate=rate, time_base=1 / rate)
        assert (video_of(path).frame_rate, video_of(path).frames) == (rate, 48)

    def test_frames_that_refer_to_later_ones(self, tmp_path: Path) -> None:
        options = {"preset": "veryfast", "g": "16", "bf": "3", "x264-params": "open-gop=1:b-pyramid=normal"}
        for container in ("mp4", "mpegts"):
            track = video_of(write_clip(tmp_path / "x", container=container, codec_options=options))
            assert (track.frame_rate, track.frames, len(track.keyframe_pts)) == (24, 48, 3)

    def test_frames_that_are_never_shown_do_not_count(self, tmp_path: Path) -> None:
        options = {"cpu-used": "16", "deadline": "realtime"}
        path = write_clip(tmp_path / "x.webm", codec="libvpx", codec_options=options)
        hidden = tmp_path / "hidden.webm"
        with av.open(str(path)) as source, av.open(str(hidden), "w") as output:
            stream = output.add_stream_from_template(source.streams.video[0])
            for number, packet in enumerate(source.demux()):
                data = bytearray(bytes(packet))
                if data and number in (30, 40):
                    data[0] &= 0xEF  # RFC 6386 9.1: show_frame
                copy = av.Packet(bytes(data))
                copy.pts, copy.dts, copy.time_base, copy.stream = packet.pts, packet.dts, packet.time_base, stream
                copy.is_keyframe = packet.is_keyframe
                if data:
                    output.mux(copy)
        track = video_of(hidden)
        with open_source(hidden) as container:
            decoded = len([*container.decode(video=0)])
        assert decoded == 46
        assert (track.frames, track.frame_rate) == (48, 24)
        assert track.duration_s == 2

    def test_a_gif_is_a_video_when_it_moves(self, tmp_path: Path) -> None:
        gif: dict[str, Any] = {"codec": "gif", "pixel_format": "bgr8", "codec_options": {}}
        track = video_of(write_clip(tmp_path / "x.gif", times=range(0, 48, 4), time_base=Fraction(1, 100), **gif))
        assert (track.frame_rate, track.frames) == (25, 12)
        still = write_clip(tmp_path / "still.gif", times=[0], time_base=Fraction(1, 100), **gif)
        with pytest.raises(NotAVideo, match="does not move"):
            video_of(still)

    def test_a_clock_that_goes_back_asks_for_a_copy_unless_edits_may_have_done_it(self, tmp_path: Path) -> None:
        for container, copy in (("mpegts", Copy.CLOCK), ("matroska", Copy.CLOCK), ("mp4", Copy.NONE)):
            one = write_clip(tmp_path / "one", container=container, times=range(48), size=(32, 32)).read_bytes()
            (tmp_path / "both").write_bytes(one * 2)
            assert probe(tmp_path / "both").copy is copy

    def test_a_palette_is_learnt_from_the_start(self, tmp_path: Path) -> None:
        path = tmp_path / "x.avi"
        with av.open(str(path), "w") as output:
            stream = output.add_stream("rawvideo", rate=24)
            stream.width, stream.height, stream.pix_fmt = 32, 16, "pal8"
            palette = np.random.default_rng(1).integers(0, 256, (256, 4), np.uint8)
            for number in range(24):
                frame = av.VideoFrame.from_ndarray((np.full((16, 32), number, np.uint8), palette), format="pal8")
                frame.pts = number
                output.mux(stream.encode(frame))
        assert (video_of(path).pixel_format, video_of(path).keyframe_pts) == ("pal8", (0,))

    def test_a_late_start_is_kept(self, tmp_path: Path) -> None:
        path = write_clip(tmp_path / "x.mkv", times=range(72, 120))
        assert video_of(path).start_s == 3
        assert video_of(path).frames == 48

    def test_a_lone_frame(self, tmp_path: Path) -> None:
        track = video_of(write_clip(tmp_path / "x.mp4", times=[0]))
        assert (track.frames, track.frame_rate) == (1, 24)
        assert track.duration_s == Fraction(1, 24)

    def test_holes_are_places(self, tmp_path: Path) -> None:
        times = [number for number in range(60) if number not in (7, 30, 31)]
        track = video_of(write_clip(tmp_path / "x.mp4", times=times))
        assert (track.frame_rate, track.frames) == (24, 60)


class TestVariableRate:
    def test_has_no_rate_but_an_average(self, tmp_path: Path) -> None:
        times = [0, 33, 71, 200, 230, 260, 640, 700, 731, 900]
        track = video_of(write_clip(tmp_path / "x.mkv", times=times, time_base=Fraction(1, 1000)))
        assert (track.frame_rate, track.frames) == (None, 10)
        assert track.average_rate == pytest.approx(10 / 0.938, rel=0.02)

    def test_a_frame_that_stays_too_long_is_refused(self, tmp_path: Path) -> None:
        path = write_clip(tmp_path / "x.mkv", times=[0, 1, 24 * 3600 * 100])
        with pytest.raises(TooLong, match="export it again"):
            probe(path)
        with pytest.raises(TooLong, match="Upload a part"):
            probe(path, max_gap_s=10**7, max_duration_s=3600)

    def test_pictures_that_stay_for_hours_must_have_their_bytes(self, tmp_path: Path) -> None:
        path = write_clip(tmp_path / "x.mkv", times=range(0, 20 * 1500, 1500), time_base=Fraction(1), rate=Fraction(1))
        with pytest.raises(TooLong, match="stands still for 28310 s"):
            probe(path)
        with path.open("ab") as file:
            file.write(bytes(28_310 * 64))
        assert probe(path).duration_s > 28_000

    def test_slides_of_a_usual_kind(self, tmp_path: Path) -> None:
        path = write_clip(tmp_path / "x.mkv", times=range(0, 600, 20), time_base=Fraction(1), rate=Fraction(1))
        assert probe(path).duration_s == 600

    def test_sound_that_comes_back_after_hours(self, tmp_path: Path) -> None:
        path = tmp_path / "x.mka"
        with av.open(str(path), "w", format="matroska") as output:
            sound = output.add_stream("flac", rate=48_000)
            sound.layout = "stereo"
            for start_s in (0, 5 * 3600):
                for block in tone(Fraction(start_s), Fraction(1)):
                    output.mux(sound.encode(block))
            output.mux(sound.encode())
        with pytest.raises(TooLong, match="stands still"):
            probe(path)


class TestDamage:
    def test_a_stream_that_starts_inside_a_group_loses_its_first_frames(self, tmp_path: Path) -> None:
        path = write_clip(tmp_path / "x.ts", codec_options={"preset": "ultrafast", "g": "24"})
        whole = path.read_bytes()
        with open_source(path) as container:
            spots = [packet.pos for packet in container.demux() if packet.size]
        start = spots[6]
        assert start is not None
        path.write_bytes(whole[: 188 * 3] + whole[start // 188 * 188 :])
        info = probe(path)
        assert info.video is not None
        assert info.video.frames == 24
        assert any("left out" in warning for warning in info.warnings)

    def test_a_file_cut_short_counts_what_decodes(self, tmp_path: Path) -> None:
        path = write_clip(tmp_path / "x.mp4", container_options={"movflags": "faststart"}, size=(320, 192))
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) * 2 // 3])
        track = video_of(path)
        assert 20 < track.frames < 40

    def test_times_that_go_back_are_shown_in_decoding_order(self, tmp_path: Path) -> None:
        path = write_clip(tmp_path / "x.ts")
        path.write_bytes(path.read_bytes() * 2)
        info = probe(path)
        assert info.video is not None
        assert info.video.keyframe_pts == (info.video.first_pts,)
        assert any("go back" in warning for warning in info.warnings)

    def test_no_index(self, tmp_path: Path) -> None:
        path = write_clip(tmp_path / "x.mp4")
        path.write_bytes(path.read_bytes()[:2000])
        with pytest.raises(FarmError, match="Export it again"):
            probe(path)


class TestPicture:
    @pytest.mark.parametrize(
        ("turn", "flip", "expected"),
        [
            (0.0, False, (0, False)),
            (90.0, False, (270, False)),
            (-90.0, False, (90, False)),
            (180.0, False, (180, False)),
            # FFmpeg flips after it turns.
            (0.0, True, (0, True)),
            (90.0, True, (90, True)),
            (-90.0, True, (270, True)),
        ],
    )
    def test_orientation(self, turn: float, flip: bool, expected: tuple[int, bool], tmp_path: Path) -> None:
        path = tmp_path / "x.mp4"
        with av.open(str(path), "w") as output:
            stream = output.add_stream("libx264", rate=24)
            stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
            stream.set_display_rotation(turn, hflip=flip)
            for number in range(3):
                output.mux(stream.encode(picture(number, 160, 96).reformat(format="yuv420p")))
            output.mux(stream.encode())
        track = video_of(path)
        assert (track.rotation, track.mirrored) == expected

    def test_colour_shape_and_depth(self, tmp_path: Path) -> None:
        path = write_clip(
            tmp_path / "x.mp4",
            pixel_format="yuv422p10le",
            color_range=2,
            color_primaries=9,
            color_trc=16,
            colorspace=9,
            sample_aspect_ratio=Fraction(4, 3),
        )
        track = video_of(path)
        assert (track.colour.range, track.colour.primaries, track.colour.transfer, track.colour.matrix) == (
            ColourRange.FULL,
            9,
            16,
            9,
        )
        assert track.colour.hdr
        assert (track.sar, track.bit_depth) == (Fraction(4, 3), 10)

    def test_a_matrix_that_is_not_converted_is_told(self, tmp_path: Path) -> None:
        said = [probe_source(write_clip(tmp_path / "m.mp4", colorspace=code), DIGEST).warnings for code in (6, 8)]
        assert said == [(), ("The picture's colours are coded by matrix 8 of H.273, and may look wrong.",)]

    def test_fields_are_seen_without_flags(self, tmp_path: Path) -> None:
        assert self.woven(tmp_path / "x.mkv", fields=True).interlaced
        assert not self.woven(tmp_path / "y.mkv", fields=False).interlaced

    def woven(self, path: Path, fields: bool) -> VideoTrack:
        with av.open(str(path), "w") as output:
            stream = output.add_stream("ffv1", rate=25)
            stream.width, stream.height, stream.pix_fmt = 320, 480, "gray"
            for number in range(24):
                shift = 2 * number + np.arange(480)[:, None] % 2 * fields
                pixels = np.where((np.arange(320)[None] - 8 * shift) % 160 < 80, 220, 30).astype(np.uint8)
                output.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="gray")))
            output.mux(stream.encode())
        return video_of(path)


class TestOtherTracks:
    def test_sound_keeps_its_place_and_names(self, tmp_path: Path) -> None:
        path = write_clip(tmp_path / "x.mkv", sound_start_s=Fraction(1, 2), sound_codec="flac")
        (track,) = probe(path).audio
        assert (track.codec, track.sample_rate, track.channels, track.layout) == ("flac", 48000, 2, "stereo")
        assert float(track.start_s) == pytest.approx(0.5, abs=0.001)
        assert float(track.end_s) == pytest.approx(2.5, abs=0.05)

    def test_sound_alone_is_a_source(self, tmp_path: Path) -> None:
        path = tmp_path / "x.m4a"
        write_clip(tmp_path / "x.mp4", sound_start_s=Fraction(0))
        with av.open(str(tmp_path / "x.mp4")) as source, av.open(str(path), "w", format="mp4") as output:
            stream = output.add_stream_from_template(source.streams.audio[0])
            for packet in source.demux(source.streams.audio[0]):
                if packet.size:
                    packet.stream = stream
                    output.mux(packet)
        info = probe(path)
        assert info.video is None
        assert info.audio[0].codec == "aac"
        assert float(info.duration_s) == pytest.approx(2, abs=0.05)

    @pytest.mark.parametrize("rate", [1, 999])
    def test_sound_that_nobody_hears_is_no_sound(self, rate: int, tmp_path: Path) -> None:
        path = tmp_path / "x.wav"
        with wave.open(str(path), "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(2)
            out.setframerate(rate)
            out.writeframes(b"\1\2" * 20_000)
        with pytest.raises(NoPlayableTrack):
            probe(path)

    def test_chapters_lie_within_the_presentation(self, tmp_path: Path) -> None:
        path = tmp_path / "x.mkv"
        with av.open(str(path), "w") as output:
            output.set_chapters(
                [
                    {"id": 1, "start": 0, "end": 900, "time_base": Fraction(1, 1000), "metadata": {"title": "One\n"}},
                    {"id": 2, "start": 900, "end": 99000, "time_base": Fraction(1, 1000), "metadata": {}},
                    {"id": 3, "start": 99000, "end": 99900, "time_base": Fraction(1, 1000), "metadata": {}},
                ]
            )
            stream = output.add_stream("libx264", rate=24)
            stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
            for number in range(48):
                output.mux(stream.encode(picture(number, 160, 96).reformat(format="yuv420p")))
            output.mux(stream.encode())
        chapters = probe(path).chapters
        assert [(chapter.start_s, chapter.end_s, chapter.title) for chapter in chapters] == [
            (0, Fraction(9, 10), "One"),
            (Fraction(9, 10), 2, "Chapter 2"),
        ]


class TestRefusals:
    def test_encrypted(self, tmp_path: Path) -> None:
        options = {
            "encryption_scheme": "cenc-aes-ctr",
            "encryption_key": "76a6c65c5ea762046bd749a2e632ccbb",
            "encryption_kid": "a7e61c373e219033c21091fa607bf3b8",
        }
        path = write_clip(tmp_path / "x.mp4", container_options=options)
        with pytest.raises(Encrypted, match="unencrypted copy"):
            probe(path)

    def test_a_picture_track_without_frames(self, tmp_path: Path) -> None:
        path = write_clip(tmp_path / "x.mp4", container_options={"movflags": "empty_moov+frag_keyframe"})
        whole = path.read_bytes()
        path.write_bytes(whole[: whole.index(b"moof") - 4])
        with pytest.raises(NoPlayableTrack, match="no frames"):
            probe(path)

    def test_a_picture_track_that_does_not_decode(self, tmp_path: Path) -> None:
        path = write_clip(tmp_path / "x.mp4", container_options={"movflags": "faststart"}, sound_start_s=Fraction(0))
        whole = bytearray(path.read_bytes())
        body = whole.index(b"mdat") + 4
        whole[body:] = bytes(len(whole) - body)
        path.write_bytes(whole)
        with pytest.raises(NoPlayableTrack, match="can be decoded"):
            probe(path)

    def test_too_much_of_it(self, tmp_path: Path) -> None:
        path = write_clip(tmp_path / "x.mp4", sound_start_s=Fraction(0))
        for limits in ({"max_bytes": 100}, {"max_pixels": 1000}, {"max_streams": 1}, {"max_packets": 50}):
            with pytest.raises(TooLarge):
                probe(path, **limits)

    def test_a_small_file_that_stands_for_much(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = write_clip(tmp_path / "x.mp4")
        assert probe(path, max_expansion=1).video is not None
        monkeypatch.setattr("encoders.source_limits.SMALL_BYTES", 1000)
        assert probe(path, max_expansion=1).video is not None
        with pytest.raises(TooLarge, match="again and again"):
            probe(path, max_expansion=0)

    def test_edits_that_repeat_a_clip_for_hours(self, tmp_path: Path) -> None:
        path = write_clip(tmp_path / "x.mp4")
        with_edits(path, 20_000, duration=2000, media_time=0)
        with pytest.raises(TooLarge, match="again and again"):
            probe(path)

    def test_a_picture(self, tmp_path: Path) -> None:
        picture(0, 64, 64).save(tmp_path / "x.png")
        with pytest.raises(NotAVideo, match="PNG picture"):
            probe((tmp_path / "x.png").rename(tmp_path / "x.mp4"))


@pytest.fixture(scope="module")
def confiner() -> Iterator[Confiner]:
    with Confiner() as shared:
        yield shared


class TestConfined:
    def test_the_value_is_the_same(self, confiner: Confiner, tmp_path: Path) -> None:
        path = write_clip(tmp_path / "x.mp4", sound_start_s=Fraction(0))
        limits = Limits(memory_bytes=1 << 30, wall_s=60)
        assert confiner.run(probe_source, path, DIGEST, readable=[path], limits=limits) == probe(path)

    def test_scripts_reach_nothing(self, confiner: Confiner, tmp_path: Path) -> None:
        neighbour = write_clip(tmp_path / "neighbour.mp4")
        script = tmp_path / "script.mp4"
        script.write_text(f"ffconcat version 1.0\nfile {neighbour.name}\n")
        with pytest.raises(ForbiddenFormat, match="concat script"):
            confiner.run(probe_source, script, DIGEST, readable=[script])

    def test_headers_that_ask_for_too_much_memory_are_an_error_of_the_source(
        self, confiner: Confiner, tmp_path: Path
    ) -> None:
        path = write_clip(tmp_path / "x.mkv", codec="ffv1", codec_options={}, size=(4096, 4096), times=range(2))
        with pytest.raises(FarmError) as caught:
            confiner.run(probe_source, path, DIGEST, readable=[path], limits=Limits(memory_bytes=110 << 20, wall_s=60))
        assert caught.value.fault in ("input", "device")


def test_packets_from_a_key_frame_start_with_one(tmp_path: Path) -> None:
    options = {"preset": "veryfast", "g": "12", "bf": "3", "sc_threshold": "0"}
    for container_format in ("mp4", "mpegts", "matroska"):
        path = write_clip(tmp_path / "x", container=container_format, codec_options=options)
        track = video_of(path)
        assert len(track.keyframe_pts) == 4
        with open_source(path) as container:
            stream = container.streams.video[0]
            for key in track.keyframe_pts:
                first = next(packets_from(container, stream, key))
                assert first.is_keyframe
                assert first.pts is not None
                assert first.pts <= key


def test_an_edit_that_begins_inside_a_frame_tells_how_late_the_picture_is(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "x.mp4", codec_options={"preset": "ultrafast"}, sound_start_s=Fraction(0))
    whole = probe_source(path, "0" * 64).video
    data = bytearray(path.read_bytes())
    picture = data.index(b"elst", data.index(b"trak")) + 16  # kind, version, count, length, then the begin
    scale, begin = 24 * 512, 3 * 512 + 200
    assert whole is not None
    assert (whole.time_base, whole.late_s) == (Fraction(1, scale), 0)
    data[picture : picture + 4] = begin.to_bytes(4, "big")
    path.write_bytes(data)

    info = probe_source(path, "0" * 64)
    assert info.video is not None
    assert (info.video.frames, info.video.first_pts) == (44, 0)
    assert info.video.late_s == Fraction(512 - 200, scale)
    plan = plan_asset(info, load_profile("default"), 1, "x")
    assert plan.grid is not None
    assert plan.origin_s - plan.grid.origin_s == info.video.late_s
