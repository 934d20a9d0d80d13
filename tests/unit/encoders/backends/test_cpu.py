"""Where the CPU lane begins to decode, and what it says of damage; the reader is a fake."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import pytest
from described_sources import source, video

from encoders.backends.base import SegmentRequest
from encoders.backends.cpu import concealed, read_on_grid
from encoders.media import VideoTrack
from encoders.plan import plan_asset
from encoders.profiles.load import load_profile
from encoders.timing import FrameClock


@dataclass
class Frame:
    pts: int


@dataclass
class Found:
    """What a witness found."""

    lost: list[int | None]
    damaged: list[int]
    followers: list[int]
    unexplained: list[int] = field(default_factory=list)


@dataclass
class Reader:
    """Gives out frames of these times, from where it is asked to begin."""

    times: list[int]
    asked: list[int | None] = field(default_factory=list)

    def frames(self, from_pts: int | None) -> Iterator[Frame]:
        self.asked.append(from_pts)
        return (Frame(pts) for pts in self.times if from_pts is None or pts >= from_pts)


def request_of(track: VideoTrack, index: int) -> tuple[SegmentRequest, FrameClock]:
    plan = plan_asset(source(track), load_profile("default"), 1, "x264")
    assert plan.grid is not None
    segment = plan.segments[index]
    request = SegmentRequest(source=Path("clip.mp4"), video=track, plan=plan, segment=segment)
    return request, FrameClock.of(track, plan.grid)


def shown(track: VideoTrack, reader: Reader, index: int = 1) -> list[int]:
    request, clock = request_of(track, index)
    return [frame.pts for _, frame in read_on_grid(request, clock, reader)]  # type: ignore[arg-type]


def test_decoding_begins_at_the_key_frame_before_the_segment() -> None:
    track = video(frames=900, keyframe_pts=(0, 200, 300, 500))
    request, _ = request_of(track, 1)
    reader = Reader(list(range(900)))
    assert shown(track, reader) == list(range(request.segment.start, request.segment.end))
    assert reader.asked == [max(key for key in (0, 200, 300, 500) if key <= request.segment.start)]


def test_codecs_whose_key_frames_lie_are_decoded_from_the_start() -> None:
    track = video(frames=900, codec="cinepak")
    reader = Reader(list(range(900)))
    assert shown(track, reader)[0] == request_of(track, 1)[0].segment.start
    assert reader.asked == [None]


def test_fields_need_the_frames_before_the_segment_too() -> None:
    start = request_of(video(frames=900), 1)[0].segment.start
    track = video(frames=900, keyframe_pts=(0, start - 30, start - 1, start))
    reader = Reader([])
    assert shown(replace(track, interlaced=True), reader) == []
    assert reader.asked[0] == start - 30


def test_where_nothing_decodes_what_came_before_is_held() -> None:
    reader = Reader([0, 1, 2])
    request, _ = request_of(video(frames=900), 1)
    assert shown(video(frames=900), reader) == [2] * request.segment.frames
    assert reader.asked == [request.segment.start, None]


@pytest.mark.parametrize(
    ("lost", "damaged", "followers", "said"),
    [
        ([], [], [], []),
        ([None], [], [], ["1 picture of segment 1, somewhere, did not decode"]),
        (
            [0, 400],
            [401, 402, 10],
            [403, 404, 405],
            [
                "1 picture of segment 1, from 13.33 to 13.37 s, did not",
                "2 pictures of segment 1, from 13.37 to 13.43 s, came",
                "3 pictures of segment 1, from 13.43 to 13.53 s, refer to damaged ones",
            ],
        ),
        ([0], [899], [1, 898], []),
    ],
)
def test_only_damage_within_the_segment_is_said(
    lost: list[int | None], damaged: list[int], followers: list[int], said: list[str]
) -> None:
    request, clock = request_of(video(Fraction(30), 900), 1)
    assert request.segment.start <= 400 < request.segment.end < 899
    found = concealed(request, clock, Found(lost, damaged, followers))  # type: ignore[arg-type]
    assert len(found) == len(said)
    assert request.damage.frames == sum(int(sentence.split()[0]) for sentence in found)
    for sentence, beginning in zip(found, said, strict=True):
        assert sentence.startswith(beginning)


def test_what_a_checksum_says_of_a_stretch_is_told_and_not_counted() -> None:
    request, clock = request_of(video(Fraction(30), 900), 1)
    found = concealed(request, clock, Found([], [], [], [10, 420, 421, 899]))  # type: ignore[arg-type]
    assert found == (
        "by a checksum of the file something is damaged from 14.00 to 14.07 s: nothing tells which pictures",
    )
    assert request.damage.frames == 0
