"""Orientation from display matrices, fields from what frames say and show, codes that mean something."""

from __future__ import annotations

from collections import Counter

import av
import numpy as np
import numpy.typing as npt
import pytest
from av.sidedata.sidedata import Type as SideDataType

from encoders.media import Colour
from encoders.probe import WINDOWS
from encoders.sample import HEAD_FRAMES, WINDOW_FRAMES, FieldJudge, PictureSample, is_dolby_only, orientation

PICTURE = np.arange(6).reshape(2, 3)

MATRICES = [(a, 0, 0, d) for a in (1, -1) for d in (1, -1)] + [(0, b, c, 0) for b in (1, -1) for c in (1, -1)]


def placed(picture: npt.NDArray[np.int64], matrix: tuple[int, int, int, int]) -> npt.NDArray[np.int64]:
    """The picture with each sample moved where the matrix puts it: x' = a x + c y, y' = b x + d y."""
    a, b, c, d = matrix
    spots = {(a * x + c * y, b * x + d * y): picture[y, x] for y in range(2) for x in range(3)}
    left, top = min(x for x, _ in spots), min(y for _, y in spots)
    width, height = max(x for x, _ in spots) - left + 1, max(y for _, y in spots) - top + 1
    out = np.zeros((height, width), np.int64)
    for (x, y), value in spots.items():
        out[y - top, x - left] = value
    return out


@pytest.mark.parametrize("matrix", MATRICES)
def test_flipping_and_turning_does_what_the_matrix_says(matrix: tuple[int, int, int, int]) -> None:
    rotation, mirrored = orientation(matrix)
    turned = np.rot90(PICTURE[:, ::-1] if mirrored else PICTURE, -(rotation // 90))
    assert np.array_equal(turned, placed(PICTURE, matrix))


def test_skewed_matrices_go_to_the_nearest_quarter_turn() -> None:
    assert orientation((60000, 20000, -20000, 60000)) == (0, False)
    assert orientation((20000, 60000, -60000, 20000)) == (90, False)
    assert orientation((0, 0, 0, 0)) == (0, False)


class TestFields:
    def sample(self, flagged: int, plain: int, **verdicts: int) -> PictureSample:
        return PictureSample(flagged=flagged, plain=plain, verdicts=Counter(verdicts))

    def test_flags_count_while_the_content_does_not_contradict(self) -> None:
        assert self.sample(24, 0, undetermined=24).interlaced
        assert self.sample(24, 0, progressive=24).interlaced
        assert not self.sample(0, 24, progressive=24).interlaced

    def test_content_overrules_flags_when_it_is_clear(self) -> None:
        assert self.sample(0, 48, tff=40, progressive=8).interlaced
        assert not self.sample(0, 48, tff=20, bff=20, progressive=8).interlaced
        assert not self.sample(0, 48, tff=8).interlaced

    def test_as_much_as_a_source_is_looked_at_overrules_flags_that_call_whole_frames_fields(self) -> None:
        most = HEAD_FRAMES + len(WINDOWS) * WINDOW_FRAMES
        assert not self.sample(most, 0, progressive=most).interlaced
        assert not self.sample(most, 0, progressive=most - 6, undetermined=6).interlaced
        assert self.sample(most, 0, progressive=most - 1, tff=1).interlaced

    def judge(self, interlaced: bool) -> Counter[str]:
        frames = self.frames(interlaced)
        judge = FieldJudge(frames[0])
        for frame in frames:
            judge.push(frame)
        return judge.finish()

    def frames(self, interlaced: bool) -> list[av.VideoFrame]:
        pictures = []
        for number in range(16):
            late = np.arange(480)[:, None] % 2 * interlaced
            shift = 2 * number + late
            pixels = np.where((np.arange(640)[None] - 8 * shift) % 160 < 80, 220, 30).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="gray")
            frame.pts = number
            pictures.append(frame)
        return pictures

    def test_moving_fields_are_seen(self) -> None:
        verdicts = self.judge(interlaced=True)
        assert verdicts["tff"] >= 12

    def test_moving_frames_are_seen(self) -> None:
        verdicts = self.judge(interlaced=False)
        assert verdicts["tff"] + verdicts["bff"] == 0
        assert verdicts["progressive"] >= 12

    def test_a_frame_of_another_size_ends_the_judgement_quietly(self) -> None:
        judge = FieldJudge(av.VideoFrame(64, 64, "yuv420p"))
        judge.push(av.VideoFrame(32, 480, "gray"))
        judge.push(av.VideoFrame(64, 64, "yuv420p"))
        assert judge.finish().total() <= 2


def test_only_profile_5_is_dolby_vision_that_others_cannot_show() -> None:
    mastering = SideDataType.MASTERING_DISPLAY_METADATA
    assert is_dolby_only([mastering, SideDataType.DOVI_RPU_BUFFER], Colour())
    assert is_dolby_only([SideDataType.DOVI_METADATA], Colour())
    assert not is_dolby_only([SideDataType.DOVI_METADATA], Colour(primaries=9, transfer=16, matrix=9))
    assert not is_dolby_only([mastering], Colour())
    assert not is_dolby_only([], Colour())
