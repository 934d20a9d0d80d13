"""What a copy of a source may take: little of small ones, and enough where all pictures must be decoded for it."""

from __future__ import annotations

from dataclasses import replace

from planned import INFO

from cluster.inspection import copying_cpu_s


def test_a_copy_may_take_as_long_as_its_pictures_need_to_decode() -> None:
    assert INFO.video is not None
    two_hours = replace(INFO.video, frames=180_000, width=1280, height=720)
    # H.264 of 720p decodes at 200 frames a second on a slow core.
    assert copying_cpu_s(replace(INFO, video=two_hours), 60) > 180_000 / 200
    assert copying_cpu_s(INFO, 60) < 130
