"""The MPD says what the media is, in exact ticks."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from fractions import Fraction

from encoders.dash import Caption, manifest
from encoders.hls import Sound
from encoders.tracks import Piece, Track

NAMESPACE = {"d": "urn:mpeg:dash:schema:mpd:2011"}


def track(name: str, codec: str, timescale: int, durations: list[int], **shape: int) -> Track:
    starts = [sum(durations[:index]) for index in range(len(durations))]
    pieces = tuple(
        Piece(number=number, start=start, duration=duration, size_bytes=1000 * number)
        for number, (start, duration) in enumerate(zip(starts, durations, strict=True), 1)
    )
    return Track(
        name=name,
        codec=codec,
        timescale=timescale,
        shift=0,
        pieces=pieces,
        iframes=(),
        description=b"",
        init_bytes=700,
        **shape,
    )


def parsed() -> ET.Element:
    picture = track("360p", "avc1.64001e", 30_000, [120_120] * 3 + [1001], width=640, height=360)
    sounds = [
        Sound(
            track=track(f"audio{suffix}", "mp4a.40.2", 48_000, [193_536, 192_512], sample_rate=48_000, channels=2),
            label=label,
            language=language,
            default=not suffix,
        )
        for suffix, label, language in (("", "English & more", "en"), ("-2", "Sound", None))
    ]
    caption = Caption(track=track("text", "wvtt", 1000, [12_046]), label="Svenska", language="sv", forced=True)
    return ET.fromstring(manifest([picture], sounds, [caption], Fraction(30_000, 1001), Fraction(361_361, 30_000), 4))


def test_the_presentation_is_static_and_lasts_as_long_as_its_longest_track() -> None:
    root = parsed()
    assert root.tag == "{urn:mpeg:dash:schema:mpd:2011}MPD"
    assert root.get("type") == "static"
    assert root.get("mediaPresentationDuration") == "PT12.045367S"
    assert root.get("minBufferTime") == "PT4S"
    assert root.get("maxSegmentDuration") == "PT12.046000S"


def test_timelines_are_exact_and_repeat_equal_durations() -> None:
    for name, expected in {
        "360p": [{"t": "0", "d": "120120", "r": "2"}, {"d": "1001"}],
        "audio": [{"t": "0", "d": "193536"}, {"d": "192512"}],
    }.items():
        node = parsed().find(f".//d:Representation[@id='{name}']", NAMESPACE)
        assert node is not None
        assert [each.attrib for each in node.iterfind(".//d:S", NAMESPACE)] == expected
        template = node.find("d:SegmentTemplate", NAMESPACE)
        assert template is not None
        assert template.get("media") == "$RepresentationID$/$Number%05d$.m4s"
        assert template.get("startNumber") == "1"


def test_pictures_declare_codec_size_and_rate() -> None:
    node = parsed().find(".//d:Representation[@id='360p']", NAMESPACE)
    assert node is not None
    assert {key: node.get(key) for key in ("codecs", "width", "height", "frameRate", "sar")} == {
        "codecs": "avc1.64001e",
        "width": "640",
        "height": "360",
        "frameRate": "30000/1001",
        "sar": "1:1",
    }
    # The highest rate is that of the third media segment with the short fourth one: 7000 bytes in 4.0374 s.
    assert node.get("bandwidth") == str(-(-7000 * 8 * 30_000 // 121_121))


def test_sound_and_text_have_language_label_and_role() -> None:
    sets = {
        node.get("contentType", "") + node.get("id", ""): node for node in parsed().iter() if node.get("contentType")
    }
    found = {
        key: (node.get("lang"), node.findtext("d:Label", None, NAMESPACE), role.get("value"))
        for key, node in sets.items()
        if (role := node.find("d:Role", NAMESPACE)) is not None
    }
    assert found == {
        "video0": (None, None, "main"),
        "audio1": ("en", "English & more", "main"),
        "audio2": ("und", "Sound", "alternate"),
        "text3": ("sv", "Svenska", "forced-subtitle"),
    }
    channels = sets["audio1"].find(".//d:AudioChannelConfiguration", NAMESPACE)
    assert channels is not None
    assert channels.get("value") == "2"


def test_each_codec_is_an_adaptation_set_that_names_the_others() -> None:
    codecs = {"360p-av1": "av01.0.01M.08", "360p": "avc1.64001e", "720p": "avc1.64001f", "360p-hevc": "hvc1.1.6.L63.90"}
    pictures = [track(name, codec, 25, [100], width=640, height=360) for name, codec in codecs.items()]
    sounds = [Sound(track=track("audio", "mp4a.40.2", 48_000, [192_000]), label="", language=None, default=True)]
    root = ET.fromstring(manifest(pictures, sounds, [], Fraction(25), Fraction(4), 4))
    found = {}
    for group in root.iterfind(".//d:AdaptationSet[@contentType='video']", NAMESPACE):
        others = group.find("d:SupplementalProperty", NAMESPACE)
        assert others is not None
        assert others.get("schemeIdUri") == "urn:mpeg:dash:adaptation-set-switching:2016"
        names = [each.get("id") for each in group.iterfind("d:Representation", NAMESPACE)]
        found[group.get("id")] = (names, others.get("value"), group.get("selectionPriority"))
    assert found == {
        "0": (["360p", "720p"], "2,3", "1"),
        "2": (["360p-hevc"], "0,3", "2"),
        "3": (["360p-av1"], "0,2", "3"),
    }
    ids = [group.get("id") for group in root.iterfind(".//d:AdaptationSet", NAMESPACE)]
    assert sorted(ids) == ["0", "1", "2", "3"]


def test_one_codec_names_no_others() -> None:
    text = ET.tostring(parsed(), encoding="unicode")
    assert "SupplementalProperty" not in text
    assert "selectionPriority" not in text
