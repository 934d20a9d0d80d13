"""Packaging: every file of an asset says what the media is, and plays in FFmpeg from start to end."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from asset_clips import number_of, numbered, small_asset
from sound_clips import describe, noise, sound_plan, write_sound

from encoders.asset import AssetManifest
from encoders.audio import encode_audio
from encoders.boxes import find_box, find_boxes, iter_boxes
from encoders.errors import VerificationFailed
from encoders.media import Chapter
from encoders.package import package_asset
from encoders.plan import Plan, TextRendition
from encoders.subtitles import TextResult
from encoders.tracks import read_track
from encoders.verify_asset import verify_asset
from encoders.vtt import Cue


class Asset:
    """A packaged asset of the tests."""

    def __init__(self, folder: Path, **options: object) -> None:
        self.plan, info, sounds, self.media = small_asset(folder, **options)  # type: ignore[arg-type]
        self.info = replace(info, chapters=(Chapter(start_s=Fraction(1), end_s=Fraction(9), title="One <1>"),))
        self.out = folder / "asset"
        self.manifest: AssetManifest = package_asset(self.plan, self.info, [], sounds, self.media, self.out)


@pytest.fixture(scope="module")
def asset(tmp_path_factory: pytest.TempPathFactory) -> Asset:
    return Asset(tmp_path_factory.mktemp("asset"), fps=Fraction(30_000, 1001))


def test_all_files_are_listed_once_with_their_sizes(asset: Asset) -> None:
    listed = {file.path: file for file in asset.manifest.files}
    assert set(listed) == {path.relative_to(asset.out).as_posix() for path in asset.out.rglob("*") if path.is_file()}
    assert all(file.bytes == (asset.out / path).stat().st_size > 0 for path, file in listed.items())
    assert {file.kind for file in asset.manifest.files} == {
        *("HLS", "DASH", "PLAYLIST", "MP4_180", "THUMB", "PREVIEW"),
        *("STORYBOARD", "STORYBOARD_VTT", "CHAPTERS", "CHAPTERS_JSON", "ASSET_JSON"),
    }
    assert asset.manifest.duration_s == Fraction(140 * 1001, 30_000)


def test_what_was_packaged_is_what_was_planned(asset: Asset) -> None:
    verify_asset(asset.plan, asset.manifest, asset.media, asset.out)


def test_the_mp4_plays_every_frame_from_time_zero(asset: Asset) -> None:
    path = asset.out / "mp4/180p.mp4"
    data = path.read_bytes()
    assert [box.kind for box in iter_boxes(data)] == ["ftyp", "moov", "mdat"]
    assert not list(find_boxes(data, "moov/trak/edts"))
    with av.open(str(path)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.start_time, audio.start_time) == (0, 0)
        assert video.duration * video.time_base == asset.plan.duration_s
        assert audio.duration == round(asset.plan.duration_s * 48_000)
        frames = list(container.decode(video))
    assert [number_of(frame.to_ndarray(format="rgb24")) for frame in frames] == list(range(140))
    assert [frame.pts * frame.time_base for frame in frames] == [n * Fraction(1001, 30_000) for n in range(140)]


def test_the_mp4_has_the_rendition_s_sound_to_the_bit(asset: Asset) -> None:
    with av.open(str(asset.out / "mp4/180p.mp4")) as container:
        mine = [bytes(packet) for packet in container.demux(audio=0) if packet.size]
    files = [asset.media / "audio/init.mp4", *sorted((asset.media / "audio").glob("0*.m4s"))]
    with av.open(io.BytesIO(b"".join(file.read_bytes() for file in files))) as container:
        theirs = [bytes(packet) for packet in container.demux(audio=0) if packet.size]
    assert mine == theirs


def test_the_mp4_is_interleaved(asset: Asset) -> None:
    with av.open(str(asset.out / "mp4/180p.mp4")) as container:
        placed = sorted(
            (packet.pos, packet.stream_index, float(packet.dts * packet.time_base))
            for packet in container.demux()
            if packet.size and packet.dts is not None and packet.pos is not None
        )
    latest = [0.0, 0.0]
    for _, stream, at_s in placed:
        latest[stream] = max(latest[stream], at_s)
        assert abs(latest[0] - latest[1]) < 1.2


def test_chapters_are_carried(asset: Asset) -> None:
    with av.open(str(asset.out / "mp4/180p.mp4")) as container:
        chapter = container.chapters()[-1]
    assert chapter["metadata"]["title"] == "One <1>"
    assert chapter["start"] * chapter["time_base"] == 1
    data = (asset.out / "mp4/180p.mp4").read_bytes()
    assert [int.from_bytes(data[box.body : box.end], "big") for box in find_boxes(data, "moov/trak/tref/chap")] == [3]
    assert data.count(b"One <1>") == 2
    (entry,) = json.loads((asset.out / "chapters.json").read_text())
    assert (entry["start-time"], entry["titles"][0]["title"]) == (1.0, "One <1>")
    assert 'DATA-ID="com.apple.hls.chapters",URI="chapters.json"' in (asset.out / "master.m3u8").read_text()
    assert "00:00:01.000 --> 00:00:04.671\nOne &lt;1&gt;" in (asset.out / "chapters.vtt").read_text()


def test_the_thumbnail_is_the_largest_rendition_s_picture_at_one_second(asset: Asset) -> None:
    with av.open(str(asset.out / "thumbnail.jpg")) as container:
        picture = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert picture.shape == (180, 320, 3)
    assert number_of(picture) == 29
    assert np.abs(picture[60:].astype(int) - numbered(29, 320, 180)[60:]).mean() < 6


def test_the_preview_is_the_first_three_seconds_without_sound(asset: Asset) -> None:
    with av.open(str(asset.out / "preview.mp4")) as container:
        assert not container.streams.audio
        frames = [number_of(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
        assert container.streams.video[0].start_time == 0
    assert frames == list(range(90))


def test_the_storyboard_shows_the_time_that_it_says(tmp_path: Path) -> None:
    asset = Asset(tmp_path, fps=Fraction(5), frames=150, sizes=(("90p", 160, 90),), sounds=0)  # 30 s, an IDR each 5 s
    with av.open(str(asset.out / "storyboard/sprite-1.jpg")) as container:
        sheet = next(container.decode(video=0)).to_ndarray(format="rgb24")
    cues = (asset.out / "storyboard.vtt").read_text().split("\n\n")[1:]
    assert len(cues) == 6
    assert cues[-1].startswith("00:00:25.000 --> 00:00:30.000\nstoryboard/sprite-1.jpg#xywh=0,90,160,90")
    for index, cue in enumerate(cues):
        x, y, width, height = map(int, cue.strip().rsplit("=", 1)[1].split(","))
        assert number_of(sheet[y : y + height, x : x + width]) == index * 25


def test_iframe_playlists_address_pictures_that_decode_alone(asset: Asset) -> None:
    lines = (asset.out / "180p/iframes.m3u8").read_text().splitlines()
    init = (asset.media / "180p/init.mp4").read_bytes()
    numbers = []
    for entry, uri in pairwise(lines):
        if entry.startswith("#EXT-X-BYTERANGE:"):
            size, offset = map(int, entry.partition(":")[2].split("@"))
            piece = (asset.media / "180p" / uri).read_bytes()[offset : offset + size]
            with av.open(io.BytesIO(init + piece)) as container:
                numbers.append(number_of(next(container.decode(video=0)).to_ndarray(format="rgb24")))
    assert numbers == list(range(0, 140, 25))


def test_asset_json_says_what_there_is(asset: Asset) -> None:
    report = json.loads((asset.out / "asset.json").read_text())
    assert [each["name"] for each in report["renditions"]] == ["90p", "180p", "audio"]
    assert report["renditions"][1]["frames"] == 140
    assert report["renditions"][1]["frame_rate"] == "30000/1001"
    assert report["renditions"][1]["average_bps"] <= report["renditions"][1]["peak_bps"]
    assert {file["path"] for file in report["files"]} >= {"master.m3u8", "manifest.mpd", "thumbnail.jpg"}
    assert report["chapters_from"] == "source"
    assert report["renditions"][2]["lost_s"] == 0
    assert "playlists" in report["verified"]


def test_a_black_second_does_not_become_the_thumbnail(tmp_path: Path) -> None:
    def late(number: int, width: int, height: int) -> np.ndarray:
        return numbered(number, width, height) if number >= 70 else np.zeros((height, width, 3), np.uint8)

    asset = Asset(tmp_path, frames=100, paint=late, sounds=0)
    with av.open(str(asset.out / "thumbnail.jpg")) as container:
        assert number_of(next(container.decode(video=0)).to_ndarray(format="rgb24")) == 75


def test_a_black_video_gets_a_black_thumbnail(tmp_path: Path) -> None:
    asset = Asset(tmp_path, frames=30, sounds=0, paint=lambda _, width, height: np.zeros((height, width, 3), np.uint8))
    with av.open(str(asset.out / "thumbnail.jpg")) as container:
        assert next(container.decode(video=0)).to_ndarray(format="gray").max() < 10
    assert not any(file.path.startswith("audio") for file in asset.manifest.files)


@pytest.mark.parametrize("frames", [1, 2, 51])
def test_very_short_videos_are_assets_too(tmp_path: Path, frames: int) -> None:
    asset = Asset(tmp_path, frames=frames, sizes=(("2p", 4, 2), ("90p", 90, 160)))
    verify_asset(asset.plan, asset.manifest, asset.media, asset.out)
    with av.open(str(asset.out / "mp4/90p.mp4")) as container:
        assert len(list(container.decode(video=0))) == frames


def test_sound_alone_is_an_asset(tmp_path: Path) -> None:
    source = write_sound(tmp_path / "source.mkv", noise(9))
    info, plan = describe(source), sound_plan(Fraction(9))
    result = encode_audio(source, info, plan, plan.audio[0], tmp_path / "media")
    manifest = package_asset(plan, info, [], [result], tmp_path / "media", tmp_path / "out")
    verify_asset(plan, manifest, tmp_path / "media", tmp_path / "out")
    assert {file.kind for file in manifest.files} == {"HLS", "DASH", "PLAYLIST", "ASSET_JSON"}
    assert len(result.media) == 3


def test_several_sound_tracks_are_all_there(tmp_path: Path) -> None:
    asset = Asset(tmp_path, frames=60, sizes=(("90p", 160, 90),), sounds=3)
    verify_asset(asset.plan, asset.manifest, asset.media, asset.out)
    assert (asset.out / "master.m3u8").read_text().count("TYPE=AUDIO") == 3
    assert (asset.out / "manifest.mpd").read_text().count('contentType="audio"') == 3
    with av.open(str(asset.out / "mp4/90p.mp4")) as container:
        assert len(container.streams.audio) == 1


def test_text_renditions_are_a_group_of_their_own(asset: Asset, tmp_path: Path) -> None:
    text = TextRendition(name="text", stream=2, language="sv", label="Svenska", default=False, forced=False)
    plan = replace(asset.plan, text=(text, replace(text, name="text-2", label="Empty")))
    texts = [
        TextResult(name="text", cues=(Cue(start_s=Fraction(1, 2), end_s=Fraction(1), text="Hej"),)),
        TextResult(name="text-2", cues=(), warnings=("text-2: odd",)),
    ]
    manifest = package_asset(plan, asset.info, [], [], asset.media, tmp_path, texts)
    verify_asset(plan, manifest, asset.media, tmp_path)
    assert (tmp_path / "text/captions.vtt").read_text() == texts[0].vtt
    assert "#EXTINF:4.671333,\ncaptions.vtt\n" in (tmp_path / "text/index.m3u8").read_text()
    master = (tmp_path / "master.m3u8").read_text()
    assert master.count("TYPE=SUBTITLES") == 1
    assert master.count('SUBTITLES="text"') == 2
    assert 'contentType="text"' in (tmp_path / "manifest.mpd").read_text()
    assert manifest.warnings == ("text-2: odd",)
    assert not (tmp_path / "text-2").exists()


def test_closed_captions_are_told_from_subtitles(asset: Asset, tmp_path: Path) -> None:
    text = TextRendition(
        name="text", stream=0, language=None, label="Closed captions", default=False, forced=False, captions=1
    )
    plan = replace(asset.plan, text=(text,))
    cues = (Cue(start_s=Fraction(1, 2), end_s=Fraction(1), text="[door slams]"),)
    manifest = package_asset(plan, asset.info, [], [], asset.media, tmp_path, [TextResult(name="text", cues=cues)])
    verify_asset(plan, manifest, asset.media, tmp_path)
    assert "public.accessibility.transcribes-spoken-dialog" in (tmp_path / "master.m3u8").read_text()
    assert 'value="caption"' in (tmp_path / "manifest.mpd").read_text()


def test_an_asset_larger_than_32_bits_gets_wide_offsets(asset: Asset, monkeypatch: pytest.MonkeyPatch) -> None:
    from encoders import progressive

    picture, sound = (read_track(asset.media / name, name) for name in ("180p", "audio"))
    monkeypatch.setattr(progressive, "LARGE", 1000)
    path = asset.out.parent / "wide.mp4"
    progressive.write_progressive(asset.media, picture, sound, path)
    assert find_box(path.read_bytes(), "moov/trak/mdia/minf/stbl/co64")
    with av.open(str(path)) as container:
        frames = [number_of(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    assert frames == list(range(140))


def spoil_count(plan: Plan, media: Path, out: Path) -> None:
    (media / "90p/00003.m4s").unlink()


def spoil_order(plan: Plan, media: Path, out: Path) -> None:
    one, two = media / "180p/00001.m4s", media / "180p/00002.m4s"
    first = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(first)


def spoil_sound(plan: Plan, media: Path, out: Path) -> None:
    (media / "audio/00003.m4s").unlink()


def spoil_bytes(plan: Plan, media: Path, out: Path) -> None:
    path = media / "180p/00002.m4s"
    path.write_bytes(path.read_bytes()[:-100])


def spoil_playlist(plan: Plan, media: Path, out: Path) -> None:
    path = out / "180p/index.m3u8"
    path.write_text(path.read_text().replace("00002.m4s", "00009.m4s"))


def spoil_thumbnail(plan: Plan, media: Path, out: Path) -> None:
    (out / "thumbnail.jpg").unlink()


def spoil_manifest(plan: Plan, media: Path, out: Path) -> None:
    path = out / "manifest.mpd"
    path.write_text(path.read_text().replace('r="1"', 'r="2"'))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_count, "90p: number of frames"),
        (spoil_order, "180p: start of media segment 1"),
        (spoil_sound, "audio: length in samples"),
        (spoil_bytes, "180p"),
        (spoil_playlist, "180p/index.m3u8"),
        (spoil_thumbnail, "thumbnail.jpg is missing"),
        (spoil_manifest, "manifest.mpd"),
    ],
)
def test_a_spoilt_asset_is_not_let_through(
    asset: Asset, tmp_path: Path, spoil: Callable[[Plan, Path, Path], None], message: str
) -> None:
    media, out = tmp_path / "media", tmp_path / "out"
    shutil.copytree(asset.media, media)
    shutil.copytree(asset.out, out)
    spoil(asset.plan, media, out)
    with pytest.raises(VerificationFailed, match=message):
        verify_asset(asset.plan, asset.manifest, media, out)


def test_missing_media_segments_fail_packaging(tmp_path: Path) -> None:
    asset = Asset(tmp_path, frames=30, sounds=0)
    (asset.media / "90p/init.mp4").unlink()
    with pytest.raises(VerificationFailed, match="90p"):
        package_asset(asset.plan, asset.info, [], [], asset.media, asset.out)
