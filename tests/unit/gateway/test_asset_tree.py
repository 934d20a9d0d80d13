"""What the multivariant playlist says, as rows of a table."""

from __future__ import annotations

from gateway.asset_tree import summarise_renditions

MASTER = """#EXTM3U
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="sound",NAME="en",URI="a/media.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=900000,AVERAGE-BANDWIDTH=700000,CODECS="avc1.64001e,mp4a.40.2",RESOLUTION=640x360,FRAME-RATE=30.000
360p/media.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=5000000,CODECS="avc1.640028",RESOLUTION=1920x1080,FRAME-RATE=30.000
1080p/media.m3u8
#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=90000,URI="360p/iframes.m3u8"
"""


def test_renditions_with_their_rates_and_bytes() -> None:
    sizes = {"360p/init.mp4": 10, "360p/00001.m4s": 90, "1080p/00001.m4s": 500, "master.m3u8": 3, "a/00001.m4s": 7}
    small, large = summarise_renditions(MASTER, sizes)
    assert (small.name, small.resolution, small.average_bps, small.peak_bps, small.size_bytes) == (
        "360p",
        "640x360",
        700_000,
        900_000,
        100,
    )
    assert small.codecs == "avc1.64001e,mp4a.40.2"
    assert (large.name, large.average_bps, large.size_bytes) == ("1080p", 0, 500)


def test_a_rendition_offered_with_several_sounds_is_one_row() -> None:
    twice = MASTER + '#EXT-X-STREAM-INF:BANDWIDTH=950000,RESOLUTION=640x360,AUDIO="b"\n360p/media.m3u8\n'
    assert [each.name for each in summarise_renditions(twice, {})] == ["360p", "1080p"]


def test_sound_alone() -> None:
    master = '#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=130000,CODECS="mp4a.40.2"\nsound/media.m3u8\n'
    (row,) = summarise_renditions(master, {})
    assert (row.name, row.resolution) == ("sound", "sound only")


def test_nothing() -> None:
    assert summarise_renditions("", {}) == []
