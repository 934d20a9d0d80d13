"""Segments as players get them: init plus media, in any order of making, joined without a trace."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from media_clips import PROFILE, decoded, even_times, probed, read_number, write_clip
from pydantic import TypeAdapter

from encoders.backends.registry import encoder_id_of
from encoders.cmaf import REORDER_FRAMES, ticks_per_frame
from encoders.errors import BackendUnavailable, VerificationFailed
from encoders.look import Look
from encoders.media import MediaInfo
from encoders.plan import Grid, Plan, plan_asset
from encoders.segment import SegmentResult, encode_segment
from encoders.verify import verify_segment

FPS = Fraction(30000, 1001)
FRAMES = 100


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = {"g": "25", "bf": "3", "preset": "medium", "x264-params": "open-gop=1"}
    return write_clip(
        tmp_path_factory.mktemp("source") / "clip.mp4", even_times(FRAMES, FPS), rate=FPS, options=options
    )


@pytest.fixture(scope="module")
def info(source: Path) -> MediaInfo:
    return probed(source)


@pytest.fixture(scope="module")
def plan(info: MediaInfo) -> Plan:
    return plan_asset(info, PROFILE, 1, encoder_id_of("cpu", PROFILE.video.preset))


@pytest.fixture(scope="module")
def grid(plan: Plan) -> Grid:
    assert plan.grid is not None
    return plan.grid


@pytest.fixture(scope="module")
def made(
    source: Path, info: MediaInfo, plan: Plan, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[SegmentResult]]:
    """All segments, made last to first, each in a folder of its own as on other workers, then brought together."""
    together = tmp_path_factory.mktemp("asset")
    results = []
    for segment in reversed(plan.segments):
        folder = tmp_path_factory.mktemp("worker")
        results.append(encode_segment(source, info, plan, segment, folder, threads=1 + segment.index % 2))
        for file in folder.rglob("*.m*"):
            target = together / file.relative_to(folder)
            target.parent.mkdir(exist_ok=True)
            assert file.name != "init.mp4" or not target.exists() or target.read_bytes() == file.read_bytes()
            target.write_bytes(file.read_bytes())
    return together, results[::-1]


def joined(folder: Path) -> bytes:
    media = sorted(folder.glob("*.m4s"))
    return (folder / "init.mp4").read_bytes() + b"".join(path.read_bytes() for path in media)


def test_the_joined_renditions_show_every_source_frame_at_its_time(
    made: tuple[Path, list[SegmentResult]], plan: Plan
) -> None:
    for rendition in plan.renditions:
        shown = [(pts, read_number(luma)) for pts, luma in decoded(joined(made[0] / rendition.name))]
        assert shown == [(number * 1001, number) for number in range(FRAMES)]


def test_results_say_what_lies_in_the_folder(made: tuple[Path, list[SegmentResult]], plan: Plan, grid: Grid) -> None:
    folder, results = made
    assert [result.index for result in results] == [segment.index for segment in plan.segments]
    assert sum(result.frames for result in results) == grid.frames
    for rendition in plan.renditions:
        parts = [part for result in results for part in result.renditions if part.name == rendition.name]
        assert len({(part.init_sha256, part.parameter_sets_sha256, part.codec) for part in parts}) == 1
        media = [piece for part in parts for piece in part.media]
        assert [piece.number for piece in media] == list(range(1, grid.media_segments + 1))
        assert sum(piece.frames for piece in media) == grid.frames
        for piece in media:
            assert (folder / rendition.name / f"{piece.number:05d}.m4s").stat().st_size == piece.bytes


def test_an_i_frame_decodes_from_its_bytes_alone(made: tuple[Path, list[SegmentResult]], grid: Grid) -> None:
    folder, results = made
    found = []
    for part in (part for result in results for part in result.renditions if part.name == "180p"):
        for piece in part.media:
            data = (folder / "180p" / f"{piece.number:05d}.m4s").read_bytes()
            for iframe in piece.iframes:
                alone = (folder / "180p" / "init.mp4").read_bytes()
                alone += data[iframe.offset : iframe.offset + iframe.length]
                ((_, luma),) = decoded(alone)
                assert read_number(luma) == iframe.frame
                found.append(iframe.frame)
    assert found == list(range(0, grid.frames, grid.gop_frames))


def test_making_a_segment_again_gives_the_same_bytes(source: Path, info: MediaInfo, plan: Plan, tmp_path: Path) -> None:
    first = encode_segment(source, info, plan, plan.segments[1], tmp_path / "a")
    again = encode_segment(source, info, plan, plan.segments[1], tmp_path / "b")
    assert first.renditions == again.renditions
    assert first.warnings == ()


def test_results_survive_json(made: tuple[Path, list[SegmentResult]]) -> None:
    adapter = TypeAdapter(SegmentResult)
    for result in made[1]:
        text = adapter.dump_json(result)
        assert json.loads(text)["index"] == result.index
        assert adapter.validate_json(text) == result


def test_brightness_is_the_sources(made: tuple[Path, list[SegmentResult]], source: Path) -> None:
    means = [float(luma.mean()) for _, luma in decoded(source.read_bytes())]
    measured = [result.luma for result in made[1]]
    weighted = sum(result.luma.mean * result.frames for result in made[1]) / FRAMES
    assert abs(weighted - np.mean(means)) < 2
    assert min(luma.darkest for luma in measured) == pytest.approx(min(means), abs=3)
    assert max(luma.brightest for luma in measured) == pytest.approx(max(means), abs=3)
    assert all(luma.flat_frames == 0 for luma in measured)


def test_a_backend_that_is_not_there_is_named(source: Path, info: MediaInfo, plan: Plan, tmp_path: Path) -> None:
    with pytest.raises((BackendUnavailable, ValueError)):
        encode_segment(source, info, plan, plan.segments[0], tmp_path, backend="abacus")  # type: ignore[arg-type]


class TestVerification:
    """A segment that is not what was planned does not pass, whatever is wrong with it."""

    @pytest.fixture
    def spoilt(self, source: Path, info: MediaInfo, plan: Plan, tmp_path: Path) -> tuple[Path, Look]:
        encode_segment(source, info, plan, plan.segments[1], tmp_path)
        look = Look()
        numbers = range(plan.segments[1].start, plan.segments[1].end)
        small = list(decoded(joined(tmp_path / "90p")))
        for number, (_, luma) in zip(numbers, small, strict=True):
            look.take(number, luma)
        compared = verify_segment(plan, plan.segments[1], tmp_path, look)
        assert all(each.worst_misfit < 8 for each in compared.values())
        assert compared[plan.renditions[0].name].frames == plan.segments[1].frames
        return tmp_path, look

    def refused(self, plan: Plan, spoilt: tuple[Path, Look], words: str) -> None:
        with pytest.raises(VerificationFailed, match=words):
            verify_segment(plan, plan.segments[1], *spoilt)

    def test_a_file_that_is_cut(self, plan: Plan, spoilt: tuple[Path, Look]) -> None:
        file = next((spoilt[0] / "180p").glob("*.m4s"))
        file.write_bytes(file.read_bytes()[:-20])
        self.refused(plan, spoilt, f"180p/{file.name}: box 'mdat'")

    def test_a_file_that_is_missing(self, plan: Plan, spoilt: tuple[Path, Look]) -> None:
        next((spoilt[0] / "90p").glob("*.m4s")).unlink()
        self.refused(plan, spoilt, "90p/")

    def test_media_of_another_place(
        self, source: Path, info: MediaInfo, plan: Plan, spoilt: tuple[Path, Look], tmp_path: Path
    ) -> None:
        encode_segment(source, info, plan, plan.segments[0], tmp_path / "other")
        number = plan.segments[1].first_media + 1
        stray = tmp_path / "other" / "180p" / f"{plan.segments[0].first_media + 1:05d}.m4s"
        (spoilt[0] / "180p" / f"{number:05d}.m4s").write_bytes(stray.read_bytes())
        self.refused(plan, spoilt, "do not take frames")

    def test_frames_that_do_not_decode(self, plan: Plan, spoilt: tuple[Path, Look]) -> None:
        file = next((spoilt[0] / "90p").glob("*.m4s"))
        data = bytearray(file.read_bytes())
        half = len(data) // 2
        data[half : half + 400] = bytes(400)
        file.write_bytes(bytes(data))
        self.refused(plan, spoilt, "90p/")

    def test_pictures_that_are_not_the_sources(self, plan: Plan, spoilt: tuple[Path, Look]) -> None:
        for number in range(plan.segments[1].start, plan.segments[1].end):
            spoilt[1].take(number, np.full((90, 160), 16, np.uint8))
        self.refused(plan, spoilt, "codes from the picture")

    def test_the_picture_of_another_time(self, plan: Plan, spoilt: tuple[Path, Look]) -> None:
        segment = plan.segments[1]
        frozen = Look()
        first = next(decoded(joined(spoilt[0] / "90p")))[1]
        for number in range(segment.start, segment.end):
            frozen.take(number, first)
        self.refused(plan, (spoilt[0], frozen), "codes from the picture")

    def test_a_gop_too_many(self, plan: Plan, grid: Grid, spoilt: tuple[Path, Look]) -> None:
        longer = replace(plan, grid=replace(grid, gop_frames=grid.media_segment_frames))
        with pytest.raises(VerificationFailed, match="is an IDR picture"):
            verify_segment(longer, plan.segments[1], *spoilt)

    def test_frames_shown_twice(self, plan: Plan, grid: Grid, spoilt: tuple[Path, Look]) -> None:
        file = next((spoilt[0] / "180p").glob("*.m4s"))
        data = file.read_bytes()
        offset = (REORDER_FRAMES * ticks_per_frame(grid.fps)).to_bytes(4, "big")
        at = data.find(offset, data.find(b"trun"))
        file.write_bytes(data[:at] + bytes(4) + data[at + 4 :])
        self.refused(plan, spoilt, "not each shown once")
