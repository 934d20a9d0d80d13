"""Playlists say what the media is, by the rules of RFC 8216bis."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import pytest

from encoders.hls import Sound, Text, iframe_playlist, media_playlist, multivariant_playlist, quoted, text_playlist
from encoders.tracks import IFrame, Piece, Track, peak_bps, target_duration_s


def track(name: str, sizes: list[int], *, length: int = 4, picture: bool = True, width: int = 320) -> Track:
    """A track of media segments of `length` seconds and these sizes, one I-frame of a tenth each."""
    pieces = tuple(
        Piece(number=n, start=(n - 1) * length * 1000, duration=length * 1000, size_bytes=size)
        for n, size in enumerate(sizes, 1)
    )
    frames = tuple(
        IFrame(number=p.number, offset=24, size_bytes=p.size_bytes // 10, start=p.start, duration=p.duration)
        for p in pieces
    )
    return Track(
        name=name,
        codec="avc1.64001e" if picture else "mp4a.40.2",
        timescale=1000,
        shift=0,
        pieces=pieces,
        iframes=frames if picture else (),
        description=b"",
        init_bytes=700,
        width=width if picture else 0,
        height=width * 9 // 16 if picture else 0,
        sample_rate=0 if picture else 48_000,
        channels=0 if picture else 2,
    )


def sound(name: str = "audio", label: str = "English", language: str | None = "en", default: bool = True) -> Sound:
    return Sound(track=track(name, [64_000, 64_000], picture=False), label=label, language=language, default=default)


def test_a_media_playlist_lists_each_media_segment_once() -> None:
    lines = media_playlist(track("a", [100, 200]), 4).splitlines()
    assert lines[0] == "#EXTM3U"
    assert "#EXT-X-TARGETDURATION:4" in lines
    assert "#EXT-X-INDEPENDENT-SEGMENTS" in lines
    assert '#EXT-X-MAP:URI="init.mp4"' in lines
    assert lines[-5:] == ["#EXTINF:4.000000,", "00001.m4s", "#EXTINF:4.000000,", "00002.m4s", "#EXT-X-ENDLIST"]


def test_an_iframe_playlist_names_bytes() -> None:
    lines = iframe_playlist(track("a", [100, 200])).splitlines()
    assert "#EXT-X-I-FRAMES-ONLY" in lines
    assert lines[-4:] == ["#EXTINF:4.000000,", "#EXT-X-BYTERANGE:20@24", "00002.m4s", "#EXT-X-ENDLIST"]


def test_a_text_playlist_lists_its_files() -> None:
    assert text_playlist([("a.vtt", Fraction(7, 2))], 4).splitlines()[-3:] == [
        "#EXTINF:3.500000,",
        "a.vtt",
        "#EXT-X-ENDLIST",
    ]


def test_bandwidth_adds_the_peak_of_sound_to_that_of_the_picture() -> None:
    text = multivariant_playlist([track("a", [500_000, 100_000])], [sound()], (), Fraction(25), 4)
    assert "BANDWIDTH=1128000,AVERAGE-BANDWIDTH=728000" in text
    assert 'CODECS="avc1.64001e,mp4a.40.2"' in text
    assert "RESOLUTION=320x180,FRAME-RATE=25.000" in text


def test_players_start_on_the_best_variant_below_two_megabits_and_the_rest_rises() -> None:
    tracks = [track(name, [size] * 2) for name, size in (("a", 100_000), ("b", 900_000), ("c", 2_000_000), ("d", 50))]
    text = multivariant_playlist(tracks, (), (), Fraction(25), 4)
    assert [line for line in text.splitlines() if line.endswith("/index.m3u8")] == [
        f"{name}/index.m3u8" for name in "bdac"
    ]
    assert "AUDIO=" not in text


def test_sound_tracks_form_a_group_with_language_and_default() -> None:
    sounds = [sound(), sound("audio-2", 'Deutsch "x"', "de", default=False)]
    text = multivariant_playlist([track("a", [1000])], sounds, (), Fraction(25), 4)
    assert 'NAME="English",LANGUAGE="en",DEFAULT=YES,AUTOSELECT=YES,CHANNELS="2",URI="audio/index.m3u8"' in text
    assert 'NAME="Deutsch x",LANGUAGE="de",DEFAULT=NO,AUTOSELECT=YES' in text
    assert text.count('AUDIO="sound"') == 1


def test_subtitles_form_a_group() -> None:
    text = multivariant_playlist(
        [track("a", [1000])],
        (),
        [Text(name="text", label="Svenska", language="sv", default=False, forced=True)],
        Fraction(25),
        4,
    )
    assert 'TYPE=SUBTITLES,GROUP-ID="text",NAME="Svenska",LANGUAGE="sv",DEFAULT=NO,AUTOSELECT=YES,FORCED=YES' in text
    assert 'SUBTITLES="text"' in text


def test_sound_alone_is_a_variant() -> None:
    text = multivariant_playlist((), [sound()], (), None, 4)
    assert 'AVERAGE-BANDWIDTH=128000,CODECS="mp4a.40.2"\naudio/index.m3u8\n' in text
    assert "EXT-X-MEDIA:" not in text
    several = multivariant_playlist((), [sound(), sound("audio-2", "German", "de", default=False)], (), None, 4)
    assert several.count("#EXT-X-MEDIA:") == 2
    assert several.count("#EXT-X-STREAM-INF:") == 1


def test_each_picture_has_an_iframe_variant() -> None:
    text = multivariant_playlist([track("a", [1000, 3000])], (), (), Fraction(25), 4)
    assert (
        '#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=600,CODECS="avc1.64001e",RESOLUTION=320x180,URI="a/iframes.m3u8"' in text
    )


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([(1000, 4)], 2000),
        ([(1000, 4), (3000, 4)], 6000),
        ([(1000, 4), (3000, 1)], 32_000 // 5),  # a short last segment counts with its neighbour only
        ([(1000, 1)], 8000),  # shorter than any run
    ],
)
def test_the_peak_is_over_runs_of_half_to_one_and_a_half_target_durations(
    pieces: list[tuple[int, int]], expected: int
) -> None:
    assert peak_bps([(size, Fraction(length)) for size, length in pieces], 4) == expected


@pytest.mark.parametrize(("length_ms", "target"), [(4004, 4), (4499, 4), (4500, 5), (300, 1)])
def test_the_target_duration_is_the_longest_rounded(length_ms: int, target: int) -> None:
    one = track("a", [10])
    piece = Piece(number=1, start=0, duration=length_ms, size_bytes=10)
    changed = Track(
        name="a",
        codec=one.codec,
        timescale=1000,
        shift=0,
        pieces=(piece,),
        iframes=(),
        description=b"",
        init_bytes=1,
    )
    assert target_duration_s([changed]) == target


def test_quoted_strings_hold_no_quotes_and_no_line_breaks() -> None:
    assert quoted('a"b\nc\r\x00d é') == "abcd é"
    assert quoted(None) == ""


def test_codecs_are_told_apart_and_ranked_by_what_they_look_like() -> None:
    def coded(name: str, codec: str, width: int, size: int) -> Track:
        return replace(track(name, [size] * 2, width=width), codec=codec)

    pictures = [
        coded("360p", "avc1.64001e", 640, 300_000),
        coded("360p-av1", "av01.0.01M.08", 640, 200_000),
        coded("720p", "avc1.64001f", 1280, 900_000),
        coded("720p-hevc", "hvc1.1.6.L93.90", 1280, 700_000),
    ]
    lines = multivariant_playlist(pictures, [sound()], [], Fraction(25), 4).splitlines()
    variants = {uri: line for line, uri in pairwise(lines) if line.startswith("#EXT-X-STREAM-INF")}
    assert list(variants) == [f"{name}/index.m3u8" for name in ("720p", "360p-av1", "360p", "720p-hevc")]
    scores = {uri.partition("/")[0]: line.partition(",SCORE=")[2] for uri, line in variants.items()}
    assert scores == {"360p": "1", "360p-av1": "2", "720p": "3", "720p-hevc": "4"}
    assert 'CODECS="av01.0.01M.08,mp4a.40.2"' in variants["360p-av1/index.m3u8"]
    assert sum(line.startswith("#EXT-X-I-FRAME-STREAM-INF") for line in lines) == 4


def test_one_codec_needs_no_score() -> None:
    assert "SCORE" not in multivariant_playlist([track("a", [1]), track("b", [2])], [sound()], [], Fraction(25), 4)
