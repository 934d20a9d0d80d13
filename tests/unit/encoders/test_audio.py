"""Sound renditions: in sync to the sample, as long as planned, cut at the picture's boundaries."""

from __future__ import annotations

import re
import wave
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from sound_clips import decode_rendition, delay_samples, describe, noise, sound_plan, write_sound

from encoders.audio import AudioResult, encode_audio
from encoders.boxes import read_fragments
from encoders.demux import read_packets
from encoders.errors import Damaged
from encoders.ladder import AudioSettings
from encoders.mpegaudio import cut_short, frame_bytes
from encoders.plan import Grid, Plan
from encoders.sound import LATE_BY_A_PACKET

RATE = 48_000


def encode(source: Path, plan: Plan, out: Path) -> AudioResult:
    return encode_audio(source, describe(source), plan, plan.audio[0], out)


def rms(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) if samples.size else 0.0


@pytest.mark.parametrize(
    ("codec", "suffix", "rate"),
    [("flac", "mkv", 48_000), ("aac", "mp4", 44_100), ("libopus", "webm", 48_000), ("pcm_s16le", "wav", 22_050)],
)
def test_decoded_sound_is_in_sync_to_the_sample(tmp_path: Path, codec: str, suffix: str, rate: int) -> None:
    sound = noise(3, rate)
    source = write_sound(tmp_path / f"source.{suffix}", sound, codec=codec, rate=rate)
    result = encode(source, sound_plan(Fraction(3)), tmp_path)
    first, mine = decode_rendition(tmp_path / "audio", result)
    theirs = np.stack([np.interp(np.arange(3 * RATE) * rate / RATE, np.arange(3 * rate), row) for row in sound])
    assert first == 0
    assert abs(result.samples - 3 * RATE) <= RATE // 1000
    assert abs(delay_samples(theirs.astype(np.float32), mine)) <= RATE // 1000
    assert rms(mine[:, 4096:100_000]) == pytest.approx(rms(theirs[:, 4096:100_000]), rel=0.1)


def test_sound_that_starts_late_is_preceded_and_followed_by_silence(tmp_path: Path) -> None:
    sound = noise(2)
    source = write_sound(tmp_path / "late.mkv", sound, start_s=Fraction(1, 2))
    grid = Grid(fps=Fraction(10), frames=30, origin_s=Fraction(0), gop_frames=10, media_segment_frames=20)
    result = encode(source, sound_plan(Fraction(3), grid=grid), tmp_path)
    _, mine = decode_rendition(tmp_path / "audio", result)
    expected = np.concatenate([np.zeros((2, RATE // 2), np.float32), sound], axis=1)
    assert result.samples == 3 * RATE
    assert rms(mine[:, : RATE // 2 - 2048]) < 1e-4
    assert abs(delay_samples(expected, mine)) <= 48
    assert rms(mine[:, RATE * 5 // 2 + 2048 : 3 * RATE]) < 1e-4


def _first_frames_untimed(packets: int, dropped: int) -> Any:
    """Reads packets as FFmpeg's decoder of WMA Pro gives them out: the first frames tell no time, some are missing."""

    def read(container: Any, streams: Any) -> Iterator[Any]:
        rest = read_packets(container, streams)
        first, *others = (next(rest) for _ in range(packets))
        begin, time_base = first.pts, first.time_base
        frames = [frame for packet in (first, *others) for frame in packet.decode()][dropped:]
        for frame in frames:
            frame.pts = None
        yield SimpleNamespace(decode=lambda: frames, pts=begin, time_base=time_base)
        yield from rest

    return read


def test_a_first_frame_without_a_time_has_its_packet_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_sound(tmp_path / "x.mkv", noise(1.0), start_s=Fraction(1))
    plain = encode(source, sound_plan(Fraction(2)), tmp_path / "plain")
    monkeypatch.setattr("encoders.sound.read_packets", _first_frames_untimed(1, 0))
    assert encode(source, sound_plan(Fraction(2)), tmp_path / "untimed") == plain


def test_first_frames_without_a_time_join_those_that_tell_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = noise(2.0)
    source = write_sound(tmp_path / "x.mkv", sound, codec="pcm_s16le", block=2048)
    monkeypatch.setattr("encoders.sound.read_packets", _first_frames_untimed(10, 2))
    result = encode(source, sound_plan(Fraction(2)), tmp_path)
    assert not result.warnings
    _, mine = decode_rendition(tmp_path / "audio", result)
    assert rms(mine[:, : 2 * 2048 - 1024]) < 1e-3
    for at in (3 * 2048, 9 * 2048, RATE):  # within the untimed frames, where they meet the others, and later
        assert abs(delay_samples(sound[:, at : at + 8192], mine[:, at : at + 8192])) <= 48


def test_a_long_way_to_the_first_time_is_a_gap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = noise(2.0)
    source = write_sound(tmp_path / "x.mkv", sound, codec="pcm_s16le", block=2048, cuts=[(0.3, 0.7)])
    monkeypatch.setattr("encoders.sound.read_packets", _first_frames_untimed(7, 0))
    result = encode(source, sound_plan(Fraction(2)), tmp_path)
    assert any("no sound from" in warning for warning in result.warnings)
    _, mine = decode_rendition(tmp_path / "audio", result)
    for at in (0, RATE):
        assert abs(delay_samples(sound[:, at : at + 8192], mine[:, at : at + 8192])) <= 48


def test_frames_that_come_with_the_next_packet_keep_their_own_s_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As FFmpeg's decoder of WMA Lossless gives them out, under the next packet's time."""

    def a_packet_late(container: Any, streams: Any) -> Iterator[Any]:
        held: list[Any] = []
        for packet in read_packets(container, streams):
            given, held = held, packet.decode()
            for frame in given:
                frame.pts = packet.pts
            yield SimpleNamespace(decode=lambda given=given: given, pts=packet.pts, time_base=packet.time_base)

    sound = noise(3)
    source = write_sound(tmp_path / "x.mkv", sound, codec="pcm_s16le", block=9600, start_s=Fraction(1, 4))
    monkeypatch.setattr("encoders.sound.read_packets", a_packet_late)
    monkeypatch.setattr("encoders.sound.codec_name", lambda _: LATE_BY_A_PACKET)
    result = encode(source, sound_plan(Fraction(3), origin_s=Fraction(1, 4)), tmp_path)
    _, mine = decode_rendition(tmp_path / "audio", result)
    assert not result.warnings
    assert abs(delay_samples(sound[:, RATE : 2 * RATE], mine[:, RATE : 2 * RATE], reach=12_000)) <= 48


def test_sound_without_a_picture_ends_where_the_source_s_does(tmp_path: Path) -> None:
    source = write_sound(tmp_path / "short.mkv", noise(2))
    assert encode(source, sound_plan(Fraction(3)), tmp_path).samples == 2 * RATE


def test_sound_before_time_zero_is_cut(tmp_path: Path) -> None:
    sound = noise(3)
    source = write_sound(tmp_path / "early.mkv", sound)
    result = encode(source, sound_plan(Fraction(2), origin_s=Fraction(1, 3)), tmp_path)
    _, mine = decode_rendition(tmp_path / "audio", result)
    assert result.samples == 2 * RATE
    assert abs(delay_samples(sound[:, RATE // 3 :], mine)) <= 48


def test_a_gap_stays_silent_and_what_follows_in_time(tmp_path: Path) -> None:
    sound = noise(4)
    source = write_sound(tmp_path / "gap.mkv", sound, cuts=[(1.5, 2.0)])
    result = encode(source, sound_plan(Fraction(4)), tmp_path)
    _, mine = decode_rendition(tmp_path / "audio", result)
    assert rms(mine[:, int(1.6 * RATE) : int(1.9 * RATE)]) < 1e-4
    later = slice(int(2.2 * RATE), 4 * RATE)
    assert abs(delay_samples(sound[:, later], mine[:, later])) <= 48
    assert any(re.search(r"no sound from 1\.[45]\d to (1\.9|2\.0)\d s", warning) for warning in result.warnings)


def test_jitter_of_timestamps_makes_neither_gaps_nor_warnings(tmp_path: Path) -> None:
    sound = noise(4)
    source = write_sound(tmp_path / "jitter.mkv", sound, jitter_s=0.003)
    result = encode(source, sound_plan(Fraction(4)), tmp_path)
    _, mine = decode_rendition(tmp_path / "audio", result)
    assert not result.warnings
    assert abs(delay_samples(sound, mine)) <= 96
    quiet = np.lib.stride_tricks.sliding_window_view(np.abs(mine[0, 2048 : 4 * RATE - 2048]), 240)[::120].max(axis=1)
    assert quiet.min() > 0.001


@pytest.mark.parametrize(
    ("codec", "rate", "bit_rate"),
    [("mp2", 44_100, 128_000), ("libmp3lame", 44_100, 96_000), ("libmp3lame", 22_050, 64_000)],
)
def test_frames_of_mpeg_audio_are_as_long_as_their_headers_say(
    codec: str, rate: int, bit_rate: int, tmp_path: Path
) -> None:
    path = write_sound(tmp_path / "whole.mkv", noise(1, rate=rate), codec=codec, rate=rate, bit_rate=bit_rate)
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(audio=0) if packet.size]
    assert len(packets) > 30
    assert [frame_bytes(packet[:4]) for packet in packets] == [len(packet) for packet in packets]
    assert not any(map(cut_short, packets))
    assert all(cut_short(packet[:-1]) for packet in packets)


@pytest.mark.parametrize("head", ["", "fffb", "00000000", "fffb0c00", "fffbfc00", "fff99000", "ffeb9000"])
def test_what_is_no_header_of_mpeg_audio_says_nothing(head: str) -> None:
    assert frame_bytes(bytes.fromhex(head)) is None


def test_a_frame_that_was_cut_off_makes_no_noise(tmp_path: Path) -> None:
    sound = noise(2)
    source = write_sound(tmp_path / "cut.mp2", sound, codec="mp2", bit_rate=256_000)
    source.write_bytes(source.read_bytes()[:-700])
    result = encode(source, sound_plan(Fraction(5, 2)), tmp_path)
    assert any("1 packet" in warning for warning in result.warnings)
    _, mine = decode_rendition(tmp_path / "audio", result)
    assert np.abs(mine).max() < 1.2 * np.abs(sound).max()
    # Nor is it a hole: what was there fades out.
    lost = slice(2 * RATE - 1152, 2 * RATE - 576)
    assert rms(mine[:, lost]) > 0.1 * rms(sound)
    assert rms(mine[:, 2 * RATE + 1152 : 2 * RATE + 4096]) < 1e-3


def test_a_clock_of_coarse_steps_cuts_nothing(tmp_path: Path) -> None:
    sound = noise(8)
    source = write_sound(tmp_path / "coarse.mkv", sound, codec="pcm_s16le", block=4608, step_s=Fraction(1, 20))
    result = encode(source, sound_plan(Fraction(8)), tmp_path)
    _, mine = decode_rendition(tmp_path / "audio", result)
    assert not result.warnings
    for at in range(RATE, 7 * RATE, RATE):
        assert abs(delay_samples(sound[:, at : at + RATE], mine[:, at : at + RATE])) <= 48


def test_timestamps_that_waver_cut_nothing(tmp_path: Path) -> None:
    """As where packets tell the time of one of the frames that end in them."""
    sound = noise(8)
    early_s = (0.0464, 0.0929, 0.0464, 0.0464, 0.0929)
    source = write_sound(tmp_path / "waver.mkv", sound, codec="pcm_s16le", block=5120, early_s=early_s)
    result = encode(source, sound_plan(Fraction(8)), tmp_path)
    _, mine = decode_rendition(tmp_path / "audio", result)
    assert not result.warnings
    for at in range(RATE, 7 * RATE, RATE):
        assert abs(delay_samples(sound[:, at : at + RATE], mine[:, at : at + RATE])) <= RATE // 50


def test_a_gap_is_one_on_a_coarse_clock_too(tmp_path: Path) -> None:
    sound = noise(8)
    source = write_sound(
        tmp_path / "coarse.mkv", sound, codec="pcm_s16le", block=4608, step_s=Fraction(1, 20), cuts=[(3.0, 3.4)]
    )
    result = encode(source, sound_plan(Fraction(8)), tmp_path)
    _, mine = decode_rendition(tmp_path / "audio", result)
    assert any("no sound from" in warning for warning in result.warnings)
    assert abs(delay_samples(sound[:, 5 * RATE : 6 * RATE], mine[:, 5 * RATE : 6 * RATE])) <= RATE // 20


def test_a_clock_that_drifts_is_followed(tmp_path: Path) -> None:
    sound = noise(8)
    source = write_sound(tmp_path / "drift.mkv", sound, drift=0.004)
    result = encode(source, sound_plan(Fraction(8)), tmp_path)
    _, mine = decode_rendition(tmp_path / "audio", result)
    at = 7 * RATE
    theirs = sound[:, round(at / 1.004) :][:, : RATE // 2]
    assert abs(delay_samples(theirs, mine[:, at : at + RATE // 2])) <= RATE // 100
    assert not result.warnings


def test_mono_reaches_both_sides_unchanged(tmp_path: Path) -> None:
    sound = noise(2, channels=1)
    source = write_sound(tmp_path / "mono.wav", sound, codec="pcm_s16le", layout="mono")
    _, mine = decode_rendition(tmp_path / "audio", encode(source, sound_plan(Fraction(2)), tmp_path))
    assert mine.shape[0] == 2
    for side in mine:
        assert rms(side[4096:90_000]) == pytest.approx(rms(sound[0, 4096:90_000]), rel=0.05)


@pytest.mark.parametrize("channels", [3, 6, 12])
def test_unnamed_channels_are_mixed_too(tmp_path: Path, channels: int) -> None:
    sound = np.zeros((channels, RATE), np.float32)
    sound[0] = noise(1, channels=1)[0]
    source = tmp_path / "unnamed.wav"
    with wave.open(str(source), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((sound.T * 32767).astype("<i2").tobytes())
    _, mine = decode_rendition(tmp_path / "audio", encode(source, sound_plan(Fraction(1)), tmp_path))
    assert rms(mine[0, 4096:40_000]) == pytest.approx(rms(sound[0, 4096:40_000]), rel=0.1)
    assert rms(mine[1, 4096:40_000]) < 0.1 * rms(mine[0, 4096:40_000])


def test_surround_is_mixed_down_without_clipping(tmp_path: Path) -> None:
    sound = np.zeros((6, 2 * RATE), np.float32)
    tone = np.sin(np.arange(2 * RATE) * 2 * np.pi * 441 / RATE).astype(np.float32) * 0.9
    sound[0, :RATE] = sound[2, :RATE] = sound[4, :RATE] = tone[:RATE]  # left, centre and left surround at once: 2.2
    sound[3] = 0.5 * np.sin(np.arange(2 * RATE) * 2 * np.pi * 50 / RATE)  # low-frequency effects: left out
    sound[2, RATE:] = tone[RATE:] * 0.5
    source = write_sound(tmp_path / "surround.mkv", sound, codec="flac", layout="5.1")
    _, mine = decode_rendition(tmp_path / "audio", encode(source, sound_plan(Fraction(2)), tmp_path))
    assert 0.85 < np.abs(mine[:, 4096 : RATE - 4096]).max() < 1.0
    second = mine[:, RATE + 4096 : 2 * RATE - 4096]
    assert rms(second[0]) == pytest.approx(0.45 / 2, rel=0.05)  # 0.9 / 2 of centre, -3 dB, as RMS of a sine
    assert rms(second[0] - second[1]) < 0.02


def test_a_stereo_source_above_full_scale_keeps_its_level(tmp_path: Path) -> None:
    sound = noise(2, level=1.0) * 2
    heard = np.clip(sound, -1, 1)
    source = write_sound(tmp_path / "loud.mkv", sound, codec="pcm_f32le")
    _, mine = decode_rendition(tmp_path / "audio", encode(source, sound_plan(Fraction(2)), tmp_path))
    assert rms(mine[:, 4096:90_000]) == pytest.approx(rms(heard[:, 4096:90_000]), rel=0.08)


def test_media_segments_are_cut_at_the_picture_s_boundaries(tmp_path: Path) -> None:
    source = write_sound(tmp_path / "source.mkv", noise(5))
    grid = Grid(fps=Fraction(30_000, 1001), frames=150, origin_s=Fraction(0), gop_frames=30, media_segment_frames=60)
    result = encode(source, sound_plan(grid.duration_s, grid=grid), tmp_path)
    assert [piece.number for piece in result.media] == [1, 2, 3]
    assert sum(piece.samples for piece in result.media) == result.samples == round(grid.duration_s * RATE)
    at = 0
    for piece in result.media:
        data = (tmp_path / "audio" / f"{piece.number:05d}.m4s").read_bytes()
        (fragment,) = read_fragments(data)
        assert len(data) == piece.size_bytes
        assert fragment.sequence == piece.number
        assert fragment.samples[0].decode_time == at
        assert sum(sample.duration for sample in fragment.samples) == piece.samples
        boundary = (piece.number - 1) * 60 / grid.fps * RATE
        assert 0 <= at - boundary < 1024
        at += piece.samples


def test_loudness_is_brought_to_what_the_profile_asks(tmp_path: Path) -> None:
    source = write_sound(tmp_path / "quiet.mkv", noise(6, level=0.03))
    plain = encode(source, sound_plan(Fraction(6)), tmp_path / "plain")
    wanted = encode(source, sound_plan(Fraction(6), settings=AudioSettings(loudness_lufs=-16.0)), tmp_path / "wanted")
    assert plain.loudness_lufs is None
    assert wanted.loudness_lufs is not None
    gain = 10 ** ((-16.0 - wanted.loudness_lufs) / 20)
    before, after = (decode_rendition(tmp_path / n / "audio", r)[1] for n, r in (("plain", plain), ("wanted", wanted)))
    assert gain > 2
    assert rms(after[:, 4096:200_000]) / rms(before[:, 4096:200_000]) == pytest.approx(gain, rel=0.05)


def test_the_same_source_gives_the_same_bytes(tmp_path: Path) -> None:
    source = write_sound(tmp_path / "source.mkv", noise(2))
    results = [encode(source, sound_plan(Fraction(2)), tmp_path / name) for name in ("one", "two")]
    assert results[0] == results[1]
    assert (tmp_path / "one/audio/init.mp4").read_bytes() == (tmp_path / "two/audio/init.mp4").read_bytes()


def test_a_track_of_which_nothing_decodes_is_damage(tmp_path: Path) -> None:
    source = write_sound(tmp_path / "source.mp4", noise(1), codec="aac")
    data = bytearray(source.read_bytes())
    start = data.index(b"mdat") + 4
    end = data.index(b"moov") - 4
    data[start:end] = b"\xff" * (end - start)
    source.write_bytes(data)
    with pytest.raises(Damaged, match="stream 0"):
        encode(source, sound_plan(Fraction(1)), tmp_path)


@pytest.mark.parametrize("codec", ["flac", "ac3"])
def test_a_frame_whose_checksum_fails_is_silent_and_counts_as_lost(tmp_path: Path, codec: str) -> None:
    source = write_sound(tmp_path / "source.mkv", noise(4), codec=codec)
    sound = encode(source, sound_plan(Fraction(4)), tmp_path / "sound")
    assert (sound.lost_s, sound.warnings) == (0.0, ())
    data = bytearray(source.read_bytes())
    data[len(data) // 2] ^= 8
    source.write_bytes(data)
    broken = encode(source, sound_plan(Fraction(4)), tmp_path / "broken")
    assert 0 < broken.lost_s < 0.3
    assert len(broken.warnings) == 1
    assert "1 packet of the source's sound" in broken.warnings[0]
    assert broken.samples == pytest.approx(sound.samples, abs=48)  # Matroska's times are whole milliseconds
